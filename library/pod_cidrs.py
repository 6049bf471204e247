#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""The addresses of each node and of its pods, as the API server has them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pod_cidrs
short_description: Read the range of pod addresses of each node
description:
  - Runs on a host of the control plane and queries the API once, or again while a node that has just joined has no
    range for its pods yet.
author: [The maintainers]
options:
  timeout:
    description: Seconds to wait for the ranges of nodes that have just joined, times C(cluster_slow_factor).
    type: int
    default: 30
  without:
    description: Names of nodes to leave out, because they leave the cluster.
    type: list
    elements: str
    default: []
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
attributes:
  check_mode: {support: full, details: [Only reads; without a cluster there are no nodes.]}
"""
EXAMPLES = r"""
- name: Read the addresses of the nodes' pods
  pod_cidrs:
    without: [node2]
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true
  register: pods
"""
RETURN = r"""
nodes:
  description: "By name of the node, C({cidr, address}); C(cidr) is empty if the node has none."
  returned: success
  type: dict
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

import time
from collections.abc import Collection
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube.api import ADMIN_CONF, Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.health import address_of

PAUSE = 1.0


def read(api: KubeApi, without: Collection[str], seconds: float) -> Json:
    """Return the nodes, once each has addresses for its pods or the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        nodes = {
            node["metadata"]["name"]: {"cidr": node.get("spec", {}).get("podCIDR", ""), "address": address_of(node)}
            for node in api.items("/api/v1/nodes")
            if node["metadata"]["name"] not in without
        }
        if all(node["cidr"] for node in nodes.values()) or time.monotonic() >= deadline:
            return nodes
        time.sleep(PAUSE)


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "timeout": {"type": "int", "default": 30},
            "without": {"type": "list", "elements": "str", "default": []},
            **identity.OPTIONS,
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    if module.check_mode and not Path(ADMIN_CONF).exists():
        module.exit_json(changed=False, nodes={})
    without = {name.lower() for name in module.params["without"]}
    try:
        with KubeApi.from_file() as api:
            nodes = read(api, without, 0 if module.check_mode else scaled(module.params["timeout"]))
    except KubeError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, nodes=nodes)


if __name__ == "__main__":
    main()
