# SPDX-License-Identifier: Apache-2.0
"""How a teardown removes packages: not while another program installs some."""

from __future__ import annotations

import functools
import subprocess
import sys
import types
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host.dpkg_lock import package_turn
from ansible.module_utils.yunkube.teardown import host

HOLD = """
import fcntl, sys, time
with open(sys.argv[1], "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
TRY = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[t.Callable[[float], subprocess.Popen[str]]]:
    """Hold dpkg's lock in another process for so many seconds."""
    started: list[subprocess.Popen[str]] = []

    def begin(seconds: float) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", HOLD, str(tmp_path / "lock"), str(seconds)]
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        stdout = started[-1].stdout
        assert stdout is not None
        assert stdout.readline() == "held\n"
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def remove(monkeypatch: pytest.MonkeyPatch, folder: Path, seconds: float) -> list[tuple[list[str], bool]]:
    """Remove a package; return the calls, and whether dpkg's lock was taken by then and dpkg was informed."""
    monkeypatch.setattr(host, "package_turn", functools.partial(package_turn, seconds=seconds, lock=folder / "lock"))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    calls = []

    def run_command(argv: list[str], environ_update: dict[str, str]) -> tuple[int, str, str]:
        argv_of_another = [sys.executable, "-c", TRY, str(folder / "lock")]
        free = subprocess.run(argv_of_another, capture_output=True, check=False).returncode == 0
        calls.append((argv, not free and environ_update["DPKG_FRONTEND_LOCKED"] == "1"))
        return 0, "", ""

    torn = host.Host.__new__(host.Host)
    torn.module = t.cast("t.Any", types.SimpleNamespace(run_command=run_command))
    torn.packages = ["conntrack"]
    torn._remove_packages()
    return calls


def test_packages_are_removed_when_another_program_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hold: t.Callable[[float], subprocess.Popen[str]]
) -> None:
    other = hold(1)
    ((argv, locked),) = remove(monkeypatch, tmp_path, 60)
    assert argv == ["dpkg", "--force-unsafe-io", "--purge", "conntrack"]
    assert locked
    assert other.wait(10) == 0


def test_who_never_ends_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hold: t.Callable[[float], subprocess.Popen[str]]
) -> None:
    other = hold(30)
    with pytest.raises(host.TeardownError, match=rf"\(process {other.pid}\) has been installing packages"):
        remove(monkeypatch, tmp_path, 0.3)
