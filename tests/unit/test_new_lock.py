# SPDX-License-Identifier: Apache-2.0
"""A new lock is that of its minor release with what the new patch release changes, or there is none at all."""

from __future__ import annotations

import difflib
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from ansible.module_utils.yunkube.build.bundle import link_of
from ansible.module_utils.yunkube.build.components import Builder
from ansible.module_utils.yunkube.build.debian_packages import pins_of, read_pins
from ansible.module_utils.yunkube.build.tools import BuildError, Tools
from ansible.module_utils.yunkube.control.locks import file_of
from deployer import new_lock
from lock_files import COMPONENTS, LOCK_FILE
from module_proxy import add, add_kubernetes
from serving import running

ROOT = COMPONENTS.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "yunkube"
# What the kubeadm of each release in the proxy asks for.
ASKED = {"etcd": "3.6.9-0", "coredns": "v1.14.6", "pause": "3.10.3"}
LINE = "# The lock: everything"


@functools.cache
def go() -> str:
    """Return the lock's own Go, fetched if it is not in the cache of this machine."""
    return Builder(yaml.safe_load(LOCK_FILE.read_text()), ROOT, CACHE).go_program()


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A proxy that has 1.36.10, and no other way to a module."""
    folder = tmp_path / "proxy"
    add_kubernetes(folder, "1.36.10", **ASKED)
    monkeypatch.setenv("GOPROXY", f"file://{folder}")
    monkeypatch.setenv("GOSUMDB", "off")
    return folder


@pytest.fixture
def project(tmp_path: Path, proxy: Path) -> Path:
    """A project with the locks of this one, modules of the proxy, and releases that cannot be reached."""
    assert proxy.is_dir()
    shutil.copytree(COMPONENTS, tmp_path / "project/components", symlinks=True)
    release_from(tmp_path / "project", "http://127.0.0.1:1")
    return tmp_path / "project"


def release_from(project: Path, url: str) -> None:
    """Have the programs of Kubernetes at another address."""
    file = file_of(project / "components", "1.36.5")
    file.write_text(re.sub(r"url: http\S*(/v1\.36\.5/bin)", rf"url: {url}\1", file.read_text()))


def make(project: Path, release: str = "1.36.10", **told: str) -> tuple[list[Path], list[str]]:
    """Make a lock with modules of the proxy, in a cache of its own."""
    cache = project.parent / "cache"
    cache.mkdir(exist_ok=True)
    return new_lock.make_lock(release, told, project, new_lock.Modules(go(), Tools(cache, 0)))


def lock_of(project: Path, release: str) -> dict[str, Any]:
    """Return what a lock says."""
    found: dict[str, Any] = yaml.safe_load(file_of(project / "components", release).read_text())
    return found


def parts(lock: dict[str, Any]) -> dict[str, Any]:
    """Return the components of a lock by name."""
    return {part["name"]: part for part in lock["components"]}


def everything(project: Path) -> set[Path]:
    """Return every path of a project."""
    return set(project.rglob("*"))


def test_the_release_is_all_that_changes(project: Path) -> None:
    new, remarks = make(project)
    lock, base = lock_of(project, "1.36.10"), lock_of(project, "1.36.5")
    changed = {name for name, part in parts(lock).items() if part != parts(base)[name]}
    assert changed == {"kubernetes", "pause"}
    assert {key for key in base if lock[key] != base[key]} == {"kubernetes", "cluster_tested", "components", "images"}
    assert (base["cluster_tested"], lock["cluster_tested"]) == (True, False)
    assert [path.name for path in new] == [
        f"kubernetes-1.36.10{suffix}" for suffix in ("", ".packages", ".arm64.packages", ".yml")
    ]
    kubernetes = parts(lock)["kubernetes"]
    assert (kubernetes["version"], kubernetes["directory"]) == ("1.36.10", "components/go/kubernetes-1.36.10")
    assert {tuple(one.values())[:3] for one in kubernetes["variables"].values()} == {("v1.36.10", "1", "36")}
    assert "1.36.5" not in file_of(project / "components", "1.36.10").read_text()
    (remark,) = remarks
    assert remark.startswith("kubernetes: the digests of its release are left out, so it is built from source: http://")


def test_images_have_the_names_that_this_kubeadm_asks_for(project: Path) -> None:
    make(project)
    text = file_of(project / "components", "1.36.10").read_text()
    tags = dict(image["reference"].rsplit(":", 1) for image in lock_of(project, "1.36.10")["images"])
    registry = {name.removeprefix("registry.k8s.io/"): tag for name, tag in tags.items() if "k8s.io" in name}
    assert registry == {
        **dict.fromkeys(("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"), "v1.36.10"),
        "etcd": "3.6.9-0",
        "coredns/coredns": "v1.14.6",
        "pause": "3.10.3",
    }
    assert parts(lock_of(project, "1.36.10"))["pause"]["version"] == "3.10.3"
    assert "/etcd:3.6.9-0 # the name that kubeadm 1.36 asks for; etcd inside is 3.6.16\n" in text
    assert "/coredns:v1.14.6\n" in text


def test_everything_that_the_lock_names_is_there_and_verified(project: Path, tmp_path: Path) -> None:
    make(project)
    lock = lock_of(project, "1.36.10")
    assert Builder(lock, project, tmp_path / "cache").faults() == []
    module = (project / "components/go/kubernetes-1.36.10/go.mod").read_text()
    for line in (
        "go 1.26.1",
        "godebug default=go1.25",
        "require k8s.io/kubernetes v1.36.10",
        "\tk8s.io/new => k8s.io/new v0.36.10",
    ):
        assert f"{line}\n" in module
    assert "k8s.io/kubelet" not in module  # which this Kubernetes does not have
    assert "k8s.io/api v0.36.10 h1:" in (project / "components/go/kubernetes-1.36.10/go.sum").read_text()
    base = file_of(project / "components", "1.37.2")
    file = file_of(project / "components", "1.36.10")
    for architecture in ("amd64", "arm64"):
        assert read_pins(pins_of(file, architecture)) == read_pins(pins_of(base, architecture))
        assert link_of(tmp_path, file, architecture) != link_of(tmp_path, base, architecture)


def differences(project: Path, release: str) -> tuple[list[str], list[str]]:
    """Return the lines of 1.36.5 that a lock has not, and those that it has instead, but for digests and releases."""
    old, new = (file_of(project / "components", one).read_text().splitlines() for one in ("1.36.5", release))
    lines = [line for line in difflib.ndiff(old, new) if not re.match(r"[-+] +(sum|origins|release|digest):", line)]
    gone, added = ([line[2:].strip() for line in lines if line[0] == sign] for sign in "-+")
    changed = [line.replace("1.36.5", release) for line in gone]
    return [line for line in changed if line not in added], [line for line in added if line not in changed]


def test_every_other_line_stays_as_it_is(project: Path) -> None:
    make(project)
    gone, added = differences(project, "1.36.10")
    asked = "# the name that kubeadm 1.36 asks for;"
    assert gone == [
        "cluster_tested: true # clusters of this release come up, pass verify and are upgraded in `make test-full`",
        "version: 3.10.2",
        f"- reference: registry.k8s.io/etcd:3.6.8-0 {asked} etcd inside is 3.6.16",
        f"- reference: registry.k8s.io/coredns/coredns:v1.14.2 {asked} coredns inside is 1.14.6",
        "- reference: registry.k8s.io/pause:3.10.2",
    ]
    assert added == [
        "cluster_tested: false # no cluster of this release has been made yet",
        "version: 3.10.3",
        f"- reference: registry.k8s.io/etcd:3.6.9-0 {asked} etcd inside is 3.6.16",
        "- reference: registry.k8s.io/coredns/coredns:v1.14.6",
        "- reference: registry.k8s.io/pause:3.10.3",
    ]


def test_a_component_is_changed_if_that_is_told(project: Path, proxy: Path) -> None:
    files = {"go.mod": "module sigs.k8s.io/cri-tools\n\ngo 1.26.2\n", "cmd/crictl/main.go": "package main\n"}
    add(proxy, "sigs.k8s.io/cri-tools", "v1.36.1", files)
    make(project, **{"cri-tools": "1.36.1"})
    part = parts(lock_of(project, "1.36.10"))["cri-tools"]
    assert part["variables"] == {"sigs.k8s.io/cri-tools/pkg/version": {"Version": "v1.36.1"}}
    assert part["directory"] == "components/go/cri-tools-1.36.1"
    assert "sha256" not in part["origins"]["release"]
    assert "/v1.36.1/crictl-v1.36.1-linux-" in str(part["origins"])
    module = (project / part["directory"] / "go.mod").read_text()
    assert module == "module yunkube/components/cri-tools\n\ngo 1.26.2\n\nrequire sigs.k8s.io/cri-tools v1.36.1\n"


def test_empty_lines_and_remarks_below_what_is_dropped_stay(project: Path, proxy: Path) -> None:
    module = "github.com/containernetworking/plugins"
    names = ("main/bridge", "main/loopback", "ipam/host-local", "meta/portmap", "meta/bandwidth")
    files = {f"plugins/{name}/main.go": "package main\n" for name in names}
    add(proxy, module, "v1.9.2", files | {"go.mod": f"module {module}\n\ngo 1.26.0\n"})
    make(project, **{"cni-plugins": "1.9.2"})
    text = file_of(project / "components", "1.36.10").read_text()
    remark = "\n\n  # flannel's own plugin repository is no Go library"
    assert re.search(rf"cni-plugins-linux-{{architecture}}-v1\.9\.2\.tgz{remark}", text)


def test_what_another_lock_has_already_is_shared(project: Path, proxy: Path) -> None:
    add_kubernetes(proxy, "1.36.11", **ASKED | {"etcd": "3.7.0-0"})
    new, _ = make(project, "1.36.11", etcd="3.7.3")
    lock = lock_of(project, "1.36.11")
    shared = parts(lock_of(project, "1.37.2"))["etcd"]
    assert [parts(lock)["etcd"][key] for key in ("directory", "sum")] == [shared["directory"], shared["sum"]]
    assert len([path for path in new if path.is_dir()]) == 1


@pytest.mark.parametrize(
    ("release", "told", "why"),
    [
        ("1.36.99", {}, r"k8s\.io/kubernetes@v1\.36\.99: go failed: .*k8s\.io/kubernetes"),
        ("1.36.5", {}, r"kubernetes-1\.36\.5\.yml is there already"),
        ("1.35.4", {}, r"no lock of 1\.35 to start from, only of 1\.36, 1\.37"),
        ("v1.36.10", {}, r'"v1\.36\.10" is no patch release'),
        ("1.36", {}, r'"1\.36" is no patch release'),
        ("1.36.10", {"cri-tools": "1.36.9"}, r"modules of cri-tools 1\.36\.9: go failed"),
        ("1.36.10", {"pause": "3.10.9"}, "pause is not a component of Go modules: those are kubernetes, "),
        ("1.36.10", {"etcdd": "1.0.0"}, "etcdd is not a component"),
        ("1.36.10", {"etcd": "v3.6.17"}, r"etcd=v3\.6\.17 is no version of a release: write one such as 3\.6\.16"),
        ("1.36.10", {"runc": "../1.4.4"}, r"runc=\.\./1\.4\.4 is no version"),
        ("1.36.11", {}, r"asks for etcd 3\.7\.0-0, and the lock has 3\.6\.16: .* such as etcd=3\.7\.0"),
        ("1.36.12", {}, "kubeadm's source has no DefaultEtcdVersion"),
    ],
)
def test_what_cannot_be_made_is_refused_and_leaves_nothing(
    project: Path, proxy: Path, release: str, told: dict[str, str], why: str
) -> None:
    add_kubernetes(proxy, "1.36.11", **ASKED | {"etcd": "3.7.0-0"})
    add_kubernetes(proxy, "1.36.12", **ASKED)
    add(
        proxy,
        "k8s.io/kubernetes",
        "v1.36.12",
        {"go.mod": "module k8s.io/kubernetes\n", new_lock.KUBEADM: "package a\n"},
    )
    before = everything(project)
    with pytest.raises(BuildError, match=why):
        make(project, release, **told)
    assert everything(project) == before


class Checksums(BaseHTTPRequestHandler):
    """What upstream has beside its programs, of those that `there` names."""

    there: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Answer with the digest of the path, as the real one does: without a name or a line's end."""
        found = any(word in self.path for word in self.there)
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(hashlib.sha256(self.path.encode()).hexdigest().encode() if found else b"<Error/>")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def checksums(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that has checksums, at its address."""
    monkeypatch.setattr(Checksums, "there", [".sha256"])
    with running(ThreadingHTTPServer(("127.0.0.1", 0), Checksums)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}"


def test_digests_of_the_release_are_read_where_they_can_be(project: Path, checksums: str) -> None:
    release_from(project, checksums)
    _, remarks = make(project)
    found = parts(lock_of(project, "1.36.10"))["kubernetes"]["origins"]["release"]["sha256"]
    assert remarks == []
    assert [*found] == ["amd64", "arm64"]
    for architecture, digests in found.items():
        path = f"/v1.36.10/bin/linux/{architecture}/kubelet.sha256"
        assert digests["kubelet"] == hashlib.sha256(path.encode()).hexdigest()
        assert set(digests) == set(parts(lock_of(project, "1.36.10"))["kubernetes"]["programs"])


def test_some_digests_are_as_good_as_none(project: Path, checksums: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checksums, "there", ["/amd64/"])
    release_from(project, checksums)
    _, remarks = make(project)
    assert "sha256" not in parts(lock_of(project, "1.36.10"))["kubernetes"]["origins"]["release"]
    (remark,) = remarks
    assert remark.startswith("kubernetes: the digests of its release are left out, so it is built from source: ")
    assert remark.endswith("/v1.36.10/bin/linux/arm64/kubeadm.sha256: HTTP Error 404: Not Found")


def test_a_version_that_begins_like_the_old_one_is_written_once(project: Path, proxy: Path) -> None:
    add_kubernetes(proxy, "1.36.50", **ASKED)
    make(project, "1.36.50")
    kubernetes = parts(lock_of(project, "1.36.50"))["kubernetes"]
    assert {one["gitVersion"] for one in kubernetes["variables"].values()} == {"v1.36.50"}
    assert "/v1.36.50/bin/" in kubernetes["origins"]["release"]["url"]


def test_a_new_lock_has_not_been_tested(project: Path) -> None:
    file = file_of(project / "components", "1.36.5")
    file.write_text(re.sub("(?m)^cluster_tested: .*$", "cluster_tested: true # it was", file.read_text()))
    make(project)
    line = "cluster_tested: false # no cluster of this release has been made yet\n\ntoolchain:\n"
    assert line in file_of(project / "components", "1.36.10").read_text()


def test_digests_of_another_release_are_not_kept(project: Path) -> None:
    file = file_of(project / "components", "1.36.5")
    lock = yaml.safe_load(file.read_text())
    parts(lock)["kubernetes"]["origins"]["release"]["sha256"] = {"amd64": {"kubelet": "0" * 64}}
    parts(lock)["etcd"]["origins"]["release"]["sha256"] = {"amd64": "1" * 64}
    for image in lock["images"]:
        image["origins"] = {"release": {"digest": "sha256:" + "2" * 64}}
    file.write_text(yaml.safe_dump(lock, sort_keys=False))
    make(project)
    made = lock_of(project, "1.36.10")
    assert "sha256" not in parts(made)["kubernetes"]["origins"]["release"]
    assert parts(made)["etcd"] == parts(lock)["etcd"]
    kept = {image["reference"] for image in made["images"] if "origins" in image}
    assert kept == {image["reference"] for image in lock["images"]} & {image["reference"] for image in made["images"]}
    assert 0 < len(kept) < len(made["images"])


def test_a_folder_that_is_somebody_elses_is_not_taken(project: Path) -> None:
    theirs = project / "components/go/kubernetes-1.36.10/go.mod"
    theirs.parent.mkdir()
    theirs.write_text("module theirs\n")
    before = everything(project)
    with pytest.raises(BuildError, match=r"kubernetes-1\.36\.10 belongs to no lock"):
        make(project)
    assert (everything(project), theirs.read_text()) == (before, "module theirs\n")


def test_an_interrupted_one_is_made_again(project: Path) -> None:
    make(project)
    file_of(project / "components", "1.36.10").unlink()  # which comes last
    make(project)
    assert lock_of(project, "1.36.10")["kubernetes"] == "1.36.10"


def test_the_command_says_what_is_new(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("scripts/lock", "scripts/deployer", "module_utils", "plugins"):
        (project / name).parent.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, project / name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.parent / "home"))
    store = project.parent / "home/yunkube/store"
    store.mkdir(parents=True)
    tool = Path(go()).parents[2]
    (store / tool.name).symlink_to(tool)

    def run(*arguments: str) -> tuple[int, list[str], list[str]]:
        argv = [sys.executable, str(project / "scripts/lock"), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()

    assert run()[0] == run("1.36.10", "etcd")[0] == 2
    code, _, errors = run("1.36.99")
    assert (code, errors[-1]) == (1, "Nothing was written.")
    code, lines, errors = run("1.36.10")
    assert (code, errors) == (0, [])
    assert "new: components/kubernetes-1.36.10.yml" in lines
