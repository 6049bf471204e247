# SPDX-License-Identifier: Apache-2.0
"""A bundle is made of releases and images from upstream or from mirrors, and only of what the lock's digests say."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tarfile
import threading
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import real_module
from ansible.module_utils.yunkube.build import downloads, origins
from ansible.module_utils.yunkube.build.cached_bundles import PRUNE_LOCK
from ansible.module_utils.yunkube.build.store import digest_file
from release_lock import ARCHITECTURES, PROGRAMS, Lock, Project, Upstream, content, lock_of
from release_server import Fault, Server, certificate, serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """Everything that a small cluster is made of, behind TLS."""
    (tmp_path / "tls").mkdir()
    context, file = certificate(tmp_path / "tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(context) as files, serving(context) as registry, serving(context) as cdn, serving(context) as mirror:
        registry.token = "secret"
        made = Upstream(files, registry, cdn, mirror, {})
        made.lock.update(lock_of(made))
        yield made


@pytest.fixture
def project(tmp_path: Path, upstream: Upstream) -> Project:
    """A checkout for the lock of upstream."""
    return Project(tmp_path / "project", upstream.lock)


# Run a module with the project's module_utils in place, impatient.
AS_ANSIBLE_DOES = f"""
import runpy, sys, ansible.module_utils
ansible.module_utils.__path__.append({str(ROOT / "module_utils")!r})
from ansible.module_utils.yunkube.build import downloads
downloads.Limits.__init__.__defaults__ = (20.0, 2.0, 1000, 4, 0.01, 2.0, False)
runpy.run_path({str(ROOT / "library/bundle_build.py")!r}, run_name="__main__")
"""


def run_module(**options: t.Any) -> dict[str, t.Any]:
    """Run the module as Ansible does on this machine, and return what it answers."""
    return real_module.answer(AS_ANSIBLE_DOES, 120, **options)


def whole(answer: dict[str, t.Any], architecture: str = "amd64") -> dict[str, dict[str, t.Any]]:
    """Return the entries of a bundle by name, after a look at every byte of it."""
    assert "failed" not in answer, answer
    manifest = Path(
        next(one for one in answer["manifests"] if json.loads(Path(one).read_text())["architecture"] == architecture)
    )
    entries = {entry["name"]: entry for entry in json.loads(manifest.read_text())["files"]}
    files = manifest.resolve().parent / "files"
    for entry in entries.values():
        assert digest_file(files / entry["sha256"]) == entry["sha256"]
    for name in ("kubelet", "kubectl", "bridge"):
        assert (files / entries[name]["sha256"]).read_bytes() == content(name, architecture)
    assert (files / entries["flannel"]["sha256"]).read_bytes() == content(f"flannel-{architecture}", architecture)
    return entries


def test_a_bundle_is_made_of_releases_alone(project: Project, upstream: Upstream) -> None:
    answer = run_module(**project.options(architectures=["amd64", "arm64"]))
    for architecture in ARCHITECTURES:
        entries = whole(answer, architecture)
        archive = Path(answer["directory"]).parent
        assert (entries["flannel"]["version"], entries["kubelet"]["version"]) == ("1-flannel3", "1.37.2")
        image = next(entry for name, entry in entries.items() if name.endswith("coredns/coredns"))
        with tarfile.open(next(archive.glob(f"*/files/{image['sha256']}"))) as tar:
            index = json.load(t.cast("t.IO[bytes]", tar.extractfile("index.json")))
        assert index["manifests"][0]["digest"] == image["target"]
        assert index["manifests"][0]["platform"]["architecture"] == architecture
        assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == image["reference"]
    told = json.loads((Path(answer["directory"]) / "origins.json").read_text())
    by_name = {one["name"]: one["from"] for one in told.values()}
    assert by_name["kubelet"] == f"{upstream.files.url}/release/v1.37.2/bin/linux/amd64/kubelet"
    assert by_name["registry.k8s.io/kube-apiserver"] == "source"
    servers = [one.url.removeprefix("https://") for one in (upstream.files, upstream.registry)]
    assert f"download bridge, flannel, kube-apiserver, kubectl and kubelet from {servers[0]}" in answer["changes"]
    assert f"download {servers[1]}/coredns/coredns:v1.14.6 from {servers[1]}" in answer["changes"]
    assert "Go tools" not in answer["seconds"]
    assert not any(one.authorization for one in upstream.cdn.asked)
    assert [path for path in (project.cache / "downloads").iterdir() if path.suffix != ".lock"] == []
    # Whole bundles: nobody is asked anything.
    asked = len(upstream.files.asked)
    again = run_module(**project.options(architectures=["amd64", "arm64"], origin="auto"))
    assert (again["changed"], again["changes"], len(upstream.files.asked)) == (False, [], asked)


def test_a_damaged_file_is_downloaded_again(project: Project, upstream: Upstream) -> None:
    entries = whole(run_module(**project.options()))
    path = next(project.cache.glob(f"bundles/*/files/{entries['kubelet']['sha256']}"))
    path.write_bytes(b"?" * 70_000)
    os.utime(path, (1, 1))
    answer = run_module(**project.options())
    assert answer["rebuilt"] == [entries["kubelet"]["sha256"]]
    server = upstream.files.url.removeprefix("https://")
    assert answer["changes"] == ["repair the bundle of kubernetes-1.37.2", f"download kubelet from {server}"]
    whole(answer)


def test_a_build_that_is_interrupted_anywhere_is_continued(project: Project, upstream: Upstream) -> None:
    chance = random.Random(15)  # noqa: S311 - a test's own dice
    given = json.dumps({"ANSIBLE_MODULE_ARGS": project.options()})
    for _ in range(4):
        upstream.files.faults = {
            path: [Fault(cut_after=chance.randrange(1, 60_000)), Fault()] for path in upstream.files.files
        }
        silent = upstream.files.silent_after = len(upstream.files.asked) + chance.randrange(8)
        running = subprocess.Popen(
            [sys.executable, "-c", AS_ANSIBLE_DOES], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert running.stdin
        running.stdin.write(given)
        running.stdin.close()
        for _ in range(600):
            if running.poll() is not None or len(upstream.files.asked) > silent:
                break
            time.sleep(0.05)
        running.kill()
        running.wait()
        for path in project.cache.glob("store/*-*/*"):
            if path.name in PROGRAMS:
                assert path.read_bytes() == content(path.name, "amd64")
    upstream.files.faults, upstream.files.silent_after = {}, None
    whole(run_module(**project.options()))


FAULTS = {
    "corrupt": (Fault(corrupt=True), "it sent other bytes"),
    "truncated": (Fault(cut_after=1000), "the connection ended after"),
    "404": (Fault(status=404), "HTTP 404 Not Found"),
    "429": (Fault(status=429, headers=(("Retry-After", "60"),)), "it asks to wait 60 s"),
    "trickle": (Fault(trickle=0.2), "too slow"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_release_that_cannot_be_had_is_one_line_and_no_bundle(
    project: Project, upstream: Upstream, name: str
) -> None:
    fault, text = FAULTS[name]
    path = "/release/v1.37.2/bin/linux/amd64/kubelet"
    upstream.files.faults[path] = [fault]
    answer = run_module(**project.options())
    assert answer["failed"]
    assert answer["msg"].startswith(f"kubelet cannot be downloaded: {upstream.files.url}: ")
    assert text in answer["msg"]
    assert answer["msg"].endswith(
        "; what came of it is kept; run the same command again, or set cluster_bundle_origin: auto"
    )
    assert "\n" not in answer["msg"]
    assert not list(project.cache.glob("bundles/*"))
    assert not list(project.cache.glob("store/kubelet-*"))
    upstream.files.faults.clear()
    whole(run_module(**project.options()))


def test_a_certificate_that_nobody_trusts_is_one_line(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    answer = run_module(**project.options())
    assert "its certificate is not trusted" in answer["msg"]
    assert "SSL_CERT_FILE" in answer["msg"]


@pytest.mark.parametrize("origin", ["auto", "release"])
def test_a_full_disk_is_one_line(project: Project, upstream: Upstream, origin: str) -> None:
    # In a mount namespace of its own, on a disk that has room for one program.
    inside = (
        f"mkdir -p {project.cache} && mount -t tmpfs -o size=100k tmpfs {project.cache} && exec {sys.executable} -c"
    )
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", f'{inside} "$0"', AS_ANSIBLE_DOES],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": project.options(origin=origin)}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    answer = json.loads(done.stdout)
    assert answer["msg"] == (
        f"cannot write the bundle under {project.cache}: No space left on device; what was built stays there"
    )
    assert upstream.files.asked


def test_files_are_downloaded_at_once(project: Project, upstream: Upstream) -> None:
    # Each answer waits until all four have been asked for.
    upstream.files.together = threading.Barrier(4)
    whole(run_module(**project.options()))


def mirrors_of(upstream: Upstream, *urls: str) -> dict[str, list[str]]:
    """Return mirrors of the files."""
    return {upstream.files.url.removeprefix("https://"): list(urls)}


def test_a_mirror_that_lies_is_named_and_the_next_one_used(project: Project, upstream: Upstream) -> None:
    upstream.mirror.files = {f"/rotten{path}": b"?" * 70_000 for path in upstream.files.files}
    upstream.mirror.files |= {f"/good{path}": file for path, file in upstream.files.files.items()}
    # It answers first, and so is asked first.
    upstream.mirror.faults["/good/release/v1.37.2/bin/linux/amd64/kubelet"] = [Fault(delay=0.5), Fault()]
    registry = upstream.registry.url.removeprefix("https://")
    given = mirrors_of(upstream, f"{upstream.mirror.url}/rotten", f"{upstream.mirror.url}/good")
    given[registry] = [upstream.registry.url]
    answer = run_module(**project.options(origin="mirror", download_mirrors=given))
    whole(answer)
    assert upstream.files.asked == []
    told = json.loads((Path(answer["directory"]) / "origins.json").read_text())
    assert {one["from"] for one in told.values() if one["name"] == "kubelet"} == {
        f"{upstream.mirror.url}/good/release/v1.37.2/bin/linux/amd64/kubelet"
    }
    rotten = f"did not come from {upstream.mirror.url}/rotten: it sent other bytes"
    assert [line.partition(":")[0] for line in answer["changes"] if rotten in line]


def test_mirrors_must_be_known(project: Project, upstream: Upstream) -> None:
    answer = run_module(**project.options(origin="mirror", download_mirrors=mirrors_of(upstream, upstream.mirror.url)))
    assert answer["kind"] == "config"
    assert answer["msg"].startswith(
        "cluster_bundle_origin: mirror: no mirror is known of image coredns:v1.14.6: name some"
    )


def test_auto_takes_a_mirror_where_upstream_is_silent(project: Project, upstream: Upstream) -> None:
    upstream.mirror.files = dict(upstream.files.files)
    upstream.files.faults = {path: [Fault(status=403)] for path in upstream.files.files}
    given = mirrors_of(upstream, upstream.mirror.url)
    answer = run_module(**project.options(origin="auto", download_mirrors=given))
    whole(answer)
    server = upstream.mirror.url.removeprefix("https://")
    assert f"download bridge, flannel, kube-apiserver, kubectl and kubelet from {server}" in answer["changes"]
    assert len(upstream.files.asked) == 1


def test_only_auto_gives_up_a_slow_server_for_good(tmp_path: Path) -> None:
    limits = {origin: origins.Origins(origin, tmp_path, {}).downloads.limits for origin in origins.ORIGINS}
    assert limits == dict.fromkeys(origins.ORIGINS, downloads.Limits()) | {"auto": downloads.AUTO}


def silence(*servers: Server) -> None:
    """Let servers refuse everything."""
    for server in servers:
        server.faults = {path: [Fault(status=403)] for path in [*server.files, *server.redirects]}


def test_what_was_downloaded_before_is_used_where_nothing_answers(project: Project, upstream: Upstream) -> None:
    whole(run_module(**project.options()))
    upstream.lock["date"] = "2026-11-19T00:00:00Z"  # another lock, and so another bundle, of the same releases
    project.write(upstream.lock)
    silence(upstream.files, upstream.registry, upstream.cdn)
    asked = len(upstream.files.asked) + len(upstream.registry.asked)
    whole(run_module(**project.options(origin="auto")))
    assert len(upstream.files.asked) + len(upstream.registry.asked) == asked


@pytest.mark.skipif(not Path("/usr/include/seccomp.h").exists(), reason="no C compiler, or no libseccomp, here")
def test_auto_builds_what_it_cannot_download(project: Project, upstream: Upstream) -> None:
    silence(upstream.cdn)
    answer = run_module(**project.options(origin="auto"))
    entries = whole(answer)
    told = json.loads((Path(answer["directory"]) / "origins.json").read_text())
    image = next(entry for name, entry in entries.items() if name.endswith("coredns/coredns"))
    assert told[image["sha256"]]["from"] == "source"
    (line,) = [line for line in answer["changes"] if line.startswith("build image coredns")]
    assert line.startswith("build image coredns:v1.14.6 from source: ")
    assert line.endswith("HTTP 403 Forbidden")


def digestless(lock: Lock, name: str) -> None:
    """Take the digests of a component out of a lock."""
    next(part for part in lock["components"] if part["name"] == name)["origins"]["release"].pop("sha256")


def test_nothing_is_downloaded_without_a_digest(project: Project, upstream: Upstream) -> None:
    digestless(upstream.lock, "kubernetes")
    upstream.lock["images"][1]["origins"]["release"] = {}
    project.write(upstream.lock)
    answer = run_module(**project.options())
    host = upstream.registry.url.removeprefix("https://")
    assert answer["kind"] == "config"
    assert answer["msg"] == (
        "cluster_bundle_origin: release: the lock has no digest of the release of kubernetes and image"
        f" {host}/coredns/coredns:v1.14.6, and nothing is downloaded without one: write auto, which builds those from"
        " source, or source"
    )
    assert upstream.files.asked == upstream.registry.asked == []
    assert run_module(**project.options(), _ansible_check_mode=True)["msg"] == answer["msg"]
    assert [path.name for path in project.cache.iterdir()] == [PRUNE_LOCK]  # which keeps a prune away meanwhile


def test_digests_of_another_architecture_are_none(project: Project, upstream: Upstream) -> None:
    for part in upstream.lock["components"][:2]:
        del part["origins"]["release"]["sha256"]["arm64"]
    project.write(upstream.lock)
    answer = run_module(**project.options(architectures=["arm64"]))
    assert "no digest of the release of kubernetes and cni" in answer["msg"]
    whole(run_module(**project.options(architectures=["amd64"])))


def test_the_programs_of_this_machine_are_downloaded_with_those_of_other_hosts(
    project: Project, upstream: Upstream
) -> None:
    answer = run_module(**project.options(architectures=["arm64"]))
    whole(answer, "arm64")
    assert (Path(answer["directory"]) / "bin/kubectl").read_bytes() == content("kubectl", "amd64")
    del upstream.lock["components"][0]["origins"]["release"]["sha256"]["amd64"]
    project.write(upstream.lock)
    answer = run_module(**project.options(architectures=["arm64"]))
    assert "no digest of the release of kubernetes for this machine" in answer["msg"]


def choice_of(lock: Lock, *cached: str) -> origins.Choice:
    """Return what is downloaded where these components were built before."""
    return origins.choose(lock, lambda part: part["name"] in cached)


def test_what_was_built_before_is_not_downloaded(upstream: Upstream) -> None:
    choice = choice_of(upstream.lock)
    assert [part["name"] for part in choice.parts] == ["kubernetes", "cni"]
    assert [image["programs"] for image in choice.images] == [{"coredns": "/coredns"}]
    choice = choice_of(upstream.lock, "cni", "coredns")
    assert ([part["name"] for part in choice.parts], choice.images, choice.lacking) == (["kubernetes"], [], [])


def test_a_program_that_only_a_pulled_image_has_is_not_downloaded(upstream: Upstream) -> None:
    upstream.lock["components"][2]["origins"] = {"release": {"url": "https://x/{program}", "sha256": {}}}
    assert "coredns" not in choice_of(upstream.lock).lacking
    upstream.lock["images"][1].pop("origins")
    assert "coredns" in choice_of(upstream.lock).lacking
