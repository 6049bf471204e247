"""Pick a host's entries out of the bundle's manifest, and hand them to the module of this name.

The manifest is read here, on the control machine, and not in a template: Jinja takes a tenth of a second for it, for
every host and every task.
"""

from __future__ import annotations

import functools
import json
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

Entry = dict[str, t.Any]


@functools.cache
def manifest_of(path: str) -> list[Entry]:
    """Return the entries of a manifest."""
    try:
        return t.cast("list[Entry]", json.loads(Path(path).read_text())["files"])
    except FileNotFoundError as error:
        raise AnsibleActionFail(f"there is no bundle at {path}: run site.yml, which makes it") from error


def select(entries: list[Entry], kinds: list[str], purpose: str, distribution: str) -> list[Entry]:
    """Return the entries of these kinds that are for this purpose; of packages, those of the distribution."""
    return [
        entry
        for entry in entries
        if entry["kind"] in kinds
        and purpose in entry["purpose"]
        and entry.get("distribution", distribution) == distribution
    ]


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the control machine before the module does on the host."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Replace the choice by what was chosen."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        args = dict(self._task.args)
        entries = manifest_of(str(Path(args.pop("manifest")).expanduser()))
        chosen = select(entries, args.pop("kinds"), args.pop("purpose"), args.pop("distribution", ""))
        if not chosen:
            return result | {"changed": False, "changes": [], "paths": [], "programs": {}, "chosen": 0, "bytes": 0}
        args["files"] = chosen
        result |= self._execute_module(module_args=args, task_vars=task_vars)
        result["programs"] = {entry["name"]: entry["path"] for entry in chosen if "path" in entry}
        result["chosen"] = len(chosen)
        result.pop("invocation", None)
        return result
