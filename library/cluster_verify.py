#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Prove that the cluster works."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_verify
short_description: Verify that the cluster works
description:
  - Waits until all nodes are ready and the cluster's own workloads run. Then puts a probe on every node and checks
    DNS, connections between pods of different nodes, Services and node ports, and removes the probes.
  - Runs on a master. Changes nothing that stays, so it is never C(changed).
  - In mode C(auto) the probes are skipped when exactly these nodes and system pods have passed since the master's last
    start.
author: [Yunkube]
options:
  nodes: {description: Nodes that must be there, by name, type: list, elements: str, required: true}
  only:
    description: Test only these nodes. The result then does not count for the whole cluster, and is not recorded.
    type: list
    elements: str
    default: []
  version: {description: Version that the kubelet of every node must have, type: str, default: ""}
  workloads:
    description: What must be rolled out, such as C(DaemonSet kube-system/kube-proxy).
    type: list
    elements: str
    default: []
  namespaces: {description: Namespaces whose pods must all run, type: list, elements: str, default: []}
  image: {description: The probe's image, type: str, required: true}
  domain: {description: The domain of Services, type: str, default: cluster.local}
  host: {description: Name of the node that this runs on, type: str, required: true}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  mode: {description: How much to prove, type: str, choices: [auto, full, quick], default: auto}
  timeout: {description: Seconds to wait for nodes and workloads, type: int, default: 180}
  probe_timeout: {description: Seconds for the probes to start and for each check to succeed, type: int, default: 30}
  run: {description: The run that this belongs to; it holds its claim here., type: dict, default: {}}
attributes:
  check_mode: {support: full, details: [Looks once and proves nothing; a host without an API is passed over.]}
"""
EXAMPLES = r"""
- name: Verify the cluster, with probes where they have not passed before
  cluster_verify:
    nodes: [master1, node1]
    version: 1.37.2
    workloads: [Deployment kube-system/coredns, DaemonSet kube-system/kube-proxy]
    namespaces: [kube-system, kube-flannel]
    image: docker.io/yunkube/probe:0.1.1
    host: master1
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true

- name: Verify a node that was added
  cluster_verify:
    nodes: [master1, node2]
    only: [master1, node2]
    image: docker.io/yunkube/probe:0.1.1
    host: master1
    mode: full
  delegate_to: master1
  run_once: true
"""
RETURN = r"""
rows: {description: "Every check: check, target, ok, seconds, detail", returned: always, type: list, elements: dict}
table: {description: The same with what went well summed up, returned: always, type: list, elements: dict}
lines: {description: The table as text, returned: always, type: list, elements: str}
mode: {description: "What was done: full, quick or none", returned: always, type: str}
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.verify import Verify


def main() -> None:
    """Run as Ansible's module."""
    names: dict[str, object] = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "list", "elements": "str", "required": True},
            "only": names,
            "version": {"type": "str", "default": ""},
            "workloads": names,
            "namespaces": names,
            "image": {"type": "str", "required": True},
            "domain": {"type": "str", "default": "cluster.local"},
            "host": {"type": "str", "required": True},
            "mode": {"type": "str", "choices": ["auto", "full", "quick"], "default": "auto"},
            "timeout": {"type": "int", "default": 180},
            "probe_timeout": {"type": "int", "default": 30},
            **identity.OPTIONS,
            **host_lock.RUN_SPEC,
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    host_lock.claim_only(module, last=True)
    Verify(module).run()


if __name__ == "__main__":
    main()
