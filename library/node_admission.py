#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Say whether hosts may join the cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_admission
short_description: Refuse hosts that cannot be added to the cluster
description:
  - Runs on the control plane host and asks the API once, however many nodes there are.
  - Refuses a host that is a node already and is Ready; one whose join was interrupted may continue.
  - With O(identities), refuses a host that has the same machine-id, product_uuid or name as another node.
author: [Yunkube]
options:
  hosts: {description: Names of the hosts to add, type: list, elements: str, required: true}
  cluster: {description: The cluster's name, type: str, required: true}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  identities:
    description: What M(host_preflight) found, by host - C(machine_id), C(product_uuid), C(hostname).
    type: dict
    default: {}
  run: {description: The run that this belongs to; it holds its claim here., type: dict, default: {}}
attributes:
  check_mode: {support: full, details: [It only reads.]}
"""
EXAMPLES = r"""
- name: Check that the hosts can join
  node_admission:
    hosts: [node2, node3]
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true

- name: Refuse a host whose identity another node has
  node_admission:
    hosts: [node2]
    cluster: prod
    identities:
      node2:
        machine_id: 0123456789abcdef0123456789abcdef
        product_uuid: 01234567-89ab-cdef-0123-456789abcdef
        hostname: node2
  delegate_to: master1
  run_once: true
"""
RETURN = r"""
nodes: {description: Names of the existing nodes, returned: success, type: list, elements: str}
faults:
  description: Hosts that are refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.health import condition
from ansible.module_utils.yunkube.result import CONFIG, PREFLIGHT, Fault, Report

SAME = {"machine_id": ("machineID", "machine-id"), "product_uuid": ("systemUUID", "product_uuid")}
RENEW = {
    "machine_id": "empty /etc/machine-id, run systemd-machine-id-setup and reboot",
    "product_uuid": "give the virtual machine its own UUID",
}


def members(hosts: t.Iterable[str], nodes: list[Json], cluster: str) -> list[Fault]:
    """Return a fault for each host that is a Ready node."""
    ready = {node["metadata"]["name"] for node in nodes if condition(node, "Ready").get("status") == "True"}
    remedy = "nothing is to be added; `up` brings it to what the inventory says"
    return [Fault("member", f"is already a node of {cluster}", remedy, host) for host in hosts if host.lower() in ready]


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


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "hosts": {"type": "list", "elements": "str", "required": True},
            "cluster": {"type": "str", "required": True},
            "cluster_id": {"type": "str"},
            "identities": {"type": "dict", "default": {}},
            **host_lock.RUN_SPEC,
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    host_lock.take(module)
    cluster = module.params["cluster"]
    try:
        nodes = KubeApi.from_file().items("/api/v1/nodes")
    except KubeError as error:
        module.fail_json(msg=f"there is no cluster {cluster} to add to: {error}; create it first: `up`", kind="config")
    identities = module.params["identities"]
    faults = twins(identities, nodes) if identities else members(module.params["hosts"], nodes, cluster)
    if faults:
        module.fail_json(**Report(tuple(faults), PREFLIGHT if identities else CONFIG).as_failure())
    module.exit_json(changed=False, nodes=[node["metadata"]["name"] for node in nodes])


if __name__ == "__main__":
    main()
