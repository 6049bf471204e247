# SPDX-License-Identifier: Apache-2.0
"""One JSON object a line, for programs. docs/events.md is its schema."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TextIO

from deployer.happenings import Happening
from deployer.views import ReadBundle


class JsonView:
    """Writes every happening as a line."""

    shows_stages = False

    def __init__(self, out: TextIO, read_bundle: ReadBundle) -> None:
        """Write to `out`."""
        self._out = out
        self._read_bundle = read_bundle
        self._began = time.monotonic()
        self._bundle: tuple[str, int, int, int] = ("", 0, 0, 0)

    def show(self, happening: Happening) -> None:
        """Write it."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        elapsed = round(time.monotonic() - self._began, 3)
        line = {"type": type_name(type(happening)), "time": now, "elapsed": elapsed, **asdict(happening)}
        print(json.dumps(line, ensure_ascii=False, default=str), file=self._out, flush=True)

    def tick(self, _running: tuple[str, ...]) -> None:
        """Show the progress of the bundle when it has moved on."""
        progress = self._read_bundle()
        if progress is not None and progress.mark != self._bundle:
            self._bundle = progress.mark
            self.show(progress)

    def close(self) -> None:
        """Nothing stays open."""


def type_name(kind: type) -> str:
    """Return `stage_started` of StageStarted."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
