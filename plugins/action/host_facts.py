# SPDX-License-Identifier: Apache-2.0
"""Gather the facts that the roles read; a host without a Python that runs modules is a fault, told with all others.

An action, as a module does not start under such a Python, and what Ansible says of it names no version and no remedy.
"""

from __future__ import annotations

import runpy
import typing as t
from pathlib import Path

from ansible import constants
from ansible.plugins.action import ActionBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control import host_python
from ansible.module_utils.yunkube.result import Report


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """`host_facts`: the module's facts, and `faults`, which is empty where it could run."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module; ask the host's shell about its Python if that was not possible."""
        super().run(tmp, task_vars)
        host = (task_vars or {}).get("inventory_hostname")
        if self._task.check_mode and host in self._task.args.get("pending", ()):
            # Nobody tries to connect to it; as one that is unreachable, it takes no part in what follows.
            return {"changed": False, "unreachable": True, "msg": f"{host} has to be created or started first"}
        result: dict[str, t.Any] = self._execute_module(module_args=dict(self._task.args), task_vars=task_vars)
        if result.get("failed"):
            python = self._python(task_vars)
            answer = self._low_level_execute_command(host_python.question(python), sudoable=False)
            fault = host_python.fault(python, str(answer.get("stdout", "")))
            return {"changed": False, **Report((fault,)).as_result()} if fault else result
        result["ansible_facts"]["_ansible_facts_gathered"] = True  # plays that follow gather none
        return {**result, **Report().as_result()}

    def _python(self, task_vars: dict[str, t.Any] | None) -> str:
        """Return the interpreter that Ansible used."""
        named = constants.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars)
        known = ((task_vars or {}).get("ansible_facts") or {}).get("discovered_interpreter_python")
        named = str(self._templar.template(named))
        return str(self._discovered_interpreter or (known if known and named.startswith("auto") else named))
