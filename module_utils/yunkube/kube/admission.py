# SPDX-License-Identifier: Apache-2.0
"""Which hosts may join: none that is a node already, and none whose identity or name another machine has."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.kube.api import NO_MASTER, Json, KubeError
from ansible.module_utils.yunkube.kube.health import address_of, condition
from ansible.module_utils.yunkube.result import CONFIG, Fault

SAME = {"machine_id": ("machineID", "machine-id"), "product_uuid": ("systemUUID", "product_uuid")}
RENEW = {
    "machine_id": "empty /etc/machine-id, run systemd-machine-id-setup and reboot",
    "product_uuid": "give the virtual machine its own UUID",
}


def unanswered(error: KubeError, cluster: str) -> Json:
    """Return what `fail_json` takes where the nodes cannot be listed: no cluster, or one that does not answer."""
    if error.reason == NO_MASTER:
        msg = f"there is no cluster {cluster} to add to: {error}; create it first: `up`"
        return {"msg": msg, "kind": CONFIG, "commands": ["up"]}
    return {"msg": f"the nodes of {cluster} cannot be listed: {error}; `doctor` says why", "commands": ["doctor"]}


def members(hosts: t.Iterable[str], nodes: list[Json], cluster: str) -> list[Fault]:
    """Return a fault for each host that is a Ready node."""
    ready = {node["metadata"]["name"] for node in nodes if condition(node, "Ready").get("status") == "True"}
    remedy = "nothing is to be added; `up` brings it to what the inventory says"
    return [
        Fault("member", f"is already a node of {cluster}", remedy, host, commands=("up",))
        for host in hosts
        if host.lower() in ready
    ]


def twins(identities: t.Mapping[str, Json], nodes: list[Json]) -> list[Fault]:
    """Return a fault for each identity that a node of another name has as well."""
    faults = []
    for host, its in identities.items():
        for node in nodes:
            name, info = node["metadata"]["name"], node.get("status", {}).get("nodeInfo", {})
            for key, (theirs, word) in SAME.items():
                value = its.get(key)
                if value and name != host.lower() and str(info.get(theirs, "")).lower() == value:
                    message = f"has {word} {value}, as has the node {name}"
                    faults.append(Fault(key, message, RENEW[key], host))
    return faults


def elsewhere(identities: t.Mapping[str, Json], nodes: list[Json]) -> list[Fault]:
    """Return a fault for each host whose node is Ready on a machine with another machine-id."""
    there = {node["metadata"]["name"]: node for node in nodes}
    faults = []
    for host, its in identities.items():
        node = there.get(host.lower(), {})
        machine_id = str(node.get("status", {}).get("nodeInfo", {}).get("machineID", "")).lower()
        ready = condition(node, "Ready").get("status") == "True"
        if ready and machine_id and machine_id != its.get("machine_id"):
            message = f"its node is Ready on another machine, at {address_of(node)} with machine-id {machine_id}"
            remedy = (
                "shut that machine down and wait until the node is NotReady, or give the inventory its address and "
                "remove the host first"
            )
            faults.append(Fault("former machine", message, remedy, host, commands=(f"remove {host}",)))
    return faults
