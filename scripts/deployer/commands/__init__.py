# SPDX-License-Identifier: Apache-2.0
"""The verbs, a file for each, read when it is needed: a run of one verb reads no other.

What a verb needs to run is imported where it runs, since --help reads all of these files.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Generic, TypeVar

from deployer.commands.base import Command, Direct, Group, Play

# In the order in which --help lists them.
NAMES = (
    "up", "plan", "verify", "status", "doctor", "support-bundle", "add", "remove", "replace",
    "backup", "rehearse", "restore",
    "upgrade", "certs", "certs renew",
    "cloud", "cloud up", "cloud plan", "cloud status", "cloud down", "web", "web apply", "web rollback",
    "bundle", "bundle build", "bundle list", "bundle verify", "bundle export", "bundle import",
    "bundle prune", "bundle serve", "bundle sbom",
    "reattach", "down", "dashboard", "versions", "image", "import", "kubectl", "completion",
)  # fmt: skip

Kind = TypeVar("Kind", bound=Command | Group)


def file_of(name: str) -> str:
    """Return the file of a verb: `web_apply` of `web apply`."""
    file = name.replace(" ", "_").replace("-", "_")
    return f"{file}_" if keyword.iskeyword(file) else file


class Declared(Mapping[str, Kind], Generic[Kind]):
    """What the files of a kind declare, by name."""

    def __init__(self, kind: type[Kind]) -> None:
        """Take no others."""
        self._kind = kind

    def __getitem__(self, name: str) -> Kind:
        """Return what a file declares."""
        if name in NAMES:
            found = import_module(f"{__name__}.{file_of(name)}").COMMAND
            if isinstance(found, self._kind):
                return found
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        """Read all files."""
        return (name for name in NAMES if name in self)

    def __len__(self) -> int:
        """Read all files."""
        return sum(1 for _ in self)


COMMANDS = Declared(Command)
PLAYS = Declared(Play)
DIRECT = Declared(Direct)
GROUPS = Declared(Group)
