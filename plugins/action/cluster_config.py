# SPDX-License-Identifier: Apache-2.0
"""Check the inventory in Ansible's own process: the module of this name would be a process more in every run."""

from __future__ import annotations

import json
import runpy
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control.spec_check import failure, judge


class ActionModule(ActionBase):  # type: ignore[misc]
    """Does what the module does."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Check, and fail with all faults or say nothing."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)

        # What came out of templates carries marks of where it came from; plain values are wanted.
        extra = load_extra_vars(self._loader)
        faults, warnings = judge(json.loads(json.dumps({**self._task.args, "extra": extra}, default=str)))
        if faults:
            return result | failure(faults) | {"failed": True}
        return result | {"changed": False, "warnings": list(warnings), "notices": list(warnings)}
