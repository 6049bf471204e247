# SPDX-License-Identifier: Apache-2.0
"""How much of a build is done, and how long the rest will take, by what each of its steps costs."""

from __future__ import annotations

import time
import typing as t

# Processor seconds of each step in a build of 1.37.2 with an empty cache; only their proportion counts.
COSTS = {"kubernetes": 850.0, "flannel": 114.0, "containerd": 95.0, "etcd": 57.0, "coredns": 40.0, "runc": 24.0}
OTHERS = 6.0  # and of each step that is not named
# How fast a machine is shows from when it compiles: first it downloads, for a minute in which hardly anything is done.
LEAST_SHARE = 0.03  # is done until then, and once more before anything is said
LEAST_SECONDS = 20.0  # likewise
AT_ONCE = 0.5  # seconds: what takes less was made by a build before


class Forecast:
    """Knows the steps of a build; another thread may add to it while one reads."""

    def __init__(self, clock: t.Callable[[], float] = time.monotonic) -> None:
        """Measure time by `clock`, in seconds."""
        self._clock = clock
        self._costs: dict[str, float] = {}
        self._shares: dict[str, float] = {}
        self._began = (0.0, 0.0)  # when its speed began to count, and what was done then

    def expect(self, names: t.Iterable[str]) -> None:
        """Start with steps of these names."""
        self._costs = {name: COSTS.get(name, OTHERS) for name in names}
        self._shares, self._began = {}, (self._clock(), 0.0)

    def note(self, name: str, share: float) -> None:
        """Note how much of a step is done, from 0 to 1."""
        if name in self._costs:
            self._shares[name] = max(share, self._shares.get(name, 0.0))
            if not self._began[1] and self._done() >= LEAST_SHARE * sum(self._costs.values()):
                self._began = (self._clock(), self._done())

    def end(self, name: str, seconds: float) -> None:
        """Note that a step is done; one that took no time says nothing about how fast this machine is."""
        if seconds < AT_ONCE:
            self._costs.pop(name, None)
            self._shares.pop(name, None)
        else:
            self.note(name, 1.0)

    def state(self) -> dict[str, t.Any]:
        """Return the share that is done in percent, and the seconds left or None; nothing if no step is known."""
        whole, done = sum(dict(self._costs).values()), self._done()
        if not whole:
            return {}
        since, before = self._began
        seconds = self._clock() - since
        known = before and seconds >= LEAST_SECONDS and done - before >= LEAST_SHARE * whole
        left = round((whole - done) * seconds / (done - before)) if known else None
        return {"percent": int(100 * done / whole), "time_left": left}

    def _done(self) -> float:
        costs = dict(self._costs)
        return sum(costs[name] * share for name, share in dict(self._shares).items() if name in costs)
