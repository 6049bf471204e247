# SPDX-License-Identifier: Apache-2.0
"""Which cluster a host belongs to: its name and random id, compared before anything changes."""

from __future__ import annotations

import re
import socket
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.result import PREFLIGHT, Fault, Report

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

ID = re.compile(r"[0-9a-f]{16}")
CHECK = "other cluster"
REATTACH = "if this cluster's state directory was lost or moved, attach it again with `reattach`"


def named(cluster: str, cluster_id: str) -> str:
    """Return name and id as a message shows them."""
    return f"{cluster} (id {cluster_id})" if cluster_id else f"{cluster} (without an id)"


def same_inventory(kept: str, given: str) -> bool:
    """Say whether two paths are one inventory: the same, or a directory and a file in it."""
    return not kept or not given or kept == given or kept == str(Path(given).parent) or given == str(Path(kept).parent)


class Difference(t.NamedTuple):
    """What is wrong, what to do, and the commands that do it."""

    message: str
    remedy: str
    commands: tuple[str, ...] = ()


def difference(theirs: tuple[str, str], ours: tuple[str, str]) -> Difference | None:
    """Return what is wrong and what to do, when name and id of two clusters are not the same."""
    if theirs == ours and ours[1]:
        return None
    message = f"belongs to the cluster {named(*theirs)}, not to {named(*ours)}"
    if theirs[0] != ours[0]:
        remedy = f"correct its address in the inventory, or remove it first from {theirs[0]} (remove or down there)"
        return Difference(message, remedy)
    if not theirs[1]:
        remedy = "it was created before clusters had ids: if it is this cluster's, attach it with `reattach`"
    elif not ours[1]:
        remedy = f"use the inventory and the control machine that created it; {REATTACH}"
    else:
        remedy = f"give this cluster a cluster_name of its own, or correct the host's address; {REATTACH}"
    return Difference(message, remedy, commands=("reattach",))


def of_record(record: host_state.Json) -> tuple[str, str]:
    """Return name and id of the cluster in a host's record."""
    return str(record.get("cluster", "")), str(record.get("cluster_id", ""))


def owner(record: host_state.Json | None) -> dict[str, str]:
    """Return whose a record is; empty without one."""
    return dict(zip(("cluster", "cluster_id"), of_record(record))) if record else {}


def fault(record: host_state.Json, cluster: str, cluster_id: str) -> Fault | None:
    """Return why a host with this record is not the cluster's, if it is not."""
    found = difference(of_record(record), (cluster, cluster_id))
    return Fault(CHECK, found.message, found.remedy, commands=found.commands) if found else None


# For modules that act on a host of the cluster, or through its control plane; see refuse_another.
OPTIONS: dict[str, dict[str, t.Any]] = {
    "cluster": {"type": "str", "default": ""},
    "cluster_id": {"type": "str"},
}


def refuse_another(module: AnsibleModule) -> None:
    """End the module when this host is not of the cluster that the options name; without an id nothing is compared."""
    if module.params.get("cluster_id") is None:
        return
    record = host_state.read_record()
    if record is None:
        if module.check_mode:  # a plan on bare hosts
            return
        message = f"has no record of the cluster {named(module.params['cluster'], module.params['cluster_id'])}"
        remedy = "correct its address in the inventory, or create the cluster first: `up`"
        wrong: Fault | None = Fault(CHECK, message, remedy, commands=("up",))
    else:
        wrong = fault(record, module.params["cluster"], module.params["cluster_id"])
    if wrong:
        module.fail_json(**Report((wrong.on(socket.gethostname()),), PREFLIGHT).as_failure())
