# SPDX-License-Identifier: Apache-2.0
"""What a user can act on, and the exit codes that say what kind it was."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of deploy.py, a promise to scripts that call it."""

    OK = 0
    BUG = 1
    USAGE = 2
    FAILED = 3
    UNREACHABLE = 4
    CHANGES = 5
    UNHEALTHY = 6
    TIMEOUT = 124
    INTERRUPTED = 130


class DeployError(Exception):
    """One line that says what is wrong, and one that says what to do; everything else keeps its traceback."""

    def __init__(self, message: str, hint: str = "", code: Exit = Exit.USAGE) -> None:
        """Keep the message, the remedy and the exit code apart."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
