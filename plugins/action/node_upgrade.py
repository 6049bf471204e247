# SPDX-License-Identifier: Apache-2.0
"""Name the programs of the bundle that an upgrade may replace to the module of this name."""

from __future__ import annotations

import runpy
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control.bundle_manifest import ManifestError, take_choice


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Runs on the control machine before the module does on the host."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Replace the bundle by the entries of its programs."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        args = dict(self._task.args)
        if "manifest" in args:
            try:
                chosen = take_choice(args, "")
            except ManifestError as error:
                raise AnsibleActionFail(str(error)) from error
            args["files"] = [entry for entry in chosen if "path" in entry]
        result |= self._execute_module(module_args=args, task_vars=task_vars)
        return result
