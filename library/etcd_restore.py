#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Restore etcd's data on this master, a step at a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_restore
short_description: Restore etcd's data on this master, a step at a time
description:
  - In state C(prepared) it makes the data from a snapshot beside what is there, which changes nothing that runs. In
    state C(swapped) it stops the control plane of this host and puts the data in place; what was there is kept beside
    it. In state C(started) it starts the kubelet, and waits for etcd and the API.
  - Each master does a step before any does the next one. A run that was interrupted begins again with C(prepared), as
    C(swapped) needs what that made. M(etcd_rehearsal) judges the snapshot first.
author: [The maintainers]
options:
  state: {description: The step, type: str, choices: [prepared, swapped, started], required: true}
  path: {description: "The snapshot, on this host; for state C(prepared)", type: path}
  revision: {description: "The revision at which etcd goes on, the same on all masters; for C(prepared)", type: int}
  sha256: {description: "The digest of the snapshot that was judged; another is refused", type: str, default: ""}
  members: {description: "All members that etcd is to have, name and peer URL", type: dict, required: true}
  cluster: {description: The cluster's name, type: str, required: true}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  run: {description: The run that this belongs to; it holds its claim here., type: dict, default: {}}
attributes:
  check_mode: {support: full}
"""
EXAMPLES = r"""
- name: Create the data of etcd
  etcd_restore:
    state: prepared
    path: /var/lib/yunkube/etcd-snapshots/incoming.db
    revision: 1796033700000
    members: {master1: "https://10.77.0.11:2380"}
    cluster: prod
    cluster_id: 0123456789abcdef

- name: Set it in place
  etcd_restore:
    state: swapped
    members: {master1: "https://10.77.0.11:2380"}
    cluster: prod
    cluster_id: 0123456789abcdef
"""
RETURN = r"""
changes: {description: What was (or would be) done., returned: always, type: list, elements: str}
journal: {description: The end of kubelet's log., returned: when it cannot be stopped, type: list, elements: str}
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.etcd import EtcdError, trouble
from ansible.module_utils.yunkube.kube.etcd_restore import step


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["prepared", "swapped", "started"], "required": True},
            "path": {"type": "path"},
            "revision": {"type": "int"},
            "sha256": {"type": "str", "default": ""},
            "members": {"type": "dict", "required": True},
            **identity.OPTIONS,
            "cluster": {"type": "str", "required": True},
            **host_lock.RUN_SPEC,
        },
        required_if=[("state", "prepared", ["path", "revision"])],
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    host_lock.take(module, last=module.params["state"] == "started")
    try:
        changes = step(module)
    except EtcdError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=trouble(error))
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
