# SPDX-License-Identifier: Apache-2.0
"""Hosts that change one after the other: where one failed, the others are not tried.

A task with a `throttle` of 1 runs on its hosts one after the other, each in a process of its own, which have a folder
of the run in common. `serial` would end the play at the first host that is down.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible import constants


def failed_before(folder: str, action: str) -> str:
    """Return the host on which an action has failed in this run; empty where it has not."""
    noted = Path(folder, action)
    return noted.read_text() if noted.exists() else ""


def note_failure(folder: str, action: str, host: str) -> None:
    """Note that an action has failed on a host."""
    Path(folder, action).write_text(host)


def in_turn(action: str, host: str, kept: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run a module on a host, unless it failed on another one before; `kept` says what is then as it was."""
    if other := failed_before(constants.DEFAULT_LOCAL_TMP, action):
        reason = f"not tried, because {other} failed: {kept} as before"
        return {
            "failed": True,
            "msg": reason,
            "remedy": f"correct what {other} reports, then run the same command again",
        }
    failed = True  # also where the connection is lost: the module may still be at work there
    try:
        result = run()
        failed = bool(result.get("failed"))
    finally:
        if failed:
            note_failure(constants.DEFAULT_LOCAL_TMP, action, host)
    return result
