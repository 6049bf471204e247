# SPDX-License-Identifier: Apache-2.0
"""What the verbs of bundles have in common: which are meant, and how they are shown."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.yunkube.build import cached_bundles
from ansible.module_utils.yunkube.build.cached_bundles import Bundle
from ansible.module_utils.yunkube.result import Fault
from ansible.module_utils.yunkube.words import closest, joined

from deployer.bundle import cache
from deployer.cluster import DEFAULT_STATE_DIR, NAME_REFERENCE, ROOT
from deployer.errors import DeployError, Exit
from deployer.inventory import cache_folder
from deployer.views.summary import Printer

BUILD = "./scripts/deploy.py bundle build"


def states() -> list[Path]:
    """Return the state directories of clusters: where they are by default, and where inventories that were read say."""
    found = set(Path(DEFAULT_STATE_DIR).parent.expanduser().glob("*"))
    for note in cache_folder().glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):  # of another version
            told = json.loads(note.read_text(encoding="utf-8"))["answer"]["variables"]
            if told["cluster_state_dir"]:
                written = NAME_REFERENCE.sub(str(told["cluster_name"]), str(told["cluster_state_dir"]))
                found.add(Path(written).expanduser().absolute())
    return sorted(found)


def known() -> list[Bundle]:
    """Return the bundles of this machine's cache."""
    return cached_bundles.bundles(cache(), states())


def chosen(names: Sequence[str]) -> list[Bundle]:
    """Return the bundles of these names, or all; refuse names that no bundle has."""
    here = {bundle.name: bundle for bundle in known()}
    if not here:
        raise DeployError(f"there is no bundle in {cache()}", f"make one: {BUILD}")
    if unknown := [name for name in names if name not in here]:
        near = closest(unknown[0], here)
        hint = f"did you mean {near}?" if near else f"there are: {', '.join(here)}"
        raise DeployError(f"{cache()} has no bundle {joined(unknown)}", hint)
    return [here[name] for name in dict.fromkeys(names)] if names else [*here.values()]


def size(number: float) -> str:
    """Return a number of bytes as one reads it: 713.4 MB."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def show(rows: Sequence[dict[str, Any]], title: str = "Bundle") -> None:
    """Print a table of bundles."""
    Printer(sys.stdout).table(title, [*rows])


def refuse(faults: Sequence[Fault], hint: str, code: Exit = Exit.USAGE) -> DeployError:
    """Return the error that lists these faults."""
    return DeployError("\n           ".join(map(str, faults)), hint, code)


def unreachable(found: Sequence[Bundle]) -> list[str]:
    """Say which bundles `up` of this checkout would not find."""
    from ansible.module_utils.yunkube.build.archive import lock_of  # noqa: PLC0415 - only what is used

    return [
        f"bundle {bundle.name}: no lock of this checkout leads to it, so `up` will not use it: "
        "use the checkout with which it was exported"
        for bundle in found
        if lock_of(bundle, ROOT) is None
    ]
