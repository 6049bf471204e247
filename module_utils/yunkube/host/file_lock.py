# SPDX-License-Identifier: Apache-2.0
"""Locks that the kernel frees when their holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t
from pathlib import Path


class LockError(Exception):
    """Somebody else holds a lock for too long; the text says who, and what to do."""


@contextlib.contextmanager
def locked(path: Path, seconds: float) -> t.Iterator[None]:
    """Hold an exclusive lock; whoever comes second waits so long, and the kernel frees it when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise LockError(_held(path, stream, seconds)) from error
                time.sleep(0.05)
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        try:
            yield
        finally:
            fcntl.flock(stream, fcntl.LOCK_UN)  # also for a process that was forked meanwhile


def _held(path: Path, stream: t.TextIO, seconds: float) -> str:
    stream.seek(0)
    pid = stream.read().strip()
    try:
        command = Path(f"/proc/{int(pid)}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        holder = f"process {pid} ({command[:80]})"
    except (OSError, ValueError):
        holder = "another process"
    return f"{path} has been held by {holder} for more than {seconds:.0f} s: wait for it or end it, then run again"
