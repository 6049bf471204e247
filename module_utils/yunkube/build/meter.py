# SPDX-License-Identifier: Apache-2.0
"""Count what is downloaded, for whoever shows it."""

from __future__ import annotations

import threading
import time
import typing as t

RECENT = 10.0  # seconds that the rate is an average of


class Meter:
    """Counts bytes of files that come at once."""

    def __init__(self, tell: t.Callable[[], None] = lambda: None) -> None:
        """Call `tell` when there is something new to show, twice a second at most."""
        self.received = 0
        self._sizes: dict[str, int | None] = {}
        self._samples: list[tuple[float, int]] = []
        self.tell, self._told = tell, 0.0
        self._lock = threading.Lock()

    def expect(self, name: str, size: int | None = None) -> None:
        """Note a file that is to come, and its size in bytes when that is known."""
        with self._lock:
            self._sizes[name] = size if size is not None else self._sizes.get(name)

    def had(self, count: int) -> None:
        """Note bytes that need not come, because they are there; negative, if they were thrown away."""
        with self._lock:
            self.received += count

    def came(self, count: int) -> None:
        """Note bytes that have come."""
        now = time.monotonic()
        with self._lock:
            self.received += count
            if self._samples and now - self._samples[-1][0] < 0.2:
                self._samples[-1] = (self._samples[-1][0], self._samples[-1][1] + count)
            else:
                self._samples = [one for one in self._samples if now - one[0] < RECENT] + [(now, count)]
            due = now - self._told >= 0.5
            self._told = now if due else self._told
        if due:
            self.tell()

    def state(self) -> dict[str, t.Any]:
        """Return bytes received, bytes in all (0 if not known yet), bytes a second, and seconds left (or None)."""
        with self._lock:
            known = [size for size in self._sizes.values() if size is not None]
            size = sum(known) if len(known) == len(self._sizes) else 0
            now = time.monotonic()
            recent = [one for one in self._samples if now - one[0] < RECENT]
            span = now - recent[0][0] if recent else 0.0
            rate = int(sum(count for _, count in recent) / span) if span > 0.5 else 0
            left = round(max(0, size - self.received) / rate, 1) if size and rate else None
            return {"received": self.received, "size": size, "rate": rate, "left": left}
