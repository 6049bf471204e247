# SPDX-License-Identifier: Apache-2.0
"""A service runs what its files say, whoever changed them and whatever was killed in between."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host.service import (
    Start,
    _is_after,
    bring_service,
    changed_after,
    needed_actions,
    parse_show,
    started_at,
)

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

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


class Module:
    """A host on which systemd has read a unit file once, and reads it again when it is told to."""

    def __init__(self, unit: Path, *, check_mode: bool) -> None:
        """Let systemd know the unit file that is there."""
        self.unit, self.check_mode = unit, check_mode
        self.read = self._text()

    def _text(self) -> str:
        return self.unit.read_text() if self.unit.exists() else ""

    def get_bin_path(self, name: str, **_more: t.Any) -> str:
        """Find it."""
        return name

    def run_command(self, argv: list[str], **_more: t.Any) -> tuple[int, str, str]:
        """Answer as systemctl does."""
        if argv[1] == "daemon-reload":
            self.read = self._text()
        load = "loaded" if self.read else "not-found"
        reload = "yes" if self.read and self.read != self._text() else "no"
        return 0, f"LoadState={load}\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload={reload}\n", ""


@pytest.mark.parametrize("former", ["", "[Unit]\nDescription=old\n", "[Unit]\n"])
@pytest.mark.parametrize("place", ["app.service", "app.service.d/10.conf"])
def test_a_check_names_what_the_run_then_does(tmp_path: Path, former: str, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    if former:
        path.write_text(former)
    file = {"path": str(path), "content": "[Unit]\n", "mode": "0644", "restart": False, "secret": False}
    service = {"name": "app.service", "files": [file], "programs": [], "start_condition": None}

    def changes(check_mode: bool) -> list[str]:
        module = t.cast("AnsibleModule", Module(path, check_mode=check_mode))
        return bring_service(module, service, []).changes

    said = changes(check_mode=True)
    assert said == changes(check_mode=False)
    assert ("reload systemd's units" in said) == (former == "[Unit]\nDescription=old\n")
    assert changes(check_mode=True) == []


class Host:
    """A module, and systemd as it is told."""

    check_mode = False

    def __init__(self, shown: str = "LoadState=loaded\nActiveState=active\n") -> None:
        self.asked: list[str] = []
        self.shown = shown

    def get_bin_path(self, name: str, **_more: object) -> str:
        """Find any program."""
        return name

    def run_command(self, argv: list[str], **_more: object) -> tuple[int, str, str]:
        """Be a unit in a state."""
        self.asked.append(" ".join(argv[1:2] + argv[-1:]))
        return 0, self.shown, ""


def test_a_service_that_is_no_longer_declared_goes_with_its_files(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("own.service", "own.timer", "never.crt")]
    for path in paths[:2]:
        path.write_text("text")
    files = [{"path": str(path), "content": "", "restart": False} for path in paths]
    service = {"name": "own.timer", "files": files, "programs": [], "start_condition": None, "state": "absent"}
    host = Host()
    host.check_mode = True
    looked = bring_service(host, service, [])  # type: ignore[arg-type]
    assert looked.changes == ["disable own.timer", f"remove {paths[0]}", f"remove {paths[1]}"]
    assert (host.asked, paths[1].exists()) == ([], True)
    assert [entry["before"] for entry in looked.diff] == ["text", "text"]
    host.check_mode = False
    assert bring_service(host, service, []).changes == looked.changes  # type: ignore[arg-type]
    assert not paths[0].exists()
    assert not paths[1].exists()
    assert host.asked == ["show own.timer", "stop own.timer", "disable own.timer", "daemon-reload daemon-reload"]
    assert bring_service(host, service, []).changes == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shown", "asked"),
    [
        ("LoadState=bad-setting\nActiveState=inactive\n", ["disable own.timer"]),  # stop fails: "not loaded"
        ("LoadState=bad-setting\nActiveState=active\n", ["stop own.timer", "disable own.timer"]),
        ("LoadState=not-found\nActiveState=inactive\n", []),
    ],
)
def test_a_unit_that_systemd_refuses_is_disabled_as_well(tmp_path: Path, shown: str, asked: list[str]) -> None:
    path = tmp_path / "own.timer"
    path.write_text("text")
    files = [{"path": str(path), "content": "", "restart": False}]
    service = {"name": "own.timer", "files": files, "programs": [], "start_condition": None, "state": "absent"}
    host = Host(shown)
    bring_service(host, service, [])  # type: ignore[arg-type]
    assert host.asked == ["show own.timer", *asked, "daemon-reload daemon-reload"]
    assert not path.exists()
