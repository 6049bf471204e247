# SPDX-License-Identifier: Apache-2.0
"""Run the module of this name, and leave a master as it is when the renewal on another one failed or was lost."""

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
    """`kubeadm_certs`, unless it failed on a host before."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module, or say why this host keeps its certificates; a check is made on every host."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        if self._task.args.get("state") == "checked":
            result |= self._execute_module(task_vars=task_vars)
            return result
        if host := failed_before(constants.DEFAULT_LOCAL_TMP, NAME):
            reason = f"not tried, because {host} failed: its certificates are as they were"
            remedy = f"correct what {host} reports, then run the same command again"
            return result | {"failed": True, "msg": reason, "remedy": remedy}
        failed = True  # also where the connection is lost: the module may still be at work there
        try:
            result |= self._execute_module(task_vars=task_vars)
            failed = bool(result.get("failed"))
        finally:
            if failed:
                note_failure(constants.DEFAULT_LOCAL_TMP, NAME, str((task_vars or {})["inventory_hostname"]))
        return result
