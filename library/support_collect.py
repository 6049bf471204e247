#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Gather what a person who helps from afar wants to see of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: support_collect
short_description: Gather logs, states and files of a host for a support bundle
description:
  - Only reads. Only the end of a long part is kept, so that all stays small. Keys, tokens and Secrets are not read.
author: [The maintainers]
options:
  master: {description: Whether to ask the API as well., type: bool, required: true}
  limit: {description: Bytes of each part; of a longer one only the end is kept., type: int, default: 131072}
attributes:
  check_mode: {support: full, details: [It only reads.]}
"""
EXAMPLES = r"""
- name: Gather logs and states of a master
  support_collect:
    master: true
  register: support

- name: Gather at most 16 KiB of each log of a node
  support_collect:
    master: false
    limit: 16384
  register: support
"""
RETURN = r"""
parts: {description: "Name of a part, such as C(journal/kubelet.log): its text", returned: always, type: dict}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.doctor.support import collect


def main() -> None:
    """Run the module."""
    spec: dict[str, dict[str, object]] = {
        "master": {"type": "bool", "required": True},
        "limit": {"type": "int", "default": 1 << 17},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    parts = collect(Path("/"), master=module.params["master"], limit=module.params["limit"])
    module.exit_json(changed=False, parts=parts)


if __name__ == "__main__":
    main()
