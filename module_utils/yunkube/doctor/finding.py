# SPDX-License-Identifier: Apache-2.0
"""A cause that the doctor found, as data for the user and for its repair."""

from __future__ import annotations

import dataclasses
import typing as t

Json = dict[str, t.Any]


@dataclasses.dataclass
class Finding:
    """A cause with its consequences."""

    id: str
    title: str
    severity: str
    host: str
    target: str
    evidence: list[str]
    chain: list[str]  # its consequences, in words
    implied: list[str]  # the ids of these
    remedy: str
    command: str  # what to type to have it repaired; empty where nothing is
    page: str
    safe: bool
    repair: Json

    @property
    def key(self) -> str:
        """Return what distinguishes it from other findings."""
        return " ".join(part for part in (self.id, self.host, self.target) if part)
