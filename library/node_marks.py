#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Give nodes the labels and taints that are declared for them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_marks
short_description: Set the labels and taints that are declared for nodes
description:
  - Sets labels and taints that are missing or different, and removes those that were declared before and no longer are.
    Others stay.
  - Runs on a host of the control plane, for all nodes in one call.
author: [The maintainers]
options:
  nodes:
    description: "By name of the node, C({labels: {key: value}, taints: [{key, value, effect}]})."
    type: dict
    required: true
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
attributes:
  check_mode: {support: full, details: [A host that is no node yet is taken for one that has just joined.]}
"""
EXAMPLES = r"""
- name: Set labels and taints of nodes
  node_marks:
    nodes:
      node1:
        labels: {disk: ssd}
        taints: []
      node2:
        labels: {}
        taints: [{key: gpu, value: "true", effect: NoSchedule}]
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.api import ADMIN_CONF, Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.node_marks import mark, planned


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={"nodes": {"type": "dict", "required": True}, **identity.OPTIONS}, supports_check_mode=True
    )
    identity.refuse_another(module)
    host_lock.take(module)
    nodes: dict[str, Json] = {name.lower(): declared for name, declared in module.params["nodes"].items()}
    changes: list[str] = []
    try:
        if module.check_mode and not Path(ADMIN_CONF).exists():
            changes = [word for name, declared in nodes.items() for word in planned(name, declared)]
        else:
            with KubeApi.from_file() as api:
                for name, declared in nodes.items():
                    changes += mark(api, name, declared, check_mode=module.check_mode)
    except KubeError as error:
        module.fail_json(msg=str(error), changed=bool(changes), changes=changes)
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
