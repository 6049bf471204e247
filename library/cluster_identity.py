#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Keep the id of a cluster on the control machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_identity
short_description: Keep the id of a cluster, and which inventory it belongs to
description:
  - The id is created once, 16 random hex digits, and kept in C(id) in the cluster's state directory. Hosts, Docker
    objects and the cluster itself carry it, and are compared with it before anything changes.
  - The inventory's path is kept next to it. Another inventory is refused, so that two inventories with one
    C(cluster_name) cannot share the keys and the kubeconfig of one cluster.
  - With O(reattach) the id is taken from the hosts (O(hosts), and Docker containers of the cluster's name), which must
    all agree, and the inventory is kept as the cluster's own.
options:
  cluster: {description: The cluster's name., type: str, required: true}
  state_dir: {description: The cluster's state directory., type: path, required: true}
  sources: {description: Inventory files and directories., type: list, elements: str, required: true}
  state:
    description: C(present) creates an id if there is none, C(compared) only compares, C(absent) removes the id.
    type: str
    choices: [present, compared, absent]
    default: present
  reattach: {description: Take the id that the hosts have., type: bool, default: false}
  hosts:
    description: What M(host_record) returned, by host - C(cluster) and C(cluster_id).
    type: dict
    default: {}
attributes:
  check_mode: {support: full}
author: [The maintainers]
"""
EXAMPLES = r"""
- name: Ensure that the cluster has an id
  cluster_identity:
    cluster: prod
    state_dir: ~/.local/state/yunkube/prod
    sources: [inventory/prod]

- name: Take the id that the hosts have
  cluster_identity:
    cluster: prod
    state_dir: ~/.local/state/yunkube/prod
    sources: [inventory/prod]
    reattach: true
    hosts:
      master1: {cluster: prod, cluster_id: 0123456789abcdef}
      node1: {cluster: prod, cluster_id: 0123456789abcdef}

- name: Remove the id after the cluster was removed
  cluster_identity:
    cluster: prod
    state_dir: ~/.local/state/yunkube/prod
    sources: [inventory/prod]
    state: absent
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
cluster_id: {description: "The id, empty if there is none yet", returned: success, type: str}
faults:
  description: Why the cluster is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.control.cluster_identity import SPEC, IdentityError, failure, run


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        result = run(module.params, dry_run=module.check_mode)
    except IdentityError as error:
        module.fail_json(**failure(error))
    module.exit_json(changed=bool(result["changes"]), changes=result["changes"], cluster_id=result["cluster_id"])


if __name__ == "__main__":
    main()
