# SPDX-License-Identifier: Apache-2.0
"""The same lock builds the same bytes, with only the packages that are needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing as t
import zipfile
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.build.components import Builder, manifest_of, sha256_text
from ansible.module_utils.yunkube.build.debian_packages import closure
from ansible.module_utils.yunkube.build.meter import Meter
from ansible.module_utils.yunkube.build.progress import Progress
from ansible.module_utils.yunkube.build.store import digest_file
from ansible.module_utils.yunkube.build.tools import BuildError, Tools
from lock_files import LOCK_FILE

ROOT = Path(__file__).resolve().parents[2]
LOCK = yaml.safe_load(LOCK_FILE.read_text())
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "yunkube"
Lock = dict[str, t.Any]


def part(name: str) -> Lock:
    """A component of the lock."""
    return next(one for one in LOCK["components"] if one["name"] == name)


def package(name: str, depends: str = "", provides: str = "") -> dict[str, str]:
    """The control fields of a package."""
    return {"Package": name, "Depends": depends, "Provides": provides}


def test_a_closure_is_what_is_needed_and_nothing_else() -> None:
    packages = {
        Path("a.deb"): package("a", "b (>= 1.2), c:any | d"),
        Path("b.deb"): package("b", "virtual"),
        Path("c.deb"): package("c", "a"),  # a circle
        Path("e.deb"): package("e", provides="virtual (= 3)"),
        Path("f.deb"): package("f", "a"),
    }
    assert closure(["a"], packages) == [Path("a.deb"), Path("b.deb"), Path("c.deb"), Path("e.deb")]
    assert closure(["f"], packages) == sorted(packages)


def test_what_a_package_needs_before_it_is_unpacked_belongs_to_it() -> None:
    packages = {Path("a.deb"): package("a") | {"Pre-Depends": "b"}, Path("b.deb"): package("b")}
    assert closure(["a"], packages) == [Path("a.deb"), Path("b.deb")]


def test_a_package_without_relations_is_not_what_those_without_relations_need() -> None:
    packages = {Path(f"{name}.deb"): {"Package": name} for name in ("adduser", "nginx")}
    assert closure(["nginx"], packages) == [Path("nginx.deb")]


def test_an_edited_component_is_named(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "components", tmp_path / "components")
    (tmp_path / part("pause")["directory"] / "pause.c").write_text("int main(void) { return 1; }\n")
    (fault,) = Builder(LOCK, tmp_path, tmp_path / "cache").faults()
    assert fault.startswith("components/pause: its files have the digest ")


def build_twice(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, go: str = "") -> tuple[list[Path], Lock]:
    """Build a component in two places that share nothing; return both folders."""
    component = part(name)
    folders = []
    for place in ("first", "second/deeper"):
        project = tmp_path / place / "checkout"
        shutil.copytree(ROOT / component["directory"], project / component["directory"])
        builder = Builder(LOCK, project, tmp_path / place / "cache")
        builder.go = go
        monkeypatch.chdir(project)
        folders.append(builder.component(component))
    return folders, component


def digests(folder: Path, component: Lock) -> dict[str, str]:
    """Return the digest of each program."""
    return {program: digest_file(folder / program) for program in component["programs"]}


@pytest.mark.skipif(not shutil.which("gcc"), reason="no C compiler here")
def test_a_c_program_is_built_the_same_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (first, second), component = build_twice("pause", tmp_path, monkeypatch)
    assert first != second
    assert digests(first, component) == digests(second, component)
    said = subprocess.run([first / "pause", "-v"], capture_output=True, text=True, check=True, timeout=10)
    assert component["version"] in said.stdout


@pytest.mark.skipif(not Path("/usr/include/seccomp.h").exists(), reason="no C compiler, or no libseccomp, here")
def test_a_c_program_of_another_libc_is_another_result(tmp_path: Path) -> None:
    builder = Builder(LOCK, ROOT, tmp_path)
    compiler, *libraries = builder._compiler()
    assert [line.split()[0] for line in libraries] == ["libc.a", "libseccomp.a"]
    folders = set()
    for made_of in (
        [compiler, *libraries],
        [compiler, "libc.a other", libraries[1]],
        [compiler, libraries[0], "other"],
    ):
        builder._cc = made_of
        folders.add(builder.component(part("pause")))
    assert len(folders) == 3


def test_pythons_packages_hold_nothing_of_the_python_that_unpacked_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = "hello-1.dist-info"
    content = {
        "hello.py": "def main(): pass\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: hello\nVersion: 1\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "[console_scripts]\nhello = hello:main\n",
    }
    index = tmp_path / "index/hello"
    index.mkdir(parents=True)
    wheel = index / "hello-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
        archive.writestr(f"{about}/RECORD", "".join(f"{name},,\n" for name in [*content, f"{about}/RECORD"]))
    (index / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    monkeypatch.setenv("PIP_INDEX_URL", f"file://{tmp_path}/index")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/requirements.txt").write_text(f"hello==1 --hash=sha256:{digest_file(wheel)}\n")
    component: Lock = {
        "name": "web",
        "version": "1",
        "language": "python",
        "directory": "src",
        "sum": "",
        "python": "3.11",
    }
    component |= {"platforms": ["any"], "programs": {"web": "."}}
    folder = Builder(LOCK, tmp_path, tmp_path / "cache").component(component)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert folder / "web/lib/hello.py" in files
    ours = str(Path(sys.executable).parent).encode()
    assert [path for path in files if ours in path.read_bytes() or path.name in ("RECORD", "hello")] == []


def go_tool() -> Path | None:
    """The Go tools of the cache, as a build leaves them there."""
    return next((path for path in sorted(CACHE.glob("store/go-*/go/bin/go"))), None)


@pytest.mark.skipif(not os.environ.get("YUNKUBE_FULL"), reason="compiles Go's library twice: tests/run --full")
@pytest.mark.skipif(go_tool() is None, reason="no bundle was built here yet, so there are no Go tools")
def test_a_go_program_is_built_the_same_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each place has a cache of its own, and with it Go's: the second build compiles everything again.
    (first, second), component = build_twice("probe", tmp_path, monkeypatch, str(go_tool()))
    assert first != second
    assert digests(first, component) == digests(second, component)


def test_a_failed_tool_is_reported_with_its_last_lines_and_its_log(tmp_path: Path) -> None:
    broken = {"name": "broken", "version": "1", "language": "c", "directory": "src", "programs": {"broken": "broken.c"}}
    (tmp_path / "src").mkdir()
    (tmp_path / "src/broken.c").write_text("int main(void) { return missing; }\n")
    with pytest.raises(BuildError, match=r"broken: gcc failed: .*missing.*logs/build-broken\.log"):
        Builder(LOCK, tmp_path, tmp_path / "cache").component(broken | {"sum": ""})


def test_progress_is_reported_while_something_is_built_and_not_after(tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    progress = Progress(file, 2)
    seen: list[Lock] = []

    def work() -> Path:
        seen.append(json.loads(file.read_text()))
        return tmp_path

    progress.step("etcd", work)
    progress.step("runc", work)
    assert [(told["what"], told["done"], told["total"]) for told in seen] == [
        ("build etcd", 0, 2),
        ("build runc", 1, 2),
    ]
    assert list(progress.times) == ["etcd", "runc"]
    progress.close()
    assert not file.exists()


def test_progress_tells_downloads_from_builds_and_how_far_they_are(tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    progress = Progress(file, 9)
    progress.meter = Meter(progress.tell)

    def work() -> Path:
        def inner() -> Path:
            progress.step("crictl", lambda: tmp_path, verb="download")
            progress.meter.expect("kubelet", 500)  # type: ignore[union-attr]
            progress.meter.came(100)  # type: ignore[union-attr]
            return tmp_path

        return progress.step("kubelet", inner, verb="download")

    progress.step("etcd", work)
    told = json.loads(file.read_text())
    assert (told["received"], told["size"], told["left"]) == (100, 500, None)
    seen: list[str] = []
    progress.step("etcd", lambda: progress.step("kubelet", lambda: look(seen, file, tmp_path), verb="download"))
    assert seen == ["build etcd; download kubelet"]


def look(seen: list[str], file: Path, path: Path) -> Path:
    """Note what is told just now."""
    seen.append(json.loads(file.read_text())["what"])
    return path


def test_without_downloads_everything_is_built(tmp_path: Path) -> None:
    builder = Builder(LOCK, ROOT, tmp_path)
    assert builder._left((), ()) == LOCK["components"]
    assert builder.steps() == 1 + len(builder.sets) + len(LOCK["components"]) + len(LOCK["images"])


def test_where_a_release_is_makes_no_other_result(tmp_path: Path) -> None:
    builder = Builder(LOCK, ROOT, tmp_path)
    (tmp_path / "pause").write_bytes(b"\x7fELF")
    image = next(one for one in LOCK["images"] if one["programs"] == {"pause": "/pause"})
    assert image["origins"]
    plain = {name: value for name, value in image.items() if name != "origins"}
    programs = {"pause": tmp_path / "pause"}
    assert builder.image(image, programs) == builder.image(plain, programs)
    crictl = part("cri-tools")
    assert builder._component_key(crictl) == builder._component_key(crictl | {"origins": {}})


def test_what_is_downloaded_is_not_built(tmp_path: Path) -> None:
    builder = Builder(LOCK, ROOT, tmp_path)
    pulled = ["registry.k8s.io/pause:3.10.2"]
    names = [part["name"] for part in builder._left({"crictl"}, pulled)]
    assert names == [one["name"] for one in LOCK["components"] if one["name"] not in ("cri-tools", "pause")]


def test_a_manifest_names_every_file_with_digest_size_and_place(tmp_path: Path) -> None:
    kubelet = tmp_path / "kubelet"
    kubelet.write_text("kubelet")
    image = tmp_path / "image"
    image.mkdir()
    (image / "image.tar").write_text("image")
    (image / "digest").write_text("sha256:abc")
    lock = {
        "kubernetes": "1.37.2",
        "architecture": "amd64",
        "components": [{"version": "1.37.2", "programs": {"kubelet": "cmd"}}],
        "files": [
            {
                "program": "kubelet",
                "kind": "kubernetes",
                "purpose": ["master", "node"],
                "path": "/usr/local/bin/kubelet",
            }
        ],
        "images": [{"reference": "registry.k8s.io/pause:3.10.2", "purpose": ["node"]}],
    }
    built = {"programs": {"kubelet": kubelet}, "images": {"registry.k8s.io/pause:3.10.2": image}, "packages": {}}
    manifest, sources = manifest_of(lock, built, Tools(tmp_path, 0))
    program, archive = manifest["files"]
    assert (program["path"], program["mode"], program["size"]) == ("/usr/local/bin/kubelet", "0755", 7)
    assert program["sha256"] == sha256_text("kubelet")
    assert (archive["name"], archive["version"], archive["target"]) == ("registry.k8s.io/pause", "3.10.2", "sha256:abc")
    assert sources == {program["sha256"]: kubelet, archive["sha256"]: image / "image.tar"}
