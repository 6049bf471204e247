# SPDX-License-Identifier: Apache-2.0
"""Refuse values that a running cluster cannot take, before anything is changed.

An action, as the comparison needs a YAML parser and the inventory's files, which are on the control machine. What the
hosts of the play reported is enough in most runs; otherwise the task's host is asked.
"""

from __future__ import annotations

import json
import runpy
import typing as t
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control import first_run
from ansible.module_utils.yunkube.control.first_run import Difference, in_words
from ansible.module_utils.yunkube.control.inventory_files import read
from ansible.module_utils.yunkube.control.spec_check import failure, in_order, place
from ansible.module_utils.yunkube.result import Fault

PROJECT = Path(__file__).resolve().parents[2]


def verdict(reports: t.Mapping[str, t.Mapping[str, t.Any]], host: str) -> tuple[bool, list[t.Any]]:
    """Return whether the reports say enough, and what differs; they do when `host` is new or any host could ask."""
    running = {name: report.get("running") or {} for name, report in reports.items()}
    found = [report["first_run"] for report in running.values() if report.get("state") == "found"]
    differences = {difference[0]: difference for report in found for difference in report}
    return bool(found) or running.get(host, {}).get("state") == "absent", list(differences.values())


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """`first_run_report`: fails when a key that is decided at the first run differs from the running cluster."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Compare; `known` tells whether anything could be compared."""
        super().run(tmp, task_vars)
        spec = {
            "declared": {"type": "dict", "required": True},
            "reports": {"type": "dict", "default": {}},
            "host": {"type": "str", "required": True},
            "upgrades": {"type": "bool", "default": False},
        }
        _, arguments = self.validate_argument_spec(spec)
        arguments = json.loads(json.dumps(arguments))  # without Ansible's marks
        known, differences = verdict(arguments["reports"], arguments["host"])
        if not known and not arguments["reports"].get(arguments["host"]):
            known, differences = self._asked(arguments["declared"], task_vars)
        if arguments["upgrades"]:  # judged by upgrade_plan
            differences = [difference for difference in differences if difference[0] != first_run.RELEASE]
        if not differences:
            return {"changed": False, "known": known}
        return self._failure(differences, (task_vars or {}).get("ansible_inventory_sources") or [])

    def _asked(self, declared: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> tuple[bool, list[t.Any]]:
        try:
            result = self._execute_module(module_name="cluster_values", module_args={}, task_vars=task_vars)
        except AnsibleConnectionFailure:
            return False, []  # what needs this host fails with a reason of its own
        running = result.get("running") or {"state": "silent"}
        if running["state"] != "found":
            return running["state"] == "absent", []
        return True, [list(difference) for difference in first_run.differences(declared, running)]

    def _failure(self, differences: list[t.Any], sources: list[str]) -> dict[str, t.Any]:
        inventory = read([path for source in sources if (path := Path(source).resolve()).exists()])
        inventory.extra = load_extra_vars(self._loader)
        faults = []
        for key, ours, theirs in differences:
            file, line = place(key.partition(".")[0], inventory, PROJECT)
            message, remedy, commands = in_words(Difference(key, ours, theirs))
            faults.append(Fault(key, message, remedy, file=file, line=line, commands=commands))
        return {"failed": True, "changed": False, **failure(in_order(faults))}
