#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Make this host a node of the cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_join
short_description: Make this host a node of the cluster with kubeadm join
description:
  - Without O(config) it only looks, so that a token is minted for a host that needs one and for no other.
    It fails where such a host cannot reach the endpoint, or where that is no API server.
    Where a host has joined and its kubelet does not run, the kubelet is started.
  - With O(config) it joins, and continues what an interrupted run left. A master has joined when its node is marked as
    one, which kubeadm does last.
  - Refuses a host that belongs to another cluster, which it learns from the certificate that the API shows.
author: [Yunkube]
options:
  config: {description: "kubeadm's JoinConfiguration, YAML. Goes to kubeadm through memory.", type: str}
  endpoint: {description: "The cluster's endpoint, host:port", type: str, required: true}
  node: {description: Name of the node, type: str, required: true}
  address: {description: "The host's address within the cluster, returned unchanged", type: str, default: ""}
  try_ports:
    description: Whether to try the endpoint, etcd of O(etcd) and O(registry) before kubeadm waits for minutes.
    type: bool
    default: true
  etcd:
    description: The masters that are ready, as dictionary of name and address; with O(config), their etcd is tried.
    type: dict
    default: {}
  registry:
    description: "Where the cluster's own registry is pulled from, host:port; with O(config), the port is tried."
    type: str
    default: ""
  master: {description: Whether it is to run the control plane, type: bool, default: false}
  patches:
    description:
      - "kubeadm's patches, each a dictionary of target (C(kubeletconfiguration)...) and strategic merge patch."
      - Later ones come on top of earlier ones.
      - They are written to C(/run/yunkube/patches), which the configuration must name (C(patches.directory)).
    type: list
    elements: dict
    default: []
  ignore_preflight_errors: {description: Checks to ignore by name, type: list, elements: str, default: []}
  timeout: {description: Seconds for kubeadm to end, type: int, default: 360}
attributes:
  check_mode: {support: full, details: [Says what it would do.]}
"""
EXAMPLES = r"""
- name: See whether the host has joined
  kubeadm_join:
    endpoint: 10.77.0.11:6443
    node: node1
  register: node

- name: Join the cluster
  kubeadm_join:
    config: |
      apiVersion: kubeadm.k8s.io/v1beta4
      kind: JoinConfiguration
      discovery:
        bootstrapToken:
          apiServerEndpoint: 10.77.0.11:6443
          token: abcdef.0123456789abcdef
          caCertHashes: ["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
      nodeRegistration: {name: node1, criSocket: unix:///run/containerd/containerd.sock}
    endpoint: 10.77.0.11:6443
    node: node1
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
address: {description: The host's address within the cluster, returned: when it has not joined, type: str}
joined: {description: Whether the host is a node of the cluster now, returned: always, type: bool}
ignored: {description: Checks that were ignored, returned: when kubeadm ran, type: list, elements: str}
seconds: {description: How long kubeadm took, returned: when kubeadm ran, type: float}
kubelet_journal: {description: The end of its log, returned: when it is not healthy, type: list, elements: str}
faults:
  description: Why the host may not join, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
rc: {description: Exit code of kubeadm, returned: when kubeadm failed, type: int}
kubeadm_output: {description: Its last lines, returned: when kubeadm failed, type: list, elements: str}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.join import Join


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "str", "no_log": True},
            "endpoint": {"type": "str", "required": True},
            "node": {"type": "str", "required": True},
            "address": {"type": "str", "default": ""},
            "try_ports": {"type": "bool", "default": True},
            "etcd": {"type": "dict", "default": {}},
            "registry": {"type": "str", "default": ""},
            "master": {"type": "bool", "default": False},
            "patches": {"type": "list", "elements": "dict", "default": []},
            "ignore_preflight_errors": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 360},
        },
        supports_check_mode=True,
    )
    host_lock.take(module)
    Join(module).run()


if __name__ == "__main__":
    main()
