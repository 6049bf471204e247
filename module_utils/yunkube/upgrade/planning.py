# SPDX-License-Identifier: Apache-2.0
"""The plan of an upgrade, asked of the API on the control plane host."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.kube.api import NO_MASTER, KubeApi, KubeError
from ansible.module_utils.yunkube.result import PREFLIGHT, Report
from ansible.module_utils.yunkube.upgrade import plan

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

OPTIONS: dict[str, dict[str, t.Any]] = {
    "version": {"type": "str", "required": True},
    "first": {"type": "str", "required": True},
    "masters": {"type": "list", "elements": "str", "required": True},
    "nodes": {"type": "list", "elements": "str", "default": []},
    "drift": {"type": "dict", "default": {}},
    "releases": {"type": "list", "elements": "str", "default": []},
    "batch": {"type": "str", "default": "1"},
    "force": {"type": "bool", "default": False},
    "delete_emptydir_data": {"type": "bool", "default": False},
    "allow_removed_apis": {"type": "bool", "default": False},
}


def plan_upgrade(module: AnsibleModule) -> t.NoReturn:
    """End the module with the plan, or with all the faults that keep it from being carried out."""
    params = module.params
    options = plan.Options(
        params["version"],
        params["first"],
        tuple(params["masters"]),
        tuple(dict.fromkeys([*params["masters"], *params["nodes"]])),
        params["drift"],
        tuple(params["releases"]),
        force=params["force"],
        data=params["delete_emptydir_data"],
    )
    try:
        with KubeApi.from_file() as api:
            seen = plan.see(api)
            found = plan.make(options, seen)
            faults = plan.faults(options, seen, found)
            if found.due and not params["allow_removed_apis"]:
                faults += plan.removed_faults(api, seen, options.version)
    except KubeError as error:
        if error.reason == NO_MASTER:
            module.fail_json(msg=str(error), remedy="`up` creates the cluster", commands=("up",))
        module.fail_json(msg=str(error), remedy="`doctor` says why, and what to do about it", commands=("doctor",))
    if faults:
        module.fail_json(**Report(tuple(faults), PREFLIGHT).as_failure())
    lines = plan.in_words(options, seen, found, params["batch"])
    module.exit_json(
        changed=False,
        masters=found.masters,
        hosts=found.hosts,
        lines=lines,
        notices=lines if params["drift"] else [],
        **{"from": seen.version},
    )
