# SPDX-License-Identifier: Apache-2.0
"""End a run early: politely first, by force when asked twice or when it takes too long."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Literal

# How long Ansible may take to end its workers.
GRACE = 10.0

Reason = Literal["", "interrupted", "timeout", "refused"]
Process = tuple[int, str]  # pid and start time: a pid alone may be given to another


class Stop:
    """Knows whether the run must end, and ends all that it started."""

    def __init__(self, timeout: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Count the timeout from now; None is no timeout."""
        self._clock = clock
        self._deadline = None if timeout is None else clock() + timeout
        self._asked_at: float | None = None
        self.by_force = False
        self._others = descendants(os.getpid())  # of whoever called this, such as a test's own servers
        self._seen: set[Process] = set()
        self.reason: Reason = ""

    def ask(self, reason: Reason) -> None:
        """Ask for an end; asked again, it ends by force."""
        if self.reason:
            self.by_force = True
        else:
            self.reason = reason

    def poll(self) -> bool:
        """Do what is due. True says: kill it now."""
        now = self._clock()
        if not self.reason and self._deadline is not None and now >= self._deadline:
            self.reason = "timeout"
        if not self.reason:
            return False
        self._seen |= descendants(os.getpid()) - self._others
        if self._asked_at is None:
            self._asked_at = now
            others = {pid for pid, _ in self._others}
            for pid in (pid for pid in children(os.getpid()) if pid not in others):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
        return self.by_force or now - self._asked_at > GRACE

    def sweep(self) -> None:
        """Kill what is left of the processes of this run."""
        for pid, began in self._seen | descendants(os.getpid()) - self._others:
            if _start_time(pid) == began:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Let Ctrl-C, SIGTERM and a closed terminal ask for an end."""

        def handler(_signum: int, _frame: FrameType | None) -> None:
            self.ask("interrupted")

        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {signum: signal.signal(signum, handler) for signum in signals}
        try:
            yield
        finally:
            for signum, old in before.items():
                signal.signal(signum, old)


def children(pid: int) -> list[int]:
    """Return the pids of the direct children, of all threads."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def descendants(pid: int) -> set[Process]:
    """Return every process below this one, with its start time."""
    found: set[Process] = set()
    for child in children(pid):
        found |= {(child, _start_time(child))} | descendants(child)
    return found


def _start_time(pid: int) -> str:
    """Return the process's start time in clock ticks since boot; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def tied(argv: Sequence[str], signal_name: str) -> list[str]:
    """Return the command with which the program gets a signal when this process is killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", signal_name, *argv] if setpriv else list(argv)


def is_alive(pid: int) -> bool:
    """Say whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's, so it is there
        return True
    return True
