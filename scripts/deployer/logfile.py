# SPDX-License-Identifier: Apache-2.0
"""The full log of a run: all that Ansible printed, with times, without secrets."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

KEPT = 20
# Bytes after which the log of `status --watch` begins again: it runs for days.
LIMIT = 8 << 20


class LogFile:
    """Writes one run's log, 0600, and removes the oldest beyond KEPT."""

    def __init__(self, directory: Path, verb: str, now: datetime | None = None) -> None:
        """Open `<UTC timestamp>-<verb>.log`."""
        now = now or datetime.now(UTC)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = directory / f"{now:%Y%m%dT%H%M%S.%f}Z-{verb}.log"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1)
        self.problem = ""  # why not everything could be written: a full disk must not hide what happens
        for old in sorted(directory.glob("*Z-*.log"))[:-KEPT]:
            old.unlink(missing_ok=True)

    def event(self, event: dict[str, Any]) -> None:
        """Write what Ansible printed for an event, and how long a host took."""
        data = event.get("event_data") or {}
        clock = str(event.get("created", ""))[11:23]
        for line in str(event.get("stdout") or "").replace("\r", "").splitlines():
            self._write(f"{clock:12} {line}".rstrip() + "\n")
        if data.get("duration") is not None:
            took = f"{event['event']} {data.get('host', '')}: {data.get('task', '')}"
            self._write(f"{clock:12} -- {float(data['duration']):.2f}s {took}\n")

    def line(self, text: str) -> None:
        """Write a line of our own."""
        self._write(f"{datetime.now(UTC):%H:%M:%S.%f}"[:12] + f" {text}\n")

    def start_over(self, limit: int = LIMIT) -> None:
        """Empty the file where it is long, for a run that repeats what it does."""
        with contextlib.suppress(OSError):
            if os.fstat(self._file.fileno()).st_size <= limit:
                return
            self._file.seek(0)
            self._file.truncate()
        self.line(f"earlier output was removed: the log of a repeating run is kept below {limit} bytes")

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError as error:
            self.problem = f"some output could not be written to {self.path}: {error.strerror}"
