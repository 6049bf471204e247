# SPDX-License-Identifier: Apache-2.0
"""Hosts that change one after the other: where one failed, the others are not tried.

A task with a `throttle` of 1 runs on its hosts one after the other, each in a process of its own, which have a folder
of the run in common. `serial` would end the play at the first host that is down.
"""

from __future__ import annotations

from pathlib import Path


def failed_before(folder: str, action: str) -> str:
    """Return the host on which an action has failed in this run; empty where it has not."""
    noted = Path(folder, action)
    return noted.read_text() if noted.exists() else ""


def note_failure(folder: str, action: str, host: str) -> None:
    """Note that an action has failed on a host."""
    Path(folder, action).write_text(host)
