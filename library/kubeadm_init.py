#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Make this host the cluster's first master."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_init
short_description: Make this host the cluster's first master with kubeadm init
description:
  - Looks at the host and at the API; where the control plane is complete, that takes one round trip.
  - Finishes what an interrupted run left. Every phase of C(kubeadm init) can be repeated, so nothing is ever reset;
    the checks that fail on such leftovers are ignored by name, and only when the leftover is this cluster's own.
  - Waits for a kubeadm that still runs from an earlier, killed run, and for the API of a host that just started.
  - Refuses to create a second control plane - if another master has the cluster or could not be checked, if an
    API answers at the endpoint, and if the control machine knows that the cluster was created before.
author: [Yunkube]
options:
  config:
    description: "kubeadm's configuration, YAML documents. It is passed to kubeadm in memory, never on disk."
    type: str
    required: true
  endpoint: {description: "The cluster's endpoint, host:port", type: str, required: true}
  ignore_preflight_errors: {description: Checks to ignore by name, type: list, elements: str, default: []}
  patches:
    description:
      - "kubeadm's patches, each a dictionary of target (C(etcd), C(corednsdeployment)...) and strategic merge patch."
      - Later ones come on top of earlier ones.
      - They are written to C(/run/yunkube/patches), which the configuration must name (C(patches.directory)).
    type: list
    elements: dict
    default: []
  kubeconfig_server:
    description: The API server's address in the kubeconfig that RV(kubeconfig_digest) is of.
    type: str
    default: ""
  others:
    description: The other masters; whether each has an admin.conf, and null for one that could not be checked.
    type: dict
    default: {}
  recorded:
    description: The control machine's kubeconfig of this cluster; empty if there is none, or if the cluster is lost.
    type: str
    default: ""
  kubelet_declared:
    description: "What the inventory declares of the kubelet configuration, JSON; kept as M(kubelet_configmap) does."
    type: str
    default: "{}"
  timeout: {description: Seconds for kubeadm to end, type: int, default: 360}
  boot_timeout:
    description: Seconds to wait for a control plane that does not answer yet, times cluster_slow_factor
    type: int
    default: 60
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
attributes:
  check_mode: {support: full, details: [Says what it would do.]}
"""
EXAMPLES = r"""
- name: Start the control plane
  kubeadm_init:
    config: |
      apiVersion: kubeadm.k8s.io/v1beta4
      kind: InitConfiguration
      localAPIEndpoint: {advertiseAddress: 10.77.0.11, bindPort: 6443}
      nodeRegistration: {name: master1, criSocket: unix:///run/containerd/containerd.sock}
      patches: {directory: /run/yunkube/patches}
      ---
      apiVersion: kubeadm.k8s.io/v1beta4
      kind: ClusterConfiguration
      clusterName: prod
      kubernetesVersion: v1.37.2
      controlPlaneEndpoint: 10.77.0.11:6443
      networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/12}
    endpoint: 10.77.0.11:6443
    patches:
      - corednsdeployment: {spec: {replicas: 3}}
    others: {master2: false, master3: false}
    cluster: prod
    cluster_id: 0123456789abcdef
  register: control_plane
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
state: {description: "What was found: complete, stopped, silent, partial or absent", returned: always, type: str}
kubeconfig_digest: {description: "sha256 of admin.conf with O(kubeconfig_server) in it", returned: always, type: str}
missing: {description: What a partial control plane lacked, returned: always, type: list, elements: str}
ignored: {description: Checks that were ignored, returned: when kubeadm ran, type: list, elements: str}
seconds: {description: How long kubeadm took, returned: when kubeadm ran, type: float}
kubelet_journal: {description: The end of its log, returned: when it is not healthy, type: list, elements: str}
faults:
  description: Why there may be no control plane here, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
rc: {description: Exit code of kubeadm, returned: when kubeadm failed, type: int}
kubeadm_output: {description: Its last lines, returned: when kubeadm failed, type: list, elements: str}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.control_plane import Init


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "str", "required": True},
            "endpoint": {"type": "str", "required": True},
            "ignore_preflight_errors": {"type": "list", "elements": "str", "default": []},
            "patches": {"type": "list", "elements": "dict", "default": []},
            "kubeconfig_server": {"type": "str", "default": ""},
            "others": {"type": "dict", "default": {}},
            "recorded": {"type": "str", "default": ""},
            "kubelet_declared": {"type": "str", "default": "{}"},
            "timeout": {"type": "int", "default": 360},
            "boot_timeout": {"type": "int", "default": 60},
            **identity.OPTIONS,
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    host_lock.take(module)
    Init(module).run()


if __name__ == "__main__":
    main()
