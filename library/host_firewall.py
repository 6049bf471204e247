#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Let a cluster's traffic through a host's active firewall."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_firewall
short_description: Open an active firewall for Kubernetes, or turn it off
description:
  - Adds what a cluster needs to the rules of ufw or firewalld, now and for the next boot. Removes those that it added
    before and that are no longer needed. Other rules stay.
  - The API server, NodePorts and pushes to the registry are opened to O(sources) and the networks named for them, or to
    everyone where none is named; etcd, kubelet, overlay and pulls to O(sources); all to pods.
author: [The maintainers]
options:
  firewall: {description: The firewall that is active., type: str, choices: [ufw, firewalld], required: true}
  state: {description: "Open it, turn it off or leave it.", type: str, choices: [open, "off", leave], default: open}
  master: {description: Whether the host runs the control plane., type: bool, required: true}
  sources: {description: Networks of the cluster's hosts., type: list, elements: str, required: true}
  api_sources:
    description: "Further networks for the API and for pushes to the registry. Empty: everyone."
    type: list
    elements: str
    default: []
  node_ports: {description: "Ports of Services, first and last.", type: str, default: 30000-32767}
  node_port_sources: {description: "The same for NodePorts.", type: list, elements: str, default: []}
  registry_port: {description: Where a registry takes images on this host. 0 for none., type: int, default: 0}
  registry_pull_port: {description: Where nodes pull from it. 0 for none., type: int, default: 0}
  pod_cidr: {description: Addresses of pods., type: str, required: true}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""
EXAMPLES = r"""
- name: Open ufw on a master
  host_firewall:
    firewall: ufw
    master: true
    sources: [10.77.0.0/24]
    api_sources: [192.168.1.0/24]
    pod_cidr: 10.244.0.0/16

- name: Turn firewalld off
  host_firewall:
    firewall: firewalld
    state: "off"
    master: false
    sources: [10.77.0.0/24]
    pod_cidr: 10.244.0.0/16
"""
RETURN = r"""
changes: {description: What was (or would be) done., returned: always, type: list, elements: str}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.host.firewall import FIREWALL_SPEC, open_firewall


def main() -> None:
    """Compare, then change."""
    spec = {**FIREWALL_SPEC, "firewall": {"type": "str", "choices": ["ufw", "firewalld"], "required": True}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    host_lock.take(module)
    active = module.params["firewall"]
    changes = open_firewall(module, active, module.params)
    diff = {"before_header": active, "after_header": active, "before": "", "after": "".join(f"{c}\n" for c in changes)}
    module.exit_json(changed=bool(changes), changes=changes, diff=diff)


if __name__ == "__main__":
    main()
