#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the SSH keys of the hosts that Docker runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_host_keys
short_description: Install an SSH key on every host and record the host keys
description:
  - Keeps in one folder C(id_ed25519), the key that opens all hosts; C(hosts/NAME), the host key of each, created before
    the host; and C(known_hosts), so that the first connection is checked like any other.
  - Hosts that are no longer named are removed from C(known_hosts); their keys stay, as the hosts may.
options:
  directory: {description: The folder, type: path, required: true}
  hosts: {description: Address of each host by its name, type: dict, default: {}}
  state: {description: C(absent) removes the folder, type: str, choices: [present, absent], default: present}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full, details: [Names files; of keys only the public ones.]}
author: [Yunkube]
"""
EXAMPLES = r"""
- name: Create the SSH keys of the hosts
  docker_host_keys:
    directory: ~/.local/state/yunkube/prod/ssh
    hosts: {master1: 10.77.0.11, node1: 10.77.0.12}

- name: Remove the SSH keys of the hosts
  docker_host_keys:
    directory: ~/.local/state/yunkube/prod/ssh
    state: absent
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
client_key: {description: The private key's file, returned: always, type: str}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.docker.host_keys import CLIENT, KeyFolder, listing


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "hosts": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    directory = Path(module.params["directory"])
    before = listing(directory)
    folder = KeyFolder(module, directory)
    try:
        if module.params["state"] == "present":
            folder.present(module.params["hosts"])
        else:
            folder.absent()
    except OSError as error:
        module.fail_json(msg=f"The keys of the hosts cannot be kept in {directory}: {error}")
    after = before if module.check_mode else listing(directory)
    module.exit_json(
        changed=bool(folder.changes),
        changes=folder.changes,
        client_key=str(directory / CLIENT),
        diff={"before": before, "after": after},
    )


if __name__ == "__main__":
    main()
