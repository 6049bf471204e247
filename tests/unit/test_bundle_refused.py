# SPDX-License-Identifier: Apache-2.0
"""An archive that is not as `bundle export` writes it is refused with all that is wrong, before the first write."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard
from ansible.module_utils.yunkube.build import archive_import
from ansible.module_utils.yunkube.build.cached_bundles import bundles
from ansible.module_utils.yunkube.result import RefusedError
from archives import Members, change, change_index, change_manifest, export_two, members_of, refused, write_members


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache."""
    return tmp_path / "cache/yunkube"


@pytest.fixture
def exported(cache: Path, tmp_path: Path) -> Path:
    """An archive of two bundles; the cache that they come from is another by then."""
    return export_two(cache, tmp_path)


def test_no_archive_is_refused(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "some.tar"
    path.write_text("no archive")
    assert "is no archive of bundles: it is not compressed with zstd" in refused(path, cache)
    path.write_bytes(zstandard.ZstdCompressor().compress(b"no tar" * 500))
    assert "is damaged or was cut short" in refused(path, cache)
    write_members(path, [(tarfile.TarInfo("etc/passwd"), b"root")])
    assert "bundles.json: does not come first" in refused(path, cache)


@pytest.mark.parametrize("part", range(8))
def test_an_archive_that_was_cut_short_is_refused(exported: Path, cache: Path, part: int) -> None:
    whole = exported.read_bytes()
    exported.write_bytes(whole[: len(whole) * part // 8])
    assert refused(exported, cache)


def test_any_changed_byte_is_refused(exported: Path, cache: Path) -> None:
    whole, content = exported.read_bytes(), members_of(exported)
    draw = random.Random(7)  # noqa: S311 - to be drawn again
    same = 0
    for place in draw.sample(range(4, len(whole)), 60):
        exported.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        with contextlib.suppress(zstandard.ZstdError, tarfile.TarError):
            if [one for _, one in members_of(exported)] == [one for _, one in content]:
                same += 1  # two codes of zstd for the same bytes
                continue
        assert refused(exported, cache)
    assert same <= 1


def test_all_that_is_wrong_is_said_at_once(exported: Path, cache: Path) -> None:
    def spoil(members: Members) -> None:
        first, second, *rest = members[5:]
        link, up = tarfile.TarInfo("files/link"), tarfile.TarInfo("../../etc/cron.d/evil")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        hard = tarfile.TarInfo("files/hard")
        hard.type, hard.linkname = tarfile.LNKTYPE, "bundles.json"
        members[5:] = [
            (first[0], bytes(len(first[1]))), (second[0], b"short"), (link, b""), (hard, b""), (up, b"evil"),
            *rest[:-1], rest[0],
        ]  # fmt: skip

    change(exported, spoil)
    said = refused(exported, cache).splitlines()
    assert len(said) == 7
    assert "is damaged: its sha256 is another" in said[0]
    assert "has 5 bytes, the index says" in said[1]
    assert "files/link: is no regular file" in said[2]
    assert "files/hard: is no regular file" in said[3]
    assert "../../etc/cron.d/evil: appears twice, or the index does not name it" in said[4]
    assert "appears twice" in said[5]
    assert "is missing" in said[6]


def test_a_format_of_the_future_is_refused(exported: Path, cache: Path) -> None:
    change_index(exported, lambda index: index.update(format=2))
    assert "is of format 2, this version reads format 1; import it with the version" in refused(exported, cache)


@pytest.mark.parametrize(
    "how",
    [
        lambda index: index["bundles"][0].update(name="../../../etc"),
        lambda index: index["bundles"][0].update(link="../../x"),
        lambda index: index["bundles"][0]["programs"].update({"../../kubectl": next(iter(index["files"]))}),
        lambda index: index["bundles"][0]["programs"].update(kubectl="0" * 64),
        lambda index: index["bundles"].append(index["bundles"][0]),
        lambda index: index["files"].update({"0" * 64: -1}),
        lambda index: index["files"].update({"x": 1}),
        lambda index: index.update(bundles=[]),
        lambda index: index.update(files=None),
        lambda index: index["bundles"][0].pop("link"),
        lambda index: index["bundles"][0].update(origins="../../x"),
    ],
)
def test_an_index_that_names_places_of_others_is_refused(
    exported: Path, cache: Path, how: Callable[[dict[str, Any]], object]
) -> None:
    change_index(exported, how)
    assert "names bundles or files in a way that no export does" in refused(exported, cache)


def test_a_manifest_that_names_other_files_is_refused(exported: Path, cache: Path) -> None:
    change_manifest(exported, lambda manifest: manifest["files"][0].update(size=manifest["files"][0]["size"] + 1))
    assert "names other files, or another version, than the index" in refused(exported, cache)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"sha256": "../../../evil", "size": None}, ["sha256 is '../../../evil'", "size is None"]),
        ({"sha256": "0" * 63}, ["sha256 is '"]),
        ({"sha256": ["0" * 64], "name": 5}, ["sha256 is ['", "name is 5"]),
        ({"size": True, "version": None}, ["size is True", "version is None"]),
        ({"size": -1, "name": ""}, ["size is -1", "name is ''"]),
        ({"size": 1.0}, ["size is 1.0"]),
    ],
)
def test_everything_that_no_manifest_says_is_refused_at_once(
    exported: Path, cache: Path, entry: dict[str, Any], said: list[str]
) -> None:
    def spoil(manifest: dict[str, Any]) -> None:
        manifest["files"][0] |= entry
        manifest["files"] += [{key: value for key, value in manifest["files"][0].items() if key not in entry}, "text"]

    change_manifest(exported, spoil)
    lines = refused(exported, cache).splitlines()
    assert all("manifests/" in line for line in lines)
    for number, one in enumerate(said):
        assert f"files[0]: {one}" in lines[number]
    assert len([line for line in lines if "files[3]: is no entry" in line]) == 1
    assert len(lines) == 2 * len(said) + 1
    for number, key in enumerate(key for key in ("sha256", "size", "name", "version") if key in entry):
        assert f"files[2]: {key} is None" in lines[len(said) + number]


@pytest.mark.parametrize("text", [b"[" * 100_000, b"{}", b"[]", json.dumps({"files": []}).encode("utf-16"), b"\xff"])
def test_what_is_no_manifest_is_refused(exported: Path, cache: Path, text: bytes) -> None:
    def rewrite(members: Members) -> None:
        index, digest = json.loads(members[0][1]), hashlib.sha256(text).hexdigest()
        index["bundles"][0] |= {"name": digest[:16], "manifest": digest, "origins": ""}
        members[0] = (members[0][0], json.dumps(index).encode())
        members[1] = (tarfile.TarInfo(f"manifests/{digest[:16]}.json"), text)
        del members[3]

    change(exported, rewrite)
    assert "is no manifest of a bundle" in refused(exported, cache)


def test_what_goes_on_longer_than_it_says_is_refused(exported: Path, cache: Path) -> None:
    change(exported, lambda members: members.append((tarfile.TarInfo("more"), bytes(64 << 20))))
    assert "holds more than its index says" in refused(exported, cache)


def test_an_archive_that_changes_while_it_is_read_leaves_no_bundle(
    exported: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(members: Members) -> None:
        members[-1] = (members[-1][0], members[-1][1][::-1])

    def whole(*_: object) -> bool:  # asked between the two times that it is read
        if not cache.exists():
            change(exported, spoil)
            cache.mkdir(parents=True)
        return False

    monkeypatch.setattr(archive_import, "whole", whole)
    with pytest.raises(RefusedError, match="has changed while it was read"):
        archive_import.bring(exported, cache)
    assert bundles(cache) == []
    assert not list(cache.glob("bundles/*/*/.*"))


def test_a_disk_without_room_is_said_with_the_rest(
    exported: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: SimpleNamespace(free=1 << 20))
    change(exported, lambda members: members.pop())
    said = refused(exported, cache).splitlines()
    assert len(said) == 2
    assert "is missing" in said[0]
    assert "has 1 MiB free, and the import needs 64; free some space" in said[1]
