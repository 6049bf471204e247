# SPDX-License-Identifier: Apache-2.0
"""What is killed at the end of a run: what it started, and nothing else."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployer.stop import Stop

SLEEP = ("env", "--default-signal=INT", "sleep", "60")  # what a shell starts with "&" would ignore it


def asleep() -> subprocess.Popen[bytes]:
    """Start a process, and wait until it hears an interrupt."""
    process = subprocess.Popen(SLEEP)
    while Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
        assert process.poll() is None
        time.sleep(0.01)
    return process


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep processes, and end them after the test."""
    kept: list[subprocess.Popen[bytes]] = []
    yield kept
    for process in kept:
        process.kill()
        process.wait()


def test_what_the_run_left_is_killed_and_what_was_there_before_stays(started: list[subprocess.Popen[bytes]]) -> None:
    started.append(asleep())
    stop = Stop()
    started.append(asleep())
    stop.sweep()
    assert started[1].wait(10) == -9
    assert started[0].poll() is None


def test_a_run_that_is_to_end_interrupts_its_own_processes_alone(started: list[subprocess.Popen[bytes]]) -> None:
    started.append(asleep())
    stop = Stop()
    started.append(asleep())
    stop.ask("interrupted")
    assert not stop.poll()
    assert started[1].wait(10) == -2
    assert started[0].poll() is None
