#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Check a cluster's inventory as a whole, before anything changes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_config
short_description: Check a cluster's inventory as a whole
description:
  - Reads the inventory's files and reports every unknown key, wrong type and duplicate key, with file and line.
  - Then checks what must hold between the final values, such as address ranges that do not overlap.
  - Reports all faults at once and changes nothing. Runs on the control machine, with the Python that runs Ansible.
author: [The maintainers]
options:
  project_dir: {description: The directory with C(roles/) and C(components/)., type: path, required: true}
  sources: {description: Inventory files and directories., type: list, elements: str, required: true}
  values: {description: Final values that are checked against each other., type: dict, required: true}
  hosts: {description: The address of every host by its inventory name., type: dict, required: true}
  groups: {description: The members of every group., type: dict, required: true}
  ports: {description: The port of SSH by inventory name; empty for the default., type: dict, default: {}}
  node_ips: {description: C(cluster_node_ip) by inventory name; empty where it is not set., type: dict, default: {}}
  extra: {description: Variables of the command line., type: dict, default: {}}
  only:
    description: Keys to report, in addition to unreadable files; all keys if this is empty.
    type: list
    elements: str
    default: []
  hosts_pending:
    description: Whether this run creates the hosts, so that an inventory without any is no fault.
    type: bool
    default: false
  warn: {description: Whether faults of keys not in C(only) are warnings., type: bool, default: false}
attributes:
  check_mode: {support: full, details: [Only reads.]}
  diff_mode: {support: none}
"""
EXAMPLES = r"""
- name: Check the whole inventory
  cluster_config:
    project_dir: .
    sources: [inventory/prod]
    groups: {masters: [master1], nodes: [node1]}
    hosts: {master1: 10.77.0.11, node1: 10.77.0.12}
    values:
      cluster_name: prod
      cluster_pod_cidr: 10.244.0.0/16
      cluster_service_cidr: 10.96.0.0/12

- name: Check only the keys that the removal of a cluster depends on
  cluster_config:
    project_dir: .
    sources: [inventory/prod]
    groups: {}
    hosts: {}
    values: {}
    only: [cluster_provider, cluster_state_dir, teardown_paths]
"""
RETURN = r"""
notices: {description: "Faults that are only warnings, with O(warn)", returned: success, type: list, elements: str}
kind: {description: C(config) on failure, returned: failure, type: str}
faults:
  description: What is wrong, in the form that docs/events.md describes, with C(file), C(line) and C(check) (the key).
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.yunkube.control.spec_check import failure, judge
from ansible.module_utils.yunkube.control.yaml_reader import HAS_YAML


def main() -> None:
    """Check, and fail with all faults or say nothing."""
    module = AnsibleModule(
        argument_spec={
            "project_dir": {"type": "path", "required": True},
            "sources": {"type": "list", "elements": "str", "required": True},
            "values": {"type": "dict", "required": True},
            "hosts": {"type": "dict", "required": True},
            "groups": {"type": "dict", "required": True},
            "ports": {"type": "dict", "default": {}},
            "node_ips": {"type": "dict", "default": {}},
            "extra": {"type": "dict", "default": {}},
            "hosts_pending": {"type": "bool", "default": False},
            "warn": {"type": "bool", "default": False},
            "only": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    if not HAS_YAML:
        module.fail_json(msg=missing_required_lib("PyYAML"))
    faults, warnings = judge(module.params)
    if faults:
        module.fail_json(**failure(faults))
    for warning in warnings:
        module.warn(warning)
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
