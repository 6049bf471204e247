#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Say what an upgrade would do, or why it must not begin."""

from __future__ import annotations

DOCUMENTATION = r"""
module: upgrade_plan
short_description: Compare a running cluster with a release, and plan its upgrade
description:
  - Runs on the control plane host and changes nothing there but the run's claim.
  - Refuses a downgrade, a skipped minor release, kubelets outside of the supported skew, nodes that are not Ready or
    not in the inventory, pods and data that a drain would lose, disruption budgets that never allow one, and clients of
    APIs that the release does not serve. All faults are reported at once.
author: [The maintainers]
options:
  version: {description: "The release to reach, such as C(1.37.2)", type: str, required: true}
  first: {description: Name of the master that is upgraded first, type: str, required: true}
  masters: {description: Names of the masters, type: list, elements: str, required: true}
  nodes: {description: Names of the other hosts, type: list, elements: str, default: []}
  drift:
    description: What differs from the declaration on each host, in words, as M(host_drift) returns it.
    type: dict
    default: {}
  releases: {description: Releases that have a lock, type: list, elements: str, default: []}
  batch: {description: How many nodes are upgraded at a time, type: str, default: "1"}
  force: {description: Accept that pods without a controller are deleted, type: bool, default: false}
  delete_emptydir_data: {description: Accept that pods lose their emptyDir volumes, type: bool, default: false}
  allow_removed_apis: {description: Accept that clients of removed APIs fail, type: bool, default: false}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  run: {description: The run that this belongs to; it holds its claim here., type: dict, default: {}}
attributes:
  check_mode: {support: full, details: [It only reads.]}
"""
EXAMPLES = r"""
- name: Plan the upgrade
  upgrade_plan:
    version: 1.37.2
    first: master1
    masters: [master1]
    nodes: [node1, node2]
    releases: [1.36.5, 1.37.2]
    cluster: prod
    cluster_id: 0123456789abcdef
  register: upgrade_plan
"""
RETURN = r"""
from: {description: The release that the cluster has, returned: success, type: str}
masters:
  description: Names of the masters whose control plane differs, in the order of their turns.
  returned: success
  type: list
  elements: str
hosts:
  description: Names of the hosts that differ otherwise, masters first.
  returned: success
  type: list
  elements: str
lines: {description: The plan as text, returned: success, type: list, elements: str}
notices:
  description: The same, which deploy.py shows, where O(drift) is known and so the plan is whole.
  returned: success
  type: list
  elements: str
faults:
  description: Why the upgrade must not begin, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.upgrade.planning import OPTIONS, plan_upgrade


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={**OPTIONS, **identity.OPTIONS, **host_lock.RUN_SPEC}, supports_check_mode=True
    )
    identity.refuse_another(module)
    host_lock.take(module)
    plan_upgrade(module)


if __name__ == "__main__":
    main()
