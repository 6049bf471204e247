# SPDX-License-Identifier: Apache-2.0
"""A terminal on which a program asks, and somebody who answers."""

from __future__ import annotations

import os
import pty
from collections.abc import Mapping, Sequence
from pathlib import Path


def answered(argv: Sequence[str], prompt: str, answer: str, env: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Run a program on a terminal of its own, answer its one question; return its exit code and what it showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(argv[0], list(argv), dict(env))  # noqa: S606 - no shell is needed
    shown = b""
    try:
        while prompt.encode() not in shown:
            shown += os.read(terminal, 1024)
        os.write(terminal, f"{answer}\n".encode())
        while True:
            shown += os.read(terminal, 65536)
    except OSError:  # the terminal is closed at the other end
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(terminal)
    return code, shown.decode(errors="replace")
