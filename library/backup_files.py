#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""List the snapshots of etcd in a folder, choose one, or put one there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_files
short_description: List the snapshots of etcd in a folder, choose one, or put one there
description:
  - The files that M(etcd_snapshot) or the timer of role backup made, the newest first, with size and age. A folder that
    is not there holds none.
  - In state C(noted) it reads the notes of the newest, in state C(chosen) those of the one that is meant. In state
    C(begun) it creates the file for the owner alone in which a copy is to arrive, and deletes what killed runs left; in
    state C(kept) it checks the copy and gives it its name.
author: [The maintainers]
options:
  folder: {description: The folder., type: path, required: true}
  where: {description: What the rows call the place., type: str, default: ""}
  only: {description: "The name of one file, for C(begun) and C(kept); empty for all.", type: str, default: ""}
  state: {description: What to do, type: str, choices: [listed, noted, chosen, begun, kept], default: listed}
  cluster:
    description: A cluster's name. The newest is then one that C(backup) saved of it; a folder may hold those of others.
    type: str
    default: ""
  file: {description: "For state C(chosen), the path that is meant, by default the newest.", type: str, default: ""}
  notes: {description: "For state C(kept), what M(etcd_snapshot) noted.", type: dict, default: {}}
attributes:
  check_mode: {support: full}
"""
EXAMPLES = r"""
- name: List the snapshots that the timer made
  backup_files:
    folder: /var/lib/yunkube/backups
    where: master1

- name: Read the notes of the newest backup
  backup_files:
    folder: ~/.local/state/yunkube/prod/backups
    state: chosen
    cluster: prod
"""
RETURN = r"""
table:
  description: >-
    In states C(listed) and C(kept), a row for each, with C(target), C(path), C(size) in bytes, C(age) in seconds and
    C(encrypted).
  returned: success
  type: list
  elements: dict
newest: {description: "The path of the newest that is not encrypted, empty without one.", returned: success, type: str}
path: {description: "The backup, or the file in which the copy is to arrive.", returned: success, type: str}
noted:
  description: What was noted of the chosen one, or of the newest that has notes; empty without any.
  returned: success
  type: dict
incoming: {description: "A folder's name of this run's own, in state C(chosen).", returned: success, type: str}
changes: {description: "What was (or would be) done.", returned: always, type: list, elements: str}
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.kube import etcd, etcd_files
from ansible.module_utils.yunkube.kube.etcd_backup import listing


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "where": {"type": "str", "default": ""},
            "only": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["listed", "noted", "chosen", "begun", "kept"], "default": "listed"},
            "cluster": {"type": "str", "default": ""},
            "file": {"type": "str", "default": ""},
            "notes": {"type": "dict", "default": {}},
        },
        required_if=[("state", "begun", ["only"]), ("state", "kept", ["only", "notes"])],
        supports_check_mode=True,
    )
    options, state = module.params, module.params["state"]
    folder = Path(options["folder"]).expanduser()
    path, act = folder / options["only"], not module.check_mode
    found, changes = etcd_files.Chosen("", {}, ""), []
    try:
        if state == "begun":
            changes = [f"delete {name}, of a run that was killed" for name in (etcd_files.begin(path) if act else ())]
        elif state == "kept":
            etcd_files.keep(path, options["notes"]) if act else None
            changes = [f"keep the backup {path}"]
        table = listing(folder, options["where"], time.time(), options["only"])
        newest = next(iter(etcd_files.own(table, options["cluster"])), "")
        if state == "chosen":
            found = etcd_files.choose(options["file"], newest, folder)
        elif state == "noted":
            found = found._replace(notes=etcd_files.last_notes(table, options["cluster"]))
    except etcd.EtcdError as error:
        module.fail_json(msg=str(error), changes=changes, commands=error.commands)
    except OSError as error:
        module.fail_json(msg=etcd.trouble(error), changes=changes)
    where = found.path or (str(etcd_files.part_of(path)) if state == "begun" else str(path))
    more = {"newest": newest, "path": where, "noted": found.notes, "incoming": found.folder}
    shown = table if state in ("listed", "kept") else []
    module.exit_json(changed=bool(changes), changes=changes, table=shown, **more)


if __name__ == "__main__":
    main()
