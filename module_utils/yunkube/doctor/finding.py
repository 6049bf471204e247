# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of a cause, on its way to the user and to the repair."""

from __future__ import annotations

import dataclasses
import typing as t

Json = dict[str, t.Any]


@dataclasses.dataclass
class Finding:
    """A cause with what follows from it."""

    id: str
    title: str
    severity: str
    host: str
    target: str
    evidence: list[str]
    chain: list[str]  # what follows from it, in words
    implied: list[str]  # the ids of these
    remedy: str
    command: str  # what to type to have it repaired; empty where nothing is
    page: str
    safe: bool
    repair: Json

    @property
    def key(self) -> str:
        """Return what tells it from others."""
        return " ".join(part for part in (self.id, self.host, self.target) if part)
