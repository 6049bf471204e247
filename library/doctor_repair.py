#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Repair one fault on one host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_repair
short_description: Repair one fault that the doctor found
description:
  - Does one of the repairs of module_utils/yunkube/doctor/more_repairs.py, and waits until it has worked.
  - Every file is saved before it is changed, under C(/var/lib/yunkube/doctor), readable only by root.
author: [The maintainers]
options:
  id: {description: "The fault, such as C(containerd-stopped); docs/faults lists them.", type: str, required: true}
  repair: {description: "The repair's name, such as C(start_unit).", type: str, required: true}
  target: {description: "What is repaired: a file, a unit.", type: str, default: ""}
  arguments: {description: What the repair needs to know., type: dict, default: {}}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  patches:
    description: "kubeadm's patches for this host, each a dictionary of target and strategic merge patch."
    type: list
    elements: dict
    default: []
attributes:
  check_mode: {support: full}
"""
EXAMPLES = r"""
- name: Start containerd
  doctor_repair:
    id: containerd-stopped
    repair: start_unit
    target: containerd
    arguments: {unit: containerd}
    cluster: prod
    cluster_id: 0123456789abcdef

- name: Turn on the forwarding of packets
  doctor_repair:
    id: ip-forward-off
    repair: set_sysctls
    target: net.ipv4.ip_forward
    arguments:
      values: {net.ipv4.ip_forward: "1"}
"""
RETURN = r"""
changes: {description: What was (or would be) done., returned: always, type: list, elements: str}
backup: {description: Where the files are that were there before, returned: when there are any, type: str}
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.doctor.more_repairs import REPAIRS
from ansible.module_utils.yunkube.doctor.repair_work import RepairError, Work
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.api import KubeError
from ansible.module_utils.yunkube.kube.etcd import EtcdError
from ansible.module_utils.yunkube.kube.kubelet_file import PATCHES_SPEC


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "id": {"type": "str", "required": True},
            "repair": {"type": "str", "required": True},
            "target": {"type": "str", "default": ""},
            "arguments": {"type": "dict", "default": {}},
            **identity.OPTIONS,
            "patches": PATCHES_SPEC,
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    host_lock.take(module)
    options = module.params
    work = Work(module, options["id"], options["patches"])
    repair = REPAIRS.get(options["repair"])
    if repair is None:
        module.fail_json(msg=f"unknown repair {options['repair']}; known are {', '.join(REPAIRS)}")
    try:
        repair(work, options["target"], **options["arguments"])
    except (RepairError, KubeError, EtcdError, OSError) as error:
        module.fail_json(msg=f"repair of {options['id']}: {error}", changes=work.changes, backup=work.backup)
    module.exit_json(
        changed=bool(work.changes),
        changes=work.changes,
        **({"backup": work.backup} if work.backup else {}),
        **({"diff": work.diff} if module._diff else {}),  # noqa: SLF001
    )


if __name__ == "__main__":
    main()
