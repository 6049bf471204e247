# SPDX-License-Identifier: Apache-2.0
"""Pick a host's entries out of the bundle's manifest, hand them to the module of this name, and compare the values of
the running cluster that it found with those that are declared.
"""

from __future__ import annotations

import json
import runpy
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control import first_run, kubelet_settings
from ansible.module_utils.yunkube.control.bundle_manifest import ManifestError, take_choice
from ansible.module_utils.yunkube.kube import node_marks


def unlisted(hosts: t.Collection[str], nodes: t.Iterable[str]) -> list[str]:
    """Return a line for each node that the inventory does not name."""
    known = {host.lower() for host in hosts}
    left = "is a node of the cluster and not in the inventory: put its line back, then run `remove"
    return [f"{node} {left} {node}`" for node in nodes if node not in known]


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the control machine before the module does on the host."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Replace the choice by what was chosen; packages count only where the bundle has none."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)

        args = dict(self._task.args)
        declared = args.pop("declared")
        try:
            args["files"] = take_choice(args, args.pop("distribution"))
        except ManifestError as error:
            raise AnsibleActionFail(str(error)) from error
        if any(entry["kind"] == "package" for entry in args["files"]):
            args["packages"] = []
        args["node"] = declared["node"]
        args["nodes"] = bool(declared["nodes"])
        result |= self._execute_module(module_args=args, task_vars=task_vars)
        result.pop("invocation", None)
        return result if result.get("failed") else result | self._compared(declared, result)

    def _compared(self, declared: dict[str, t.Any], result: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the conclusions in place of the texts; a kubelet that differs is drift of its host."""
        running, wanted = result["running"], json.loads(json.dumps(declared))  # without Ansible's marks
        found: dict[str, t.Any] = {"state": running["state"]}
        marks = wanted["marks"]
        if running["state"] == "silent":
            return {"running": found, "host": result["drift"]}
        node = running.get("node")
        differs = node_marks.change(node, **marks) if node else node_marks.joining(**marks)
        marked = {"marks": marks} if differs.words else {}
        if running["state"] == "absent":
            return {"running": found, "host": result["drift"], **marked}
        found["first_run"] = [list(difference) for difference in first_run.differences(wanted, running)]
        found["kubelet"] = kubelet_settings.host_changes(wanted["kubelet"], running, wanted["patches"])
        change = kubelet_settings.cluster_change(wanted["kubelet"], running)
        if change.text:
            found["kubelet_cluster"] = {
                "text": change.text,
                "declared": change.declared,
                "former": running["kubelet"],
                "fields": list(change.changes),
            }
        notices = unlisted(wanted["nodes"], running["nodes"])
        words = [f"restart kubelet with {', '.join(found['kubelet'])}"] if found["kubelet"] else []
        words += differs.words if node else []
        drift = result["drift"] + words
        return {"running": found, "drift": drift, "host": result["drift"], "notices": notices, **marked}
