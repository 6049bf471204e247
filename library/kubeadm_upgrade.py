#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Bring the control plane of this master to another release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_upgrade
short_description: Upgrade the control plane of this master by kubeadm
description:
  - Runs C(kubeadm upgrade apply) on the first master, and C(kubeadm upgrade node) on the others. Both renew
    certificates.
  - Before that, the control plane of this master and etcd on all masters must be healthy, and there must be room for
    the copy of etcd's data that kubeadm keeps while it works. Afterwards the module waits until they are healthy again.
  - If the manifests have the release, and what kubeadm writes last, nothing is done; kube-proxy and CoreDNS follow the
    last master. A control
    plane of which only a part has the release is finished, whatever its health.
  - kubeadm itself puts back what it replaced where a part of the control plane does not start.
author: [The maintainers]
options:
  state: {description: Whether to look only, type: str, choices: [checked, upgraded], default: upgraded}
  version: {description: "The release to reach, such as C(1.37.2)", type: str, required: true}
  node: {description: Name of this host's node, type: str, required: true}
  first: {description: Whether this is the first master, type: bool, default: false}
  masters:
    description: Names of all masters. Another member of etcd is a fault.
    type: list
    elements: str
    default: []
  patches:
    description: "kubeadm's patches, each a dictionary of target and strategic merge patch. Later ones win."
    type: list
    elements: dict
    default: []
  timeouts: {description: How long kubeadm waits for what, type: dict, default: {}}
  timeout: {description: Seconds that kubeadm may take, type: int, default: 900}
  ignore_preflight_errors: {description: Checks of kubeadm that may fail, type: list, elements: str, default: []}
  kubelet_declared: {description: What the inventory declares of the kubelets as JSON, type: str, default: ""}
  kubeconfig_server: {description: The server in the kubeconfig of the control machine, type: str, default: ""}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
attributes:
  check_mode: {support: full}
"""
EXAMPLES = r"""
- name: Upgrade the first master
  kubeadm_upgrade:
    version: 1.37.2
    node: master1
    first: true
    masters: [master1]
    cluster: prod
    cluster_id: 0123456789abcdef
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
left: {description: The parts that have another release, returned: success, type: list, elements: str}
kubeconfig_digest:
  description: sha256 of admin.conf with O(kubeconfig_server) in it
  returned: when upgraded
  type: str
rc: {description: Exit code of kubeadm, returned: when kubeadm failed, type: int}
kubeadm_output: {description: Its last lines, returned: when kubeadm failed, type: list, elements: str}
kubelet_journal: {description: The end of its log, returned: when the kubelet does not run, type: list, elements: str}
faults:
  description: Why nothing was changed, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.upgrade.control_plane import OPTIONS, Upgrade


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(argument_spec={**OPTIONS, **identity.OPTIONS}, supports_check_mode=True)
    identity.refuse_another(module)
    host_lock.take(module)
    Upgrade(module).run()


if __name__ == "__main__":
    main()
