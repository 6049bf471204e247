"""A content-addressed store: results named by a digest of what they were made from.

A result is a folder that appears under its final name only when whole, so a killed build leaves
nothing that a later one could mistake for a result, and every finished part is kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
import typing as t
from pathlib import Path

CHUNK = 1 << 20
RESULT_SECONDS = 3600.0  # how long to wait for another run that makes the same result


def digest_of(value: object) -> str:
    """Return the sha256 of a JSON-able value, the same for the same value on every machine."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_tree(folder: Path) -> str:
    """Return the sha256 over names and contents of the files of a folder (not of its subfolders)."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        total.update(f"{path.name}\0{digest_file(path)}\n".encode())
    return total.hexdigest()


def write_atomic(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that its final name never shows half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


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


class Store:
    """Folders of results under one root."""

    def __init__(self, root: Path) -> None:
        """Use `root`, made when it is not there yet."""
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, key: str) -> Path | None:
        """Return the result's folder when it is there."""
        folder = self._folder(name, key)
        return folder if folder.is_dir() else None

    def put(self, name: str, key: str, make: t.Callable[[Path], None]) -> Path:
        """Return the result's folder; where it is missing, let `make` fill an empty one first."""
        folder = self._folder(name, key)
        with locked(self.root / f".{folder.name}.lock", RESULT_SECONDS):
            if folder.is_dir():
                return folder
            part = self.root / f".{folder.name}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            for path in part.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    with path.open("rb") as stream:
                        os.fsync(stream.fileno())
            part.rename(folder)
        return folder

    def drop(self, name: str, key: str) -> None:
        """Forget a result, to have it made again."""
        shutil.rmtree(self._folder(name, key), ignore_errors=True)

    def _folder(self, name: str, key: str) -> Path:
        return self.root / f"{name}-{key[:16]}"
