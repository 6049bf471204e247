#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Say how the cluster is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_status
short_description: Report the state of the cluster
description:
  - Runs on a master and only reads. Reports nodes, pods that do not run, workloads and the days left of certificates.
  - When the API does not answer, reports that, and what the host itself knows about the cause.
author: [Yunkube]
options:
  nodes: {description: Nodes that should be there, by name, type: list, elements: str, default: []}
  version: {description: Version that the kubelet of every node should have, type: str, default: ""}
  workloads:
    description: What should be rolled out, such as C(DaemonSet kube-system/kube-proxy).
    type: list
    elements: str
    default: []
attributes:
  check_mode: {support: full, details: [It only reads.]}
"""
EXAMPLES = r"""
- name: Read the state of the cluster
  cluster_status:
    nodes: [master1, node1]
    version: 1.37.2
    workloads: [Deployment kube-system/coredns, DaemonSet kube-system/kube-proxy]
  delegate_to: master1
  run_once: true
  register: cluster
"""
RETURN = r"""
status:
  description: >-
    The state of the cluster - healthy, api (answers, server, version, detail),
    nodes (name, ready, roles, version, address, age_days, problem),
    workloads (name, ok, detail), pods (target, detail), certificates (name, days), certificates_problem (why not)
  returned: always
  type: dict
lines: {description: The same as text, returned: always, type: list, elements: str}
"""

import datetime as dt
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.kube.health import Wanted
from ansible.module_utils.yunkube.kube.status import as_lines, is_healthy, read_status


def main() -> None:
    """Run as Ansible's module."""
    names: dict[str, object] = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={"nodes": names, "version": {"type": "str", "default": ""}, "workloads": names},
        supports_check_mode=True,
    )
    options = module.params
    wanted = Wanted(tuple(options["nodes"]), options["version"], tuple(options["workloads"]))
    now = dt.datetime.now(dt.timezone.utc)
    status = read_status(Path("/"), wanted, now)
    module.exit_json(changed=False, status={"healthy": is_healthy(status), **status}, lines=as_lines(status))


if __name__ == "__main__":
    main()
