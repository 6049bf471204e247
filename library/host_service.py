#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Write the files of a systemd service, and have it enabled and running what they say."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_service
short_description: Write a service's files, enable it, start it, and restart it when they are newer than its process
description:
  - Writes the files that differ, each in one step, makes systemd read changed units, enables and starts the service.
  - Restarts it when something that it reads changed after its process started. The host itself shows that, so a run
    that is killed between a change and the restart is completed by the next one, where a handler would be forgotten.
author: [The maintainers]
options:
  name: {description: "The unit, such as C(containerd.service).", type: str, required: true}
  files:
    description: The files, in the order in which they are written; missing parent folders are created (0755).
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Path of the file., type: path, required: true}
      content: {description: The whole text., type: str, required: true}
      mode: {description: "Permissions as an octal string, such as C('0644').", type: str, default: "0644"}
      restart: {description: Whether the service reads it only when it starts., type: bool, default: true}
      secret: {description: "Whether its text shows nowhere, not in a diff either.", type: bool, default: false}
  programs: {description: Other programs that the process consists of., type: list, elements: path, default: []}
  changed_paths:
    description: Programs that this run changed; in check mode they are still the old ones, so they are named here.
    type: list
    elements: path
    default: []
  start_condition: {description: The service is started only where this path exists., type: path}
  state:
    description: Whether there is such a service; C(absent) stops and disables it and removes its files.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode: {support: full, details: [A unit that does not exist yet would be enabled and started.]}
  diff_mode: {support: full}
"""
EXAMPLES = r"""
- name: Run containerd with its configuration
  host_service:
    name: containerd.service
    files:
      - path: /etc/containerd/config.toml
        content: |
          version = 3
      - path: /etc/default/containerd
        content: |
          HTTPS_PROXY=http://10.77.0.2:3128
        mode: "0600"
        secret: true
    programs: [/usr/local/bin/containerd]

- name: Enable the kubelet, and start it only on a host that has joined
  host_service:
    name: kubelet.service
    start_condition: /var/lib/kubelet/config.yaml
"""
RETURN = r"""
changed_paths:
  description: The files that were (or would be) written.
  returned: always
  type: list
  elements: str
changes: {description: What was (or would be) done., returned: always, type: list, elements: str}
journal: {description: The end of the service's log., returned: when systemd fails to act, type: list, elements: str}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.host.files import secret_contents
from ansible.module_utils.yunkube.host.service import SERVICE_SPEC, bring_service


def main() -> None:
    """Compare, then ask systemd."""
    # As a whole: Ansible finds a hidden value in its line of the journal only where no letter of it is escaped.
    spec = {**SERVICE_SPEC, "files": {**SERVICE_SPEC["files"], "no_log": True}}
    spec["changed_paths"] = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    host_lock.take(module)
    # The journal has its line; in the result, paths and the texts of other files are no secrets.
    module.no_log_values = secret_contents(module.params["files"])
    done = bring_service(module, module.params, module.params["changed_paths"])
    changed = bool(done.changes)
    module.exit_json(changed=changed, changes=done.changes, changed_paths=done.written, diff=done.diff)


if __name__ == "__main__":
    main()
