# SPDX-License-Identifier: Apache-2.0
"""What is killed at the end of a run: what it started, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from deployer.stop import Stop

SLEEP = ("env", "--default-signal=INT", "sleep", "60")  # what a shell starts with "&" would ignore it


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep processes, and end them after the test."""
    kept: list[subprocess.Popen[bytes]] = []
    yield kept
    for process in kept:
        process.kill()
        process.wait()


def test_what_the_run_left_is_killed_and_what_was_there_before_stays(started: list[subprocess.Popen[bytes]]) -> None:
    started.append(subprocess.Popen(SLEEP))
    stop = Stop()
    started.append(subprocess.Popen(SLEEP))
    stop.sweep()
    assert started[1].wait(10) == -9
    assert started[0].poll() is None


def test_a_run_that_is_to_end_interrupts_its_own_processes_alone(started: list[subprocess.Popen[bytes]]) -> None:
    started.append(subprocess.Popen(SLEEP))
    stop = Stop()
    started.append(subprocess.Popen(SLEEP))
    stop.ask("interrupted")
    assert not stop.poll()
    assert started[1].wait(10) == -2
    assert started[0].poll() is None
