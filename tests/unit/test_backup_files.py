# SPDX-License-Identifier: Apache-2.0
"""Backups are listed the newest first; other files are none, and what is encrypted is not rehearsed."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import etcd, etcd_files
from ansible.module_utils.yunkube.kube.etcd_backup import age_of, listing
from real_module import run as run_module

OLD, NEW = "prod-20261129T023000Z.db", "prod-20261130T023000Z.db"
SEALED = "prod-master1-20261201T023000Z.db.cms"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (OLD, NEW, SEALED, f"{NEW}.part", "prod-20261130T023000Z.json", "other.db"):
        (tmp_path / name).write_bytes(b"{}" if name.endswith(".json") else b"x" * 1_500_000)
    return tmp_path


def test_the_newest_comes_first_with_size_and_age(folder: Path) -> None:
    now = (folder / OLD).stat().st_mtime + 7300
    rows = listing(folder, "master1", now)
    assert [row["target"] for row in rows] == [SEALED, NEW, OLD]
    assert rows[0]["detail"] == "master1: 1.5 MB, 2 hours old, encrypted"
    assert rows[2]["detail"] == "master1: 1.5 MB, 2 hours old"
    assert [row["target"] for row in listing(folder, "", now, OLD)] == [OLD]


def test_a_folder_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert listing(tmp_path / "none", "", 0) == []


def test_the_newest_that_can_be_read_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module("backup_files").main
    _, result = run_module(main, {"folder": str(folder), "where": "here"}, monkeypatch, capsys)
    assert result["newest"] == str(folder / NEW)
    assert len(result["table"]) == 3


def test_backups_of_other_clusters_in_the_folder_and_those_without_notes_do_not_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module("backup_files").main
    for name, revision in ((OLD, 7), ("shop-20261215T023000Z.db", 9)):
        (folder / name).write_bytes(b"x")
        (folder / name).with_suffix(".json").write_text(json.dumps({"revision": revision}))
    (folder / "prod-eu-20261216T023000Z.db").write_bytes(b"x")

    def call(**options: str) -> dict[str, t.Any]:
        return run_module(main, {"folder": str(folder), "cluster": "prod", **options}, monkeypatch, capsys)[1]

    assert call(state="chosen")["path"] == str(folder / NEW)
    assert call(state="noted")["noted"] == {"revision": 7, "name": OLD}
    assert call(state="noted", cluster="none")["noted"] == {}
    assert len(call()["table"]) == 5


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (119, "119 s"), (120, "2 minutes"), (7200, "2 hours"), (200000, "2 days")]
)
def test_an_age_is_said_in_the_largest_unit(seconds: float, text: str) -> None:
    assert age_of(seconds) == text


CONTENT = b"x" * 4096
WHOLE = CONTENT + hashlib.sha256(CONTENT).digest()
NOTES = {"sha256": hashlib.sha256(CONTENT).hexdigest(), "revision": 7, "objects": {"pods": 1}}


def test_a_copy_is_the_owners_alone_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o755)
    main = importlib.import_module("backup_files").main

    def call(**options: t.Any) -> dict[str, t.Any]:
        return run_module(main, {"folder": str(tmp_path), "only": NEW, **options}, monkeypatch, capsys)[1]

    mask = os.umask(0o022)
    try:
        part = Path(call(state="begun")["path"])
        assert (part, part.stat().st_mode & 0o777) == (tmp_path / f"{NEW}.part", 0o600)
        part.write_bytes(WHOLE)
        inode = part.stat().st_ino
        kept = call(state="kept", notes=NOTES)
    finally:
        os.umask(mask)
    target = tmp_path / NEW
    assert (target.stat().st_ino, target.stat().st_mode & 0o777) == (inode, 0o600)
    assert [row["target"] for row in kept["table"]] == [NEW]
    assert json.loads(target.with_suffix(".json").read_text()) == NOTES
    assert target.with_suffix(".json").stat().st_mode & 0o777 == 0o600
    assert not part.exists()


def test_in_check_mode_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module("backup_files").main
    options = {"folder": str(tmp_path), "only": NEW, "notes": NOTES, "_ansible_check_mode": True}
    for state in ("begun", "kept"):
        run_module(main, {**options, "state": state}, monkeypatch, capsys)
    assert list(tmp_path.iterdir()) == []


def test_another_copy_than_was_saved_is_not_kept(tmp_path: Path) -> None:
    etcd_files.begin(tmp_path / NEW)
    (tmp_path / f"{NEW}.part").write_bytes(WHOLE)
    with pytest.raises(etcd.EtcdError, match="is not what was saved on the host"):
        etcd_files.keep(tmp_path / NEW, {**NOTES, "sha256": "0" * 64})
    assert not (tmp_path / NEW).exists()


def test_parts_of_killed_runs_go_by_exact_names_once_they_are_old(tmp_path: Path) -> None:
    old, others = f"{OLD}.part", ["prod-x-20261129T023000Z.db.part", "prod.db.part", "prod-20261128T023000Z.db.part"]
    for name in (old, *others):
        (tmp_path / name).write_text("x")
        if name != others[-1]:
            os.utime(tmp_path / name, (0, 0))
    assert etcd_files.begin(tmp_path / NEW) == [old]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, f"{NEW}.part"])


def test_a_missing_folder_is_created_for_the_owner_alone(tmp_path: Path) -> None:
    etcd_files.begin(tmp_path / "a/b" / NEW)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")} == {0o700}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[1, 2]", "is a list or a text"),
        ("{", "is no JSON"),
        ('{"objects": [1]}', "wrong in objects"),
        ('{"objects": {"pods": "1"}, "revision": true}', "wrong in revision, objects"),
    ],
)
def test_notes_of_a_wrong_shape_are_refused_in_a_line(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / NEW).write_bytes(WHOLE)
    (tmp_path / NEW).with_suffix(".json").write_text(text)
    with pytest.raises(etcd.EtcdError, match=word) as refused:
        etcd_files.choose(str(tmp_path / NEW), "", tmp_path)
    assert "\n" not in str(refused.value)
    assert etcd_files.notes_of(tmp_path / NEW) == {}


def test_a_backup_is_chosen_with_its_notes_and_a_folder_of_the_run(folder: Path) -> None:
    first, second = (etcd_files.choose("", str(folder / NEW), folder) for _ in range(2))
    assert (first.path, first.notes) == (str(folder / NEW), {"name": NEW})
    assert first.folder != second.folder
    with pytest.raises(etcd.EtcdError, match="there is no backup in"):
        etcd_files.choose("", "", folder)
