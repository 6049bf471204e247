#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Read what the running cluster was created with."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_values
short_description: Read what the running cluster was created with
description:
  - Reads the ConfigMaps C(yunkube), C(kubeadm-config), C(kubelet-config) and C(kube-proxy) of C(kube-system) as text,
    and the host's own kubelet configuration. Runs on any host that has joined. Only reads.
author: [The maintainers]
attributes:
  check_mode: {support: full, details: [It only reads.]}
"""
EXAMPLES = r"""
- name: Read what the cluster was created with
  cluster_values:
  delegate_to: master1
  run_once: true
  register: cluster
"""
RETURN = r"""
running:
  description: "C(state) is absent on a host of no cluster, silent when no API answers, or found with the texts"
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.kube.cluster_values import values_of


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, running=values_of())


if __name__ == "__main__":
    main()
