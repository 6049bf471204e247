# SPDX-License-Identifier: Apache-2.0
"""Bundles go into one file and come out of it whole, or nothing is written at all."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.build import archive, archive_import
from ansible.module_utils.yunkube.build.bundle import damaged, link_of
from ansible.module_utils.yunkube.build.cached_bundles import bundles, faults
from ansible.module_utils.yunkube.build.store import digest_file
from ansible.module_utils.yunkube.result import RefusedError
from archives import Members, change, export_two, members_of, refused
from tiny_bundle import make_bundle, make_lock


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache."""
    return tmp_path / "cache/yunkube"


@pytest.fixture
def exported(cache: Path, tmp_path: Path) -> Path:
    """An archive of two bundles; the cache that they come from is another by then."""
    return export_two(cache, tmp_path)


# -- export ----------------------------------------------------------------------------------------------


def test_the_same_bundle_gives_the_same_bytes_on_another_machine(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = random.Random(1).randbytes(1 << 14).hex() * 1500  # noqa: S311 - more than one job of the compressor
    make_bundle(cache, tmp_path, more=long)
    other = tmp_path / "other/yunkube"
    make_bundle(other, tmp_path, more=long)
    for path in other.rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))
    first = archive.export(bundles(cache), tmp_path, tmp_path / "first")
    for processors in (None, 1, 3):
        monkeypatch.setattr(os, "cpu_count", lambda number=processors: number)
        assert archive.export(bundles(other), tmp_path, tmp_path / "second") == first
    assert first == hashlib.sha256((tmp_path / "first").read_bytes()).hexdigest()


def test_the_index_comes_first_and_every_file_once(exported: Path) -> None:
    members = members_of(exported)
    names = [info.name for info, _ in members]
    index = json.loads(members[0][1])
    assert names[0] == "bundles.json"
    assert [name.partition("/")[0] for name in names[1:3]] == ["manifests", "manifests"]
    assert [name.partition("/")[0] for name in names[3:5]] == ["origins", "origins"]
    assert names[5:] == sorted(f"files/{digest}" for digest in index["files"])
    assert len(names) == 5 + 4  # kubectl and demo are the same in both
    assert {(info.mtime, info.uid, info.gid, info.uname, info.mode) for info, _ in members} == {(0, 0, 0, "", 0o644)}


def test_a_damaged_file_is_not_exported(cache: Path, tmp_path: Path) -> None:
    folder = make_bundle(cache, tmp_path)
    next(path for path in (folder / "files").iterdir() if "kubelet" in path.read_text()).write_text("something else")
    with pytest.raises(RefusedError, match="is damaged"):
        archive.export(bundles(cache), tmp_path, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_a_program_that_was_changed_is_not_exported(cache: Path, tmp_path: Path) -> None:
    folder = make_bundle(cache, tmp_path, architecture="arm64")
    (folder / "bin/demo").unlink()
    (folder / "bin/demo").write_text("something else")
    with pytest.raises(RefusedError, match="bin/demo: is not the program that the bundle was made with"):
        archive.export(bundles(cache), tmp_path, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_everything_that_cannot_be_exported_is_named(cache: Path, tmp_path: Path) -> None:
    folder = make_bundle(cache, tmp_path)
    old = make_bundle(cache, tmp_path, "1.36.5")
    lost = make_bundle(cache, tmp_path, architecture="arm64")
    (tmp_path / "components/kubernetes-1.36.5.yml").write_text("kubernetes: 1.36.5 # changed since\n")
    next((folder / "files").iterdir()).unlink()
    (lost / "bin/demo").unlink()
    (lost / "bin/demo").symlink_to("nowhere")
    with pytest.raises(RefusedError) as caught:
        archive.export(bundles(cache), tmp_path, tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert f"bundle {old.name}: lock: no lock of this checkout leads to it" in str(caught.value)
    assert f"bundle {lost.name}: bin/demo: leads to nowhere, which is not there" in str(caught.value)
    assert "is not there" in str(caught.value)


def test_what_is_exported_without_names_is_of_one_version(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no bundle of a lock of this checkout"):
        archive.choose(bundles(cache), tmp_path)
    make_bundle(cache, tmp_path)
    make_bundle(cache, tmp_path, architecture="arm64")
    make_bundle(cache, tmp_path, more="older, of a lock that was changed since")
    make_bundle(cache, tmp_path)
    assert [one.architecture for one in archive.choose(bundles(cache), tmp_path)] == ["amd64", "arm64"]
    make_bundle(cache, tmp_path, "1.36.5")
    with pytest.raises(RefusedError, match=r"bundles of Kubernetes 1\.36\.5 and 1\.37\.2; name those to export"):
        archive.choose(bundles(cache), tmp_path)


# -- import ----------------------------------------------------------------------------------------------


def test_what_comes_in_is_what_went_out(exported: Path, cache: Path, tmp_path: Path) -> None:
    done = archive_import.bring(exported, cache)
    for name in done.written:
        here, there = (place / "bundles" / name for place in (cache, tmp_path / "elsewhere"))
        assert (here / "manifest.json").read_bytes() == (there / "manifest.json").read_bytes()
        assert {path.name: path.read_bytes() for path in (here / "files").iterdir()} == {
            path.name: path.read_bytes() for path in (there / "files").iterdir()
        }
        assert (here / "origins.json").read_bytes() == (there / "origins.json").read_bytes()
        assert {path.name: path.read_text() for path in (here / "bin").iterdir()} == {
            "kubectl": "the program kubectl", "demo": "the program demo",
        }  # fmt: skip
        assert all(os.access(path, os.X_OK) and not path.is_symlink() for path in (here / "bin").iterdir())
    assert len(done.written) == 2
    assert [faults(bundle) for bundle in bundles(cache)] == [[], []]


def test_where_files_came_from_goes_with_them_if_it_is_known(cache: Path, tmp_path: Path) -> None:
    folder, out = make_bundle(cache, tmp_path), tmp_path / "out"
    name = json.loads((folder / "manifest.json").read_text())["files"][0]["sha256"]
    (folder / "origins.json").unlink()  # as bundles of older versions
    archive.export(bundles(cache), tmp_path, out)
    assert not [info.name for info, _ in members_of(out) if info.name.startswith("origins/")]
    other = tmp_path / "other"
    archive_import.bring(out, other)
    assert not (other / "bundles" / folder.name / "origins.json").exists()
    text = json.dumps({name: {"name": "kubectl", "from": "https://example.com/kubectl"}})
    (folder / "origins.json").write_text(text)
    archive.export(bundles(cache), tmp_path, out)
    assert archive_import.bring(out, other).written == [folder.name]
    assert (other / "bundles" / folder.name / "origins.json").read_text() == text
    assert archive_import.bring(out, other).written == []


@pytest.mark.parametrize("text", ["[", "[]", '{"a": "b"}', '{"a": {"from": 1}}', '{"a": {}}', "\xff", "[" * 100_000])
def test_origins_that_cannot_be_read_are_neither_exported_nor_imported(cache: Path, tmp_path: Path, text: str) -> None:
    folder, out = make_bundle(cache, tmp_path), tmp_path / "out"
    archive.export(bundles(cache), tmp_path, out)
    (folder / "origins.json").write_text(text, encoding="latin1")
    with pytest.raises(RefusedError, match=rf"bundle {folder.name}: origins\.json: is damaged"):
        archive.export(bundles(cache), tmp_path, tmp_path / "second")

    def spoil(members: Members) -> None:
        index, content = json.loads(members[0][1]), text.encode("latin1")
        index["bundles"][0]["origins"] = hashlib.sha256(content).hexdigest()
        members[0] = (members[0][0], json.dumps(index).encode())
        members[2] = (members[2][0], content)

    change(out, spoil)
    shutil.move(cache, tmp_path / "elsewhere")
    assert f"origins/{folder.name}.json: is damaged" in refused(out, cache)


def test_up_finds_it_by_the_lock_and_builds_nothing(exported: Path, cache: Path, tmp_path: Path) -> None:
    archive_import.bring(exported, cache)
    for architecture in ("amd64", "arm64"):
        link = link_of(cache, make_lock(tmp_path), architecture)
        assert damaged(link) == []  # what bring_bundle asks first, and then only links programs
        assert json.loads((link / "manifest.json").read_text())["architecture"] == architecture


def test_a_second_import_finds_everything_there(exported: Path, cache: Path) -> None:
    archive_import.bring(exported, cache)
    before = {path: path.lstat().st_ctime_ns for path in cache.rglob("*")}
    assert archive_import.bring(exported, cache).written == []
    assert {path: path.lstat().st_ctime_ns for path in cache.rglob("*")} == before


def test_files_that_the_cache_has_take_no_room_again(exported: Path, cache: Path, tmp_path: Path) -> None:
    older = make_bundle(cache, tmp_path, more="older")
    archive_import.bring(exported, cache)
    kubectl = next(path for path in older.glob("files/*") if path.read_text() == "the program kubectl")
    assert len({path.stat().st_ino for path in cache.glob(f"bundles/*/files/{kubectl.name}")}) == 1


def test_an_import_repairs_what_is_damaged(exported: Path, cache: Path) -> None:
    archive_import.bring(exported, cache)
    target = next(cache.glob("bundles/*/files/*"))
    content = target.read_bytes()
    for path in cache.glob(f"bundles/*/*/{target.name}"):
        path.unlink()
        path.write_bytes(content[::-1])
    assert archive_import.bring(exported, cache).written
    assert [faults(bundle) for bundle in bundles(cache)] == [[], []]


@pytest.mark.parametrize("noted", [True, False])
def test_an_import_repairs_programs(exported: Path, cache: Path, tmp_path: Path, noted: bool) -> None:
    folder = make_bundle(cache, tmp_path, architecture="arm64")
    make_bundle(cache, tmp_path)
    result = (folder / "bin/demo").resolve()
    if not noted:  # as bundles of older versions
        (folder / "programs.json").unlink()
    result.write_text("something else")
    assert archive_import.bring(exported, cache).written == [folder.name]
    assert (folder / "bin/demo").read_text() == "the program demo"
    assert result.exists() is not noted  # or it may as well be what this machine builds
    assert json.loads((folder / "programs.json").read_text())["demo"] == digest_file(folder / "bin/demo")
    assert [faults(bundle) for bundle in bundles(cache)] == [[], []]
    assert archive_import.bring(exported, cache).written == []


def test_an_import_forgets_the_damaged_build_result_that_a_file_is_a_name_of(
    exported: Path, cache: Path, tmp_path: Path
) -> None:
    other = make_bundle(cache, tmp_path, architecture="arm64")  # its bin/kubectl leads to a result of its own
    folder = make_bundle(cache, tmp_path)
    kubelet = next(path for path in (folder / "files").iterdir() if path.read_text().startswith("the kubelet"))
    result = (folder / "bin/demo").resolve().parent
    (other / "bin/demo").unlink()
    (other / "bin/demo").symlink_to(f"../../../store/{result.name}/demo")
    (result / "kubelet").write_text("something else")  # and so the bundle's file
    sound = {path: path.stat().st_ino for path in (cache / "store").glob("*/*") if path.parent != result}
    assert archive_import.bring(exported, cache).written == [folder.name]
    assert kubelet.read_text().startswith("the kubelet")
    assert not result.exists()  # or the next bundle would be made of it
    assert {path: path.stat().st_ino for path in (cache / "store").glob("*/*")} == sound
    assert [faults(bundle) for bundle in bundles(cache)] == [[], []]
    assert (other / "bin/demo").read_text() == "the program demo"  # what is sound of the result stays


@pytest.mark.parametrize("after", range(1, 15))
def test_an_interrupted_import_leaves_no_bundle_and_the_next_one_goes_on(
    exported: Path, cache: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = 0
    replace = Path.replace

    def interrupted(path: Path, target: Path) -> Path:
        nonlocal done
        done += 1
        if done == after:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            archive_import.bring(exported, cache)
    assert not any(faults(bundle) for bundle in bundles(cache))  # those that are there are whole
    (cache / "bundles" / json.loads(members_of(exported)[0][1])["bundles"][-1]["name"] / "files/.left").touch()
    archive_import.bring(exported, cache)
    assert [faults(bundle) for bundle in bundles(cache)] == [[], []]
    assert not list(cache.glob("bundles/*/*/.*"))
    assert not [path for path in cache.glob("locks/.*") if path.is_symlink()]
