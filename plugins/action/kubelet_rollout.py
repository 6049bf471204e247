# SPDX-License-Identifier: Apache-2.0
"""Run the module of this name, and let a configuration that a kubelet does not take go no further."""

from __future__ import annotations

import runpy
import typing as t
from pathlib import Path

from ansible import constants
from ansible.plugins.action import ActionBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control.turns import failed_before, note_failure

NAME = Path(__file__).stem


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """`kubelet_rollout`, unless it failed on a host before."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module, or say why this host keeps its configuration."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        if host := failed_before(constants.DEFAULT_LOCAL_TMP, NAME):
            reason = f"not tried: {host} failed with the same configuration"
            return result | {"failed": True, "msg": reason, "remedy": "correct that, then run the same command again"}
        result |= self._execute_module(task_vars=task_vars)
        if result.get("failed"):
            note_failure(constants.DEFAULT_LOCAL_TMP, NAME, str((task_vars or {})["inventory_hostname"]))
        return result
