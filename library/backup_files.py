#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""List the snapshots of etcd in a folder."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_files
short_description: List the snapshots of etcd in a folder
description:
  - The files that M(etcd_snapshot) or the timer of role backup made, the newest first, with size and age. A folder that
    is not there holds none.
author: [The maintainers]
options:
  folder: {description: The folder., type: path, required: true}
  where: {description: What the rows call the place., type: str, default: ""}
  only: {description: "The name of one file; empty for all.", type: str, default: ""}
attributes:
  check_mode: {support: full, details: [It only reads.]}
"""
EXAMPLES = r"""
- name: List the snapshots that the timer made
  backup_files:
    folder: /var/lib/yunkube/backups
    where: master1
"""
RETURN = r"""
table:
  description: A row for each, with C(target), C(path), C(size) in bytes, C(age) in seconds and C(encrypted).
  returned: success
  type: list
  elements: dict
newest: {description: "The path of the newest that is not encrypted, empty without one.", returned: success, type: str}
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.kube.etcd_backup import listing


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "where": {"type": "str", "default": ""},
            "only": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    options = module.params
    table = listing(Path(options["folder"]).expanduser(), options["where"], time.time(), options["only"])
    newest = next((row["path"] for row in table if not row["encrypted"]), "")
    module.exit_json(changed=False, table=table, newest=newest)


if __name__ == "__main__":
    main()
