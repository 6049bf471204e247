#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Drain nodes for an upgrade, and let them take pods again after it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_turn
short_description: Drain nodes that stay in the cluster, and let them take pods again
description:
  - Runs on the control plane host. In state C(drained) the nodes are cordoned and marked, and C(kubectl drain) evicts
    their pods as their disruption budgets allow. If that does not succeed in time, the nodes take pods again and the
    module fails. Nodes that are not Ready have no pods to wait for.
  - In state C(schedulable) nodes that carry the mark and are Ready take pods again. A node that a person has cordoned
    stays so.
author: [The maintainers]
options:
  nodes: {description: Names of the nodes, type: list, elements: str, required: true}
  state: {description: The state to reach, type: str, choices: [drained, schedulable], required: true}
  force:
    description: Delete pods without a controller, and those that a disruption budget keeps after O(timeout).
    type: bool
    default: false
  delete_emptydir_data: {description: Evict pods although they lose their emptyDir volumes, type: bool, default: false}
  timeout: {description: Seconds until the pods of one node must be evicted, type: int, default: 120}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
attributes:
  check_mode: {support: full}
"""
EXAMPLES = r"""
- name: Drain two nodes
  node_turn:
    nodes: [node1, node2]
    state: drained
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true

- name: Let them take pods again
  node_turn:
    nodes: [node1, node2]
    state: schedulable
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true
"""
RETURN = r"""
changes: {description: What was (or would be) done., returned: always, type: list, elements: str}
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError
from ansible.module_utils.yunkube.kube.drain import DrainError
from ansible.module_utils.yunkube.upgrade import turn


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["drained", "schedulable"], "required": True},
            "force": {"type": "bool", "default": False},
            "delete_emptydir_data": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
            **identity.OPTIONS,
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    host_lock.take(module)
    params = module.params
    kubectl = module.get_bin_path("kubectl", required=True, opt_dirs=["/usr/local/bin"])
    try:
        with KubeApi.from_file() as api:
            if params["state"] == "drained":
                changes = turn.drain(
                    api,
                    lambda words: module.run_command([kubectl, *words]),
                    params["nodes"],
                    params,
                    check_mode=module.check_mode,
                )
            else:
                changes = turn.uncordon(api, params["nodes"], check_mode=module.check_mode)
    except (KubeError, DrainError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
