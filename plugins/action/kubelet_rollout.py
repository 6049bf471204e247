# SPDX-License-Identifier: Apache-2.0
"""Run the module of this name, and let a configuration that a kubelet does not take go no further.

The task has a `throttle` of 1, so its hosts come one after the other, each in a process of its own. `serial` would end
the play at the first host that is down.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible import constants
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """`kubelet_rollout`, unless it failed on a host before."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module, or say why this host keeps its configuration."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        failed = Path(constants.DEFAULT_LOCAL_TMP, "kubelet_rollout")  # the run's own folder, shared by its processes
        if failed.exists():
            reason = f"not tried: {failed.read_text()} failed with the same configuration"
            return result | {"failed": True, "msg": reason, "remedy": "correct that, then run the same command again"}
        result |= self._execute_module(task_vars=task_vars)
        if result.get("failed"):
            failed.write_text(str((task_vars or {})["inventory_hostname"]))
        return result
