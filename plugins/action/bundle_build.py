# SPDX-License-Identifier: Apache-2.0
"""Let the module of this name know the run that it works for, and the hosts that will fetch, with their processors."""

from __future__ import annotations

import os
import typing as t

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs in a worker, whose parent is ansible-playbook itself: it lives until the last play has ended."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Add the process of the run and the hosts' addresses to what was given."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        known = task_vars or {}
        names = [name for group in ("masters", "nodes") for name in known["groups"].get(group, [])]
        about = {name: known["hostvars"][name] for name in names}
        hosts = [str(variables.get("ansible_host") or name) for name, variables in about.items()]
        args = dict(self._task.args) | {"run": os.getppid(), "hosts": hosts}
        # Only what the inventory sets is seen here; the default is that of the role cluster.
        if architectures := {str(variables.get("cluster_architecture") or "amd64") for variables in about.values()}:
            args["architectures"] = sorted(architectures)
        result |= self._execute_module(module_args=args, task_vars=task_vars)
        result.pop("invocation", None)
        return result
