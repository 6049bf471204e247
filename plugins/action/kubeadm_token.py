# SPDX-License-Identifier: Apache-2.0
"""Run the module of this name on the control plane host, and let no host pay for it when that one gives nothing.

A task that is delegated to an unreachable host takes the host that delegates out of the play, and without its `always`;
with `run_once`, a failure or even an ignored one ends the play for every host. So here both are told as data: no
tokens, and `msg`, which says why. Whoever has no token then fails by itself.

The task is hidden (no_log), so `msg` is all that a person sees: it names the reason also where the module crashed, was
killed or never began, without what is hidden.
"""

from __future__ import annotations

import runpy
import typing as t
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.kube.kubeadm import without_secrets


def reason_of(result: t.Mapping[str, t.Any]) -> str:
    """Say why the module gave nothing: its words, those of its exception, or how it ended and what was said then."""
    event = getattr(result.get("exception"), "event", None)
    said = str(result.get("msg") or getattr(event, "msg", "") or "the module gave no reason")
    # Its output may hold tokens in any form, and is left alone; what sudo or a shell said is on the other stream.
    last = str(result.get("module_stderr") or "").strip().splitlines()[-1:]
    code = [f"exit code {result['rc']}"] if result.get("rc") else []
    more = [text for text in [*code, *last] if text not in said]
    return without_secrets(f"{said} ({'; '.join(more)})" if more else said)


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """`kubeadm_token`: its tokens, or why there are none."""

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        try:
            result |= self._execute_module(task_vars=task_vars)
        except AnsibleError as error:  # unreachable, or sudo refuses
            result |= {"failed": True, "msg": str(error)}
        if not result.get("failed"):
            return result
        reason = reason_of(result)
        if self._task.args.get("state") != "absent":
            return {"changed": False, "tokens": {}, "msg": reason}
        hosts = ", ".join(self._task.args["hosts"])
        return {"changed": False, "warnings": [f"the tokens of {hosts} stay valid until they expire: {reason}"]}
