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
  - With O(replaces) as well, refuses a host whose node is Ready on another machine; two machines of one name would
    take turns in the API.
author: [Yunkube]
options:
  hosts: {description: Names of the hosts to add, type: list, elements: str, required: true}
  cluster: {description: The cluster's name, type: str, required: true}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  identities:
    description: What M(host_preflight) found, by host - C(machine_id), C(product_uuid), C(hostname).
    type: dict
    default: {}
  replaces: {description: The hosts take the place of nodes of their names, type: bool, default: false}
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

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.admission import elsewhere, members, twins, unanswered
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError
from ansible.module_utils.yunkube.result import CONFIG, PREFLIGHT, Report


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "hosts": {"type": "list", "elements": "str", "required": True},
            "cluster": {"type": "str", "required": True},
            "cluster_id": {"type": "str"},
            "identities": {"type": "dict", "default": {}},
            "replaces": {"type": "bool", "default": False},
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
        module.fail_json(**unanswered(error, cluster))
    identities = module.params["identities"]
    faults = twins(identities, nodes) if identities else members(module.params["hosts"], nodes, cluster)
    if module.params["replaces"]:
        faults += elsewhere(identities, nodes)
    if faults:
        module.fail_json(**Report(tuple(faults), PREFLIGHT if identities else CONFIG).as_failure())
    module.exit_json(changed=False, nodes=[node["metadata"]["name"] for node in nodes])


if __name__ == "__main__":
    main()
