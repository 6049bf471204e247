#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Start an etcd from a snapshot, ask it what it holds, and remove it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_rehearsal
short_description: Start an etcd from a snapshot, ask it what it holds, and remove it
description:
  - Runs on a master, with the programs of the image that its etcd runs from. The etcd listens on sockets in a folder of
    root's, ends with the module (or by itself), and is removed.
  - A file is refused that is damaged, of another cluster, of a newer etcd, or not what O(expected) says. Nothing of the
    running cluster is changed.
author: [The maintainers]
options:
  path: {description: The snapshot, on this host., type: path, required: true}
  name: {description: "What messages call it, by default its name here.", type: str, default: ""}
  expected: {description: What M(etcd_snapshot) noted when it saved it., type: dict, default: {}}
  refuse_live:
    description: Also refuse unless every master's etcd is known to be lost, before a restore would replace it.
    type: bool
    default: false
  masters:
    description: What each master's etcd holds, C(state), C(told) and C(revision) of M(etcd_member) by host.
    type: dict
    default: {}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; another cluster's snapshot is refused", type: str, required: true}
attributes:
  check_mode: {support: full, details: [Nothing is started; O(refuse_live) is heeded.]}
"""
EXAMPLES = r"""
- name: Start an etcd from a backup, and remove it
  etcd_rehearsal:
    path: /var/lib/yunkube/etcd-snapshots/incoming.db
    name: prod-20261130T094500Z.db
    cluster: prod
    cluster_id: 0123456789abcdef
"""
RETURN = r"""
found: {description: "Revision, keys, digests, version and objects of each resource.", returned: success, type: dict}
live: {description: "What this host's etcd holds, a state of M(etcd_member).", returned: success, type: str}
continue_at: {description: "The revision at which a restore goes on, 0 in check mode", returned: success, type: int}
table: {description: "What was found, in a row", returned: success, type: list, elements: dict}
faults:
  description: Why the snapshot cannot be used, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube import etcd, etcd_rehearsal, etcd_snapshot
from ansible.module_utils.yunkube.result import PREFLIGHT, Report


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "name": {"type": "str", "default": ""},
            "expected": {"type": "dict", "default": {}},
            "refuse_live": {"type": "bool", "default": False},
            "masters": {"type": "dict", "default": {}},
            **identity.OPTIONS,
            "cluster_id": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    options, began = module.params, time.monotonic()
    path, masters = Path(options["path"]), options["masters"]
    name = options["name"] or path.name
    row = {"check": "rehearsal", "target": name, "ok": True, "seconds": 0.0, "detail": "an etcd would start with it"}
    fault = etcd_rehearsal.objection_live(masters) if options["refuse_live"] else None
    if fault:
        module.fail_json(**Report((fault,), PREFLIGHT).as_failure())
    if module.check_mode:
        module.exit_json(changed=False, found={}, live="unclear", continue_at=0, table=[row])
    host_lock.take(module)
    crictl, ctr = (module.get_bin_path(name, required=True, opt_dirs=["/usr/local/bin"]) for name in ("crictl", "ctr"))
    rehearsal = etcd_rehearsal.Rehearsal(path, name, options["cluster_id"], options["expected"])
    try:
        found, live = rehearsal.beside(etcd.Etcd(module.run_command, crictl), module.run_command, ctr)
    except etcd_snapshot.SnapshotError as error:
        module.fail_json(**Report((etcd_rehearsal.refused(str(error)),), PREFLIGHT).as_failure())
    except etcd.EtcdError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=etcd.trouble(error))
    goes_on = etcd_rehearsal.continue_at(found["revision"], masters.values(), time.time())
    words = etcd_rehearsal.in_words(found, live, noted=bool(options["expected"].get("objects")))
    row |= {"seconds": time.monotonic() - began, "detail": words}
    module.exit_json(changed=False, found=found, live=live.state, continue_at=goes_on, table=[row])


if __name__ == "__main__":
    main()
