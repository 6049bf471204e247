# SPDX-License-Identifier: Apache-2.0
"""Run the module of this name, and leave a master as it is when the upgrade of another one failed or was lost."""

from __future__ import annotations

import runpy
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control.turns import in_turn

NAME = Path(__file__).stem


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """`kubeadm_upgrade`, unless it failed on a host before."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module, or say why this host keeps its release; a check is made on every host."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        if self._task.args.get("state") == "checked":
            result |= self._execute_module(task_vars=task_vars)
            return result
        host, kept = str((task_vars or {})["inventory_hostname"]), "its control plane is"
        return result | in_turn(NAME, host, kept, lambda: self._execute_module(task_vars=task_vars))
