# SPDX-License-Identifier: Apache-2.0
"""The processes of this machine, and waiting for what they do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from checkout import PATIENCE


def processes_with(text: str) -> list[str]:
    """Return the command lines that hold the text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
        if text in line:
            found.append(line)
    return found


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something has come to pass."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
