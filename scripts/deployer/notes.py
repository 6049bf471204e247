# SPDX-License-Identifier: Apache-2.0
"""Add to ansible-runner's events what they leave out and our callback plugin `run_notes` has noted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

# The plugin writes a moment after the event; longer than this, it has met a full disk.
PATIENCE = 2.0
PAUSE = 0.005


class Notes:
    """Reads the plugin's file as it grows."""

    def __init__(self, path: Path) -> None:
        """Read from `path`, which may never come to be."""
        self.path = path

    def add_to(self, event: dict[str, Any]) -> None:
        """Add the delegate to a host that is unreachable, and all notes to the closing stats."""
        data = event.get("event_data") or {}
        match event.get("event"):
            case "runner_on_unreachable":
                data["delegate"] = self._delegate(str(data.get("host")), str(data.get("task_uuid")))
            case "playbook_on_stats":
                data["notes"] = self._read()

    def _delegate(self, host: str, task: str) -> str:
        """Return who it was that could not be reached."""
        deadline = time.monotonic() + PATIENCE
        while self.path.exists() and time.monotonic() < deadline:
            for note in self._read():
                if note.get("unreachable") == host and task.startswith(note["task"]):
                    return str(note["delegate"])
            time.sleep(PAUSE)
        return host

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")[:-1]  # what follows is not whole yet
        return [json.loads(line) for line in lines]
