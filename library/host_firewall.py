#!/usr/bin/python
"""Let a cluster's traffic through a host's active firewall."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_firewall
short_description: Open an active firewall for Kubernetes, or turn it off
description:
  - Adds what a cluster needs to the rules of ufw or firewalld, now and for the next boot. Other rules stay.
  - The API server and NodePorts are opened to everyone, etcd, kubelet, overlay to O(sources), all to pods.
author: [The maintainers]
options:
  firewall: {description: The firewall that is active., type: str, choices: [ufw, firewalld], required: true}
  state: {description: "Open it, turn it off or leave it.", type: str, choices: [open, "off", leave], default: open}
  master: {description: Whether the host runs the control plane., type: bool, required: true}
  sources: {description: Networks of the cluster's hosts., type: list, elements: str, required: true}
  pod_cidr: {description: Addresses of pods., type: str, required: true}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

RETURN = r"""
changes: {description: What was (or would be) done., returned: always, type: list, elements: str}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube import host_lock
from ansible.module_utils.yunkube.firewall import FIREWALL_SPEC, open_firewall


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
