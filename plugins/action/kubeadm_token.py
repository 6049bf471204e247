# SPDX-License-Identifier: Apache-2.0
"""Run the module of this name on the control plane host, and let no host pay for it when that one gives nothing.

A task that is delegated to an unreachable host takes the host that delegates out of the play, and without its `always`;
with `run_once`, a failure or even an ignored one ends the play for every host. So here both are told as data: no
tokens, and `msg`, which says why. Whoever has no token then fails by itself.
"""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """`kubeadm_token`: its tokens, or why there are none."""

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        try:
            result |= self._execute_module(task_vars=task_vars)
        except AnsibleConnectionFailure as error:
            result |= {"failed": True, "msg": str(error)}
        if not result.get("failed"):
            return result
        reason = str(result.get("msg") or "it gave no reason")
        if self._task.args.get("state") != "absent":
            return {"changed": False, "tokens": {}, "msg": reason}
        hosts = ", ".join(self._task.args["hosts"])
        return {"changed": False, "warnings": [f"the tokens of {hosts} stay valid until they expire: {reason}"]}
