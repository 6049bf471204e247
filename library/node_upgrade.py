#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Keep what an upgrade replaces on this host, prove the new, or put the old back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_upgrade
short_description: Keep the programs of this host until the upgraded node works
description:
  - In state C(kept) the programs that differ from the bundle's, and O(paths), are kept in C(/var/lib/yunkube/upgrade),
    programs as links that cost no space. A run that follows one that was cut off keeps what that one kept.
  - In state C(proved) kubeadm writes the kubelet's configuration as the cluster has it, and the module waits until the
    node is Ready with the release and its own pods in O(namespaces) run. Then the copies go.
  - In state C(reverted) the kept files are put back, systemd restarts O(units), and the module says what came of it. It
    does not fail.
author: [The maintainers]
options:
  state: {description: The step, type: str, choices: [kept, proved, reverted], required: true}
  node: {description: Name of this host's node, type: str, required: true}
  version: {description: "The release to reach, such as C(1.37.2)", type: str, required: true}
  paths:
    description: Files to keep, beside the kubelet's configuration.
    type: list
    elements: path
    default: []
  files:
    description: Programs of the bundle, as entries of its manifest. The action plugin picks them by O(purposes).
    type: list
    elements: dict
    default: []
  manifest: {description: "The bundle's manifest. Taken by the action plugin, on the control machine.", type: path}
  purposes:
    description: What the host is for, C(master), C(node). Taken by the action plugin.
    type: list
    elements: str
  units: {description: Services that run the programs, type: list, elements: str, default: []}
  patches:
    description: "kubeadm's patches, each a dictionary of target and strategic merge patch. Later ones win."
    type: list
    elements: dict
    default: []
  namespaces: {description: Where pods of the node must run, type: list, elements: str, default: []}
  cause: {description: Why the files are put back, type: str, default: ""}
  timeout: {description: Seconds until the node must be Ready, type: int, default: 120}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
attributes:
  check_mode: {support: full, details: [Nothing is kept or put back.]}
"""
EXAMPLES = r"""
- name: Keep what is replaced
  node_upgrade:
    state: kept
    node: node1
    version: 1.37.2
    manifest: ~/.cache/yunkube/locks/0123456789abcdef/manifest.json
    purposes: [node]
    paths: [/etc/containerd/config.toml]
    cluster: prod
    cluster_id: 0123456789abcdef

- name: Check the node
  node_upgrade:
    state: proved
    node: node1
    version: 1.37.2
    namespaces: [kube-system, kube-flannel]
    cluster: prod
    cluster_id: 0123456789abcdef
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
summary: {description: "The cause, and what came of putting the files back", returned: when reverted, type: str}
kubelet_journal: {description: The end of its log, returned: when it is not healthy, type: list, elements: str}
rc: {description: Exit code of kubeadm, returned: when kubeadm failed, type: int}
kubeadm_output: {description: Its last lines, returned: when kubeadm failed, type: list, elements: str}
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.upgrade.host import OPTIONS, Turn


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(argument_spec={**OPTIONS, **identity.OPTIONS}, supports_check_mode=True)
    identity.refuse_another(module)
    host_lock.take(module)
    Turn(module).run()


if __name__ == "__main__":
    main()
