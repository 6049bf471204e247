#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Take nodes out of the cluster: pods first, then etcd's members, then the nodes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_removal
short_description: Drain nodes, and delete them
description:
  - Runs on the control plane host. In state C(drained) it first checks all the hosts, and changes nothing if one of
    them must stay. Then C(kubectl drain) evicts the pods of each node, as their disruption budgets allow. If pods
    are not evicted in time, the module fails, and the node accepts pods again.
  - For masters it then removes the etcd members, one after the other - a snapshot is saved before, and the other
    members must be healthy after. So the host can be reset without costing etcd its quorum. A member is found by its
    host's name or address, also when its node was deleted.
  - In state C(absent) the nodes are deleted. Hosts that are dead are not drained.
author: [Yunkube]
options:
  hosts: {description: Names of the hosts, type: list, elements: str, required: true}
  state: {description: The state to reach, type: str, choices: [drained, absent], required: true}
  objections: {description: "Why M(host_teardown) would refuse each host.", type: dict, default: {}}
  addresses: {description: Address of each host of the inventory. Empty - its name, type: dict, required: true}
  ports: {description: The port of SSH of each, type: dict, required: true}
  control_plane_host: {description: The master that all others reach the API at, type: str, required: true}
  force:
    description: Delete pods without a controller, and those that a disruption budget keeps after O(timeout).
    type: bool
    default: false
  delete_emptydir_data:
    description: Evict pods although they lose their emptyDir, hostPath and node-local volumes.
    type: bool
    default: false
  dead: {description: The hosts are unreachable; they are deleted without being drained, type: bool, default: false}
  gone: {description: Accept hosts that are not in the cluster any more, type: bool, default: false}
  timeout: {description: Seconds until the pods of one host must be evicted, type: int, default: 120}
  cluster: {description: The cluster's name, type: str, required: true}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  run: {description: The run that this belongs to; it holds its claim here., type: dict, default: {}}
attributes:
  check_mode: {support: full}
"""
EXAMPLES = r"""
- name: Drain a node
  node_removal:
    hosts: [node1]
    state: drained
    addresses: {master1: 10.77.0.11, node1: 10.77.0.12}
    ports: {master1: 22, node1: 22}
    control_plane_host: master1
    timeout: 300
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1

- name: Delete a node that was drained
  node_removal:
    hosts: [node1]
    state: absent
    addresses: {master1: 10.77.0.11, node1: 10.77.0.12}
    ports: {master1: 22, node1: 22}
    control_plane_host: master1
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
"""
RETURN = r"""
changes: {description: What was (or would be) done., returned: always, type: list, elements: str}
snapshot: {description: Where the snapshot of etcd is., returned: when a member was removed, type: str}
faults:
  description: Why hosts cannot be removed, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.api import KubeError
from ansible.module_utils.yunkube.kube.drain import DrainError
from ansible.module_utils.yunkube.kube.etcd import EtcdError
from ansible.module_utils.yunkube.kube.removal import Removal


def main() -> None:
    """Run as Ansible's module."""
    names: dict[str, object] = {"type": "list", "elements": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "hosts": names,
            "state": {"type": "str", "choices": ["drained", "absent"], "required": True},
            "addresses": {"type": "dict", "required": True},
            "ports": {"type": "dict", "required": True},
            "objections": {"type": "dict", "default": {}},
            "control_plane_host": {"type": "str", "required": True},
            "force": {"type": "bool", "default": False},
            "delete_emptydir_data": {"type": "bool", "default": False},
            "dead": {"type": "bool", "default": False},
            "gone": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
            "cluster": {"type": "str", "required": True},
            "cluster_id": {"type": "str"},
            **host_lock.RUN_SPEC,
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    host_lock.take(module, last=module.params["state"] == "absent")
    removal = Removal(module)
    try:
        changes = removal.run()
    except (KubeError, DrainError, EtcdError) as error:
        module.fail_json(msg=str(error), **removal.result)
    module.exit_json(changed=bool(changes), changes=changes, **removal.result)


if __name__ == "__main__":
    main()
