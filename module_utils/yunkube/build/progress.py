# SPDX-License-Identifier: Apache-2.0
"""How far the making of a bundle is, in a file that the wrapper shows while a task runs."""

from __future__ import annotations

import json
import os
import threading
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.build.forecast import Forecast
from ansible.module_utils.yunkube.build.meter import Meter
from ansible.module_utils.yunkube.host.atomic_file import write_atomic


class Progress:
    """Tell a reader of `path` what is being built; the file is gone when nothing is."""

    def __init__(self, path: Path, total: int, verb: str = "build") -> None:
        """Start counting steps up to `total`."""
        self.path, self.verb = path, verb
        self.total = total
        self.done = 0
        self.times: dict[str, float] = {}
        self.meter: Meter | None = None  # while something is downloaded
        self.forecast = Forecast()
        self._running: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def step(self, what: str, work: t.Callable[[], Path], verb: str = "") -> Path:
        """Do `work`, told under the name `what`."""
        started, running = time.time(), (verb or self.verb, what)
        with self._lock:
            self._running[running] = started
            self._write()
        try:
            return work()
        finally:
            with self._lock:
                del self._running[running]
                self.done += 1
                self.times[what] = round(time.time() - started, 1)
                self.forecast.end(what, time.time() - started)
                self._write()

    def compiled(self, what: str, share: float) -> None:
        """Tell how much of a step is done, from 0 to 1."""
        with self._lock:
            self.forecast.note(what, share)
            self._write()

    def close(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def tell(self) -> None:
        """Tell how far a download is."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        now = time.time()
        verbs = dict.fromkeys(verb for verb, _ in self._running) or {self.verb: None}
        names = {verb: ", ".join(what for one, what in self._running if one == verb) or "bundle" for verb in verbs}
        since = min(self._running.values(), default=now)
        what = "; ".join(f"{verb} {said}" for verb, said in names.items())
        state: dict[str, t.Any] = {"what": what, "done": self.done, "total": self.total}
        state |= (self.meter.state() if self.meter else {}) | self.forecast.state()
        write_atomic(self.path, json.dumps(state | {"started": since, "updated": now, "pid": os.getpid()}))
