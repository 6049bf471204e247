# SPDX-License-Identifier: Apache-2.0
"""Read the manifests that services name by path, and hand their content to the module of this name."""

from __future__ import annotations

import json
import re
import runpy
import typing as t
from dataclasses import replace
from pathlib import Path

from ansible.plugins.action import ActionBase

runpy.run_path(str(Path(__file__).resolve().parents[1] / "rooms.py"))

from ansible.module_utils.yunkube.control.web_manifests import locate, read
from ansible.module_utils.yunkube.result import CONFIG, Fault, Report

Origins = dict[tuple[str, str, str], Path]  # (service, kind, name) -> file
# How the module names an object, kind namespace/name, where it says what is wrong with it.
OBJECT = re.compile(r"(?P<kind>\w+) (?:[^\s/:]+/)?(?P<name>[^\s/:]+): ")


def resolve(services: list[dict[str, t.Any]], base: Path) -> tuple[list[dict[str, t.Any]], list[Fault], Origins]:
    """Return the services with the content of their files, what is wrong, and the file of each object."""
    resolved, faults, origins = [], [], {}
    for service in services:
        paths = service.get("manifests") or []
        rest = {key: value for key, value in service.items() if key != "manifests"}
        content: list[t.Any] = []
        where = f"{service.get('namespace', 'default')}/{service.get('name')}"
        for path in (locate(base, str(path)) for path in paths):
            documents, broken = read(path)
            content += documents
            for one in documents if not broken else ():
                origins[where, str(one.get("kind")), str((one.get("metadata") or {}).get("name"))] = path
            for line, message, remedy in broken:
                place = f"{path}:{line}" if line else str(path)
                faults.append(Fault("manifests", f"{place}: {message}", remedy, where))
        resolved.append({**rest, "resources": content} if paths else rest)
    return resolved, faults, origins


def with_file(fault: Fault, origins: Origins) -> Fault:
    """Put the file of an object in front of what the module says of it."""
    found = OBJECT.match(fault.message)
    path = origins.get((fault.host, found["kind"], found["name"])) if found else None
    return replace(fault, message=f"{path}: {fault.message}") if path else fault


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Runs on the control machine before the module does on the control plane host."""

    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Read, then let the module do it."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        # What came out of templates carries marks of where it came from; plain values are wanted.
        args = json.loads(json.dumps(self._task.args))

        services, faults, origins = resolve(args.pop("services"), Path((task_vars or {}).get("inventory_dir") or "."))
        if faults:
            return result | {"failed": True} | Report(tuple(faults), CONFIG).as_failure()
        result |= self._execute_module(module_args=args | {"services": services}, task_vars=task_vars)
        if faults := [with_file(fault, origins) for fault in Report.of(result).faults]:
            result |= Report(tuple(faults)).as_result()
        result.pop("invocation", None)
        return result
