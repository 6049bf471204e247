# SPDX-License-Identifier: Apache-2.0
"""A service runs what its files say, whoever changed them and whatever was killed in between."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host.service import (
    Start,
    _is_after,
    changed_after,
    needed_actions,
    parse_show,
    started_at,
)

ENABLED = {"UnitFileState": "enabled", "ActiveState": "active", "NeedDaemonReload": "no"}


@pytest.mark.parametrize(
    ("unit", "stale", "may_start", "actions"),
    [
        ({}, False, True, ["enable", "start"]),
        ({}, False, False, ["enable"]),
        (ENABLED, False, True, []),
        (ENABLED, True, True, ["restart"]),
        (ENABLED, True, False, []),
        (ENABLED | {"NeedDaemonReload": "yes"}, True, True, ["daemon-reload", "restart"]),
        (ENABLED | {"ActiveState": "failed"}, True, True, ["start"]),
        (ENABLED | {"ActiveState": "activating"}, False, True, []),
    ],
)
def test_only_what_is_needed_is_asked_of_systemd(
    unit: dict[str, str], stale: bool, may_start: bool, actions: list[str]
) -> None:
    assert needed_actions(unit, stale=stale, may_start=may_start) == actions


def test_the_start_of_a_process_is_read() -> None:
    shown = parse_show("ActiveState=active\nExecMainStartTimestamp=Mon 2026-11-23 23:07:54.414592 UTC\n")
    assert started_at(shown) == pytest.approx((1795475274.414592, 1795475274.414592))
    assert started_at({"ExecMainStartTimestamp": "n/a"}) == started_at({}) == (0.0, 0.0)


@pytest.mark.parametrize("noted", ["Thu 1970-01-01 00:00:09.000000 UTC", "Fri 2096-11-23 23:07:54.414592 UTC"])
def test_a_clock_that_was_wrong_at_the_start_neither_causes_nor_hides_a_restart(tmp_path: Path, noted: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        start = started_at({"MainPID": str(process.pid), "ExecMainStartTimestamp": noted})
        assert start.real == pytest.approx(time.time(), abs=30)
        assert changed_after([str(path)], start) == []
        time.sleep(0.05)  # more than a tick
        path.chmod(0o600)
        assert changed_after([str(path)], start) == [str(path)]


def test_a_clock_that_was_fast_for_both_causes_no_restart() -> None:
    """It was set back since: the file is of the future, and the process as well, a bit later."""
    now = time.time()
    assert not _is_after(now + 3600, Start(real=now - 60, noted=now + 3601))
    assert _is_after(now + 3602, Start(real=now - 60, noted=now + 3601))


def test_a_file_put_in_place_counts_whatever_its_own_date(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_text("")
    os.utime(path, (0, 0))
    put = path.stat().st_ctime
    assert changed_after([str(path), str(tmp_path / "gone")], Start(put - 1, put - 1)) == [str(path)]
    assert changed_after([str(path)], Start(put + 1, put + 1)) == []
