# SPDX-License-Identifier: Apache-2.0
"""The bundle's manifest, read on the control machine.

Not in a template: Jinja takes a tenth of a second for it, for every host and every task.
"""

from __future__ import annotations

import functools
import json
import typing as t
from pathlib import Path

Entry = dict[str, t.Any]


class ManifestError(Exception):
    """The manifest does not have what is asked for; the message says what to do."""


@functools.cache
def read_manifest(path: str) -> list[Entry]:
    """Return the entries of a manifest."""
    try:
        return t.cast("list[Entry]", json.loads(Path(path).expanduser().read_text())["files"])
    except FileNotFoundError as error:
        raise ManifestError(f"there is no bundle at {path}; run `up` (site.yml) to build it") from error


def select(
    entries: list[Entry], purposes: t.Collection[str], distribution: str, kinds: t.Collection[str] | None = None
) -> list[Entry]:
    """Return the entries that serve one of these purposes, of these kinds; of packages, those of the distribution."""
    return [
        entry
        for entry in entries
        if (kinds is None or entry["kind"] in kinds)
        and not set(purposes).isdisjoint(entry["purpose"])
        and entry.get("distribution", distribution) == distribution
    ]


def take_choice(args: dict[str, t.Any], distribution: str, kinds: t.Collection[str] | None = None) -> list[Entry]:
    """Take C(manifest) and C(purposes) out of an action's arguments, and return the entries that they choose."""
    return select(read_manifest(str(args.pop("manifest"))), args.pop("purposes"), distribution, kinds)


def entry_of(entries: list[Entry], kind: str, name: str) -> Entry:
    """Return the one entry of a kind and a name; an image's name without its registry."""
    for entry in entries:
        if entry["kind"] == kind and entry["name"].rpartition("/")[2] == name:
            return entry
    raise ManifestError(f"the bundle has no {kind} {name}")
