#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Bring the kubeconfig of one cluster to a file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeconfig_file
short_description: Write the kubeconfig of one cluster to a file of the control machine
description:
  - Writes a file with only this cluster, or merges the cluster into one with others, as C(kubectl config)
    does, under the lock that kubectl takes. What was there before is kept under another name.
  - A missing folder is created with mode 0700; an existing one is left unchanged.
  - Runs on the control machine, with the Python that runs Ansible. Shows no diff, as the content is secret.
author: [The maintainers]
options:
  path: {description: The file., type: path, required: true}
  cluster: {description: The cluster's name., type: str, required: true}
  content: {description: "The kubeconfig as kubeadm writes it. Without it, O(source) is read.", type: str}
  source:
    description: The cluster's own kubeconfig in the state directory; copies are kept next to it.
    type: path
    required: true
  merge: {description: Whether other clusters in the file stay., type: bool, default: true}
  state:
    description: Whether the cluster is in the file.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
"""
EXAMPLES = r"""
- name: Merge the cluster into the kubeconfig of the user
  kubeconfig_file:
    path: ~/.kube/config
    source: ~/.local/state/yunkube/prod/kubeconfig
    cluster: prod
  delegate_to: localhost

- name: Remove the cluster from the kubeconfig of the user
  kubeconfig_file:
    path: ~/.kube/config
    source: ~/.local/state/yunkube/prod/kubeconfig
    cluster: prod
    state: absent
  delegate_to: localhost
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
backup: {description: "Where the former file is kept, empty if there is none", returned: success, type: str}
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.yunkube.control.kubeconfig import KubeconfigError
from ansible.module_utils.yunkube.control.kubeconfig_file import bring
from ansible.module_utils.yunkube.control.yaml_reader import HAS_YAML


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "cluster": {"type": "str", "required": True},
            "content": {"type": "str", "no_log": True},
            "source": {"type": "path", "required": True},
            "merge": {"type": "bool", "default": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    if not HAS_YAML:
        module.fail_json(msg=missing_required_lib("PyYAML"))
    path = module.params["path"]
    try:
        changes, backup = bring(module.params, check_mode=module.check_mode)
    except KubeconfigError as error:
        remedy = "correct it, or name another file in master_kubeconfig"
        module.fail_json(msg=f"{path}: {error}; it was left as it is", remedy=remedy, kind="config")
    except (OSError, UnicodeDecodeError) as error:
        module.fail_json(msg=f"{path}: {getattr(error, 'strerror', None) or error}")
    module.exit_json(changed=bool(changes), changes=changes, backup=backup)


if __name__ == "__main__":
    main()
