# SPDX-License-Identifier: Apache-2.0
"""Take turns with whatever else installs packages on a host: unattended-upgrades on a fresh machine, or a person."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.patience import scaled

FRONTEND = Path("/var/lib/dpkg/lock-frontend")
WAIT_SECONDS = scaled(120.0)
# struct flock of a 64-bit Linux: type, whence, start, length, process.
FLOCK = "hhqqi4x"


class PackagesBusy(Exception):  # noqa: N818 - what it says is a state, not a fault of ours
    """Another program goes on installing packages; the text says which."""


@contextlib.contextmanager
def package_turn(notes: list[str], seconds: float = WAIT_SECONDS, lock: Path = FRONTEND) -> t.Iterator[None]:
    """Hold the lock that apt holds around its calls of dpkg; say in `notes` for whom it had to wait.

    dpkg, which takes the same lock and gives up at once, is told by DPKG_FRONTEND_LOCKED that we have it.
    """
    began = time.monotonic()
    holder = ""
    with os.fdopen(os.open(str(lock), os.O_RDWR | os.O_CREAT, 0o640), "r+") as stream:
        while True:
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError) as error:
                holder = holder_of(stream.fileno()) or holder
                if time.monotonic() - began >= seconds:
                    raise PackagesBusy(
                        f"{holder or 'another program'} has been installing packages for more than {seconds:.0f} s"
                    ) from error
                time.sleep(0.2)
        if holder:
            notes.append(f"waited {time.monotonic() - began:.0f} s for {holder} to install its packages")
        yield


def holder_of(descriptor: int) -> str:
    """Return which process holds a lock of a file, in words; nothing when it just let go."""
    asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    if kind == fcntl.F_UNLCK:
        return ""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return f"process {pid}"
    # Of `python3 /usr/bin/unattended-upgrade` the second word says what it is.
    script = next((word for word in words[1:2] if word.startswith(b"/")), words[0])
    return f"{Path(script.decode(errors='replace')).name} (process {pid})"
