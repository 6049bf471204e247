#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Keep what a host is before its first change."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_record
short_description: Record what a host is, before a cluster changes it
description:
  - Writes packages, units, kernel settings, mounts, network links, routes, the packet filter and the files that a
    cluster could change to C(/var/lib/yunkube/before.json), readable only by root.
  - M(host_teardown) compares the host with it at the end.
  - A record is never overwritten, so the next run after one that was killed keeps the first record. One of another
    cluster is refused.
author: [The maintainers]
options:
  cluster: {description: The cluster's name., type: str, required: true}
  cluster_id: {description: The cluster's id., type: str, required: true}
  reattach:
    description: Write the id into a record of that cluster that has none; record nothing otherwise.
    type: bool
    default: false
  packages:
    description: Packages that will be installed by the distribution's own means, for the teardown to know them.
    type: list
    elements: str
    default: []
attributes:
  check_mode: {support: full}
"""
EXAMPLES = r"""
- name: Record what the host is before anything changes
  host_record:
    cluster: prod
    cluster_id: 0123456789abcdef
    packages: [conntrack, ipset, socat]

- name: Read which cluster the host belongs to
  host_record:
    cluster: prod
    cluster_id: 0123456789abcdef
  check_mode: true
  register: recorded

- name: Write the id into a record that has none
  host_record:
    cluster: prod
    cluster_id: 0123456789abcdef
    reattach: true
"""
RETURN = r"""
changes: {description: What was (or would be) done., returned: always, type: list, elements: str}
bytes: {description: Size of a new record., returned: when it was written, type: int}
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
record:
  description: C(cluster) and C(cluster_id) of the record that was there, empty without one.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.result import PREFLIGHT, Report


def main() -> None:
    """Look, and write what was seen."""
    module = AnsibleModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "cluster_id": {"type": "str", "required": True},
            "reattach": {"type": "bool", "default": False},
            "packages": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    host_lock.take(module)
    cluster, cluster_id = module.params["cluster"], module.params["cluster_id"]
    record = host_state.read_record()
    if module.params["reattach"]:
        reattach(module, record, cluster, cluster_id)
    if record is not None:
        wrong = identity.fault(record, cluster, cluster_id)
        if wrong and not module.check_mode:
            module.fail_json(**Report((wrong,), PREFLIGHT).as_failure())
        module.exit_json(changed=False, changes=[], record=identity.owner(record))
    changes = ["record the current state of the host"]
    if module.check_mode:
        module.exit_json(changed=True, changes=changes, record={})
    (host_state.FOLDER / host_state.CHANGES).unlink(missing_ok=True)  # of a teardown that was killed at its end
    taken = host_state.take(host_state.runner(module), cluster, cluster_id)
    missing = [name for name in module.params["packages"] if name not in taken["packages"]]
    host_state.remember("packages", missing)
    module.exit_json(changed=True, changes=changes, record={}, bytes=host_state.write_record(taken))


def reattach(module: AnsibleModule, record: host_state.Json | None, cluster: str, cluster_id: str) -> None:
    """Write the id into a record of the cluster that has none, and end the module."""
    mine = record is not None and identity.of_record(record) == (cluster, "") and cluster_id != ""
    changes = [f"write the id {cluster_id} into the host's record"] if mine else []
    if record is not None and changes and not module.check_mode:
        host_state.write_record({**record, "cluster_id": cluster_id})
    module.exit_json(changed=bool(changes), changes=changes, record=identity.owner(record))


if __name__ == "__main__":
    main()
