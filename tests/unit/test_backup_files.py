# SPDX-License-Identifier: Apache-2.0
"""Backups are listed the newest first; other files are none, and what is encrypted is not rehearsed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube.etcd_backup import age_of, listing
from real_module import run as run_module

OLD, NEW = "prod-20261129T023000Z.db", "prod-20261130T023000Z.db"
SEALED = "prod-master1-20261201T023000Z.db.cms"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (OLD, NEW, SEALED, f"{NEW}.part", "prod-20261130T023000Z.json", "other.db"):
        (tmp_path / name).write_bytes(b"x" * 1_500_000)
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


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (119, "119 s"), (120, "2 minutes"), (7200, "2 hours"), (200000, "2 days")]
)
def test_an_age_is_said_in_the_largest_unit(seconds: float, text: str) -> None:
    assert age_of(seconds) == text
