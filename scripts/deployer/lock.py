"""One run per cluster at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from deployer.errors import DeployError


@contextlib.contextmanager
def held(state_dir: Path, verb: str) -> Iterator[None]:
    """Hold the cluster's lock; the kernel gives it back whatever way this process ends."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = state_dir / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeployError(_holder(file.read()), "wait for it to end, or stop it with Ctrl-C") from None
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid(), "verb": verb, "since": datetime.now(UTC).isoformat(timespec="seconds")}, file)
        file.flush()
        yield


def _holder(text: str) -> str:
    """Say who holds the lock, by what it wrote there."""
    try:
        holder = json.loads(text)
        return f"`{holder['verb']}` (pid {holder['pid']}) has been working on this cluster since {holder['since']}"
    except (ValueError, KeyError, TypeError):  # it has only just taken the lock
        return "another run is working on this cluster"
