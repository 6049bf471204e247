# SPDX-License-Identifier: Apache-2.0
"""One run per cluster at a time, on this control machine."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

# What the run that holds the lock is, as JSON, for the Ansible that it starts: that takes no lock of its own, and tells
# the control plane host, for runs of other control machines to see.
VARIABLE = "YUNKUBE_RUN"

# Whose name and state directory deploy.py goes by, for the Ansible that it starts: that can read encrypted files, where
# others may stand, and must not go on with those.
CLUSTER = "YUNKUBE_CLUSTER"
STATE_DIR = "YUNKUBE_STATE_DIR"


class HeldError(Exception):
    """Another run holds the lock: what is wrong, and what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        """Keep both apart."""
        super().__init__(message)
        self.message, self.remedy = message, remedy


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
            raise HeldError(_holder(file.read()), "wait for it to finish, or stop it with Ctrl-C") from None
        run = describe(path, verb)
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid(), **run}, file)
        file.flush()
        os.environ[VARIABLE] = json.dumps(run)
        try:
            yield
        finally:
            os.environ.pop(VARIABLE, None)


def describe(path: Path, verb: str) -> dict[str, str]:
    """Return who runs what since when, and `origin`, which only runs under this lock have in common."""
    machine = socket.gethostname()
    machine_id = Path("/etc/machine-id")
    identity = f"{machine}\0{machine_id.read_text() if machine_id.exists() else ''}\0{path.resolve()}"
    return {
        "origin": hashlib.sha256(identity.encode()).hexdigest()[:16],
        "owner": f"{_user()}@{machine}",
        "verb": verb,
        "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user that has no name
        return str(os.getuid())


def _holder(text: str) -> str:
    """Say who holds the lock, by what it wrote there."""
    try:
        holder = json.loads(text)
        return f"`{holder['verb']}` (pid {holder['pid']}) has been running on this cluster since {holder['since']}"
    except (ValueError, KeyError, TypeError):  # it has only just taken the lock
        return "another run is in progress on this cluster"
