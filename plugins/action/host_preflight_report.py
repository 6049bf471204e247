# SPDX-License-Identifier: Apache-2.0
"""Tell the faults of all hosts at once, on the control machine and without a module's cost.

An action, for two reasons: faults that show only between hosts (two with one machine-id) need what
was found on all of them, and the failure has to carry every fault as data, which `fail` cannot.
"""

from __future__ import annotations

import collections
import runpy
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.result import PREFLIGHT, Fault, Report

REMEDIES = {
    "hostname": "set a different one on each with hostnamectl set-hostname",
    "machine_id": "empty /etc/machine-id and run systemd-machine-id-setup on all but one, then reboot them",
    "product_uuid": "give each virtual machine its own UUID",
}
NAMES = {"hostname": "hostname", "machine_id": "machine-id", "product_uuid": "product_uuid"}


def shared_identities(reports: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[Fault]:
    """Return a fault for each host that has a name or an id in common with another."""
    faults = []
    for check, name in NAMES.items():
        holders = collections.defaultdict(list)
        for host, report in reports.items():
            if report.get(check):
                holders[report[check]].append(host)
        for value, hosts in holders.items():
            for host in hosts if len(hosts) > 1 else ():
                others = ", ".join(other for other in hosts if other != host)
                message = f"has {name} {value}, as has {others}"
                faults.append(Fault(check, message, REMEDIES[check], host))
    return faults


def all_faults(
    reports: t.Mapping[str, t.Mapping[str, t.Any]],
    ignores: t.Container[str] = (),
    facts: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
) -> list[Fault]:
    """Return what each host has found on itself or why it could not, and what shows between them, host by host."""
    found = [*(facts or {}).items(), *reports.items()]
    faults = [fault.on(host) for host, report in found for fault in Report.of(report).faults]
    faults += [fault for fault in shared_identities(reports) if fault.check not in ignores]
    order = [*reports, *(facts or {})]
    return sorted(faults, key=lambda fault: order.index(fault.host))


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """`host_preflight_report`: fails when any host has a fault."""

    _requires_connection = False

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Judge the reports given by the inventory names of their hosts."""
        super().run(tmp, task_vars)

        spec = {
            "reports": {"type": "dict", "required": True},
            "facts": {"type": "dict", "default": {}},
            "ignores": {"type": "list", "default": []},
        }
        _, arguments = self.validate_argument_spec(spec)
        faults = all_faults(arguments["reports"], arguments["ignores"], arguments["facts"])
        if not faults:
            return {"changed": False}
        return {"failed": True, **Report(tuple(faults), PREFLIGHT).as_failure()}
