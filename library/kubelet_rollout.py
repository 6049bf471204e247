#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Bring the cluster's kubelet configuration to this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubelet_rollout
short_description: Write the cluster's kubelet configuration to this host
description:
  - Lets kubeadm write C(/var/lib/kubelet/config.yaml) from ConfigMap C(kube-system/kubelet-config) and the host's
    patches, restarts the kubelet where the file changed, and returns when the node has reported that it is Ready.
  - If the kubelet does not become ready with it, the former file is restored, the kubelet is restarted, and the module
    fails with the end of the kubelet's log. With C(throttle) of 1 hosts after one that failed are not
    tried (plugins/action/kubelet_rollout.py).
author: [The maintainers]
options:
  node: {description: Name of the node, type: str, required: true}
  patches:
    description: "kubeadm's patches, each a dictionary of target and strategic merge patch. Later ones win."
    type: list
    elements: dict
    default: []
  fields: {description: "What differs, in words", type: list, elements: str, default: []}
  timeout: {description: 'Seconds until the node must be ready, times cluster_slow_factor', type: int, default: 120}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
attributes:
  check_mode: {support: full, details: [Says what it would do.]}
"""
EXAMPLES = r"""
- name: Restart the kubelet with the configuration of the cluster
  kubelet_rollout:
    node: node1
    patches:
      - kubeletconfiguration: {maxPods: 50}
    fields: [maxPods 50 instead of 110]
    cluster: prod
    cluster_id: 0123456789abcdef
  throttle: 1
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
kubelet_journal: {description: The end of its log, returned: when it is not healthy, type: list, elements: str}
faults:
  description: Why the host is refused, or kubeadm writes no file, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
rc: {description: Exit code of kubeadm, returned: when kubeadm failed, type: int}
kubeadm_output: {description: Its last lines, returned: when kubeadm failed, type: list, elements: str}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube import kubelet_file
from ansible.module_utils.yunkube.kube.kubelet_rollout import Rollout


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str", "required": True},
            "patches": kubelet_file.PATCHES_SPEC,
            "fields": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 120},
            **identity.OPTIONS,
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    host_lock.take(module)
    Rollout(module).run()


if __name__ == "__main__":
    main()
