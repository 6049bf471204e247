#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Save a snapshot of this host's etcd."""

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_snapshot
short_description: Save a snapshot of this host's etcd, and check it
description:
  - Saves a snapshot of a healthy member, for root alone, in C(/var/lib/yunkube/etcd-snapshots).
  - The file must have the digest that etcd wrote at its end, and C(etcdutl snapshot status) must read it. An etcd that
    does not hold this cluster is refused, as after the loss of its data.
author: [The maintainers]
options:
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; another cluster's etcd is refused", type: str, required: true}
  newest:
    description: What was noted of the newest backup there is. An etcd with a lower revision is refused.
    type: dict
    default: {}
attributes:
  check_mode: {support: full, details: [Nothing is saved.]}
"""
EXAMPLES = r"""
- name: Save a snapshot of etcd
  etcd_snapshot:
    cluster: prod
    cluster_id: 0123456789abcdef
  register: snapshot
"""
RETURN = r"""
changes: {description: What was (or would be) done., returned: always, type: list, elements: str}
path: {description: "Where the snapshot is, empty in check mode.", returned: success, type: str}
notes:
  description: Its size, sha256, hash, revision, keys and objects of each resource, for a later rehearsal.
  returned: success
  type: dict
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube import etcd, etcd_backup, etcd_rehearsal


def main() -> None:
    """Run as Ansible's module."""
    spec: dict[str, dict[str, t.Any]] = {
        **identity.OPTIONS,
        "cluster_id": {"type": "str", "required": True},
        "newest": {"type": "dict", "default": {}},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    identity.refuse_another(module)
    if module.check_mode:
        module.exit_json(changed=True, changes=["save a snapshot of etcd"], path="", notes={})
    host_lock.take(module)
    crictl, ctr = (module.get_bin_path(name, required=True, opt_dirs=["/usr/local/bin"]) for name in ("crictl", "ctr"))
    own = etcd.Etcd(module.run_command, crictl)
    try:
        with etcd_rehearsal.ready(module.run_command, ctr, etcd.SNAPSHOTS) as programs:
            path, notes = etcd_backup.save(own, programs, module.params["cluster_id"], module.params["newest"])
    except etcd.EtcdError as error:
        module.fail_json(msg=str(error), commands=error.commands)
    except OSError as error:
        module.fail_json(msg=etcd.trouble(error))
    module.exit_json(changed=True, changes=[etcd_backup.in_words(notes)], path=str(path), notes=notes)


if __name__ == "__main__":
    main()
