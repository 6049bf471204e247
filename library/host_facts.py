#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Gather the few facts that the roles read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: Gather the few facts that the roles read, under Ansible's own names
description:
  - A facts module (C(ansible_facts_modules)) in place of M(ansible.builtin.setup), which takes several times as long to
    find hundreds of facts that nothing here uses.
options:
  pending:
    description: Hosts that have to be created or started first. In check mode they are unreachable, without a try.
    type: list
    elements: str
    default: []
author: [The maintainers]
attributes:
  check_mode: {support: full, details: [Changes nothing in any mode.]}
"""
EXAMPLES = r"""
- name: Gather the facts that the roles read
  host_facts:
    pending: [node2]
"""
RETURN = r"""
ansible_facts:
  description:
    - C(distribution) and C(distribution_major_version) as C(Debian), C(12); C(os_family) as C(Debian), C(RedHat).
    - C(pkg_mgr) as C(apt), C(dnf). C(default_ipv4) with C(address), C(network), C(prefix) and C(interface) of the
      default route; empty where there is none.
  returned: always
  type: dict
"""

import json
import shutil
import sys
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host.network import default_ipv4
from ansible.module_utils.yunkube.host.os_release import distribution, parse_os_release


def main() -> None:
    """Run the module."""
    options = {"pending": {"type": "list", "elements": "str", "default": []}}  # the action's
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    if sys.version_info < constants.OLDEST_PYTHON:  # Ansible itself accepts 3.8
        module.fail_json(f"Python {sys.version.split()[0]} is too old: {constants.PYTHON_NEEDED}")
    facts: dict[str, t.Any] = dict(distribution(parse_os_release(Path("/etc/os-release").read_text())))
    answers = []
    for what in ("route", "address"):
        program = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")
        rc, out, _ = module.run_command([program, "-json", "-4", what, "show"]) if program else (1, "", "")
        answers.append(json.loads(out) if rc == 0 and out.strip() else [])
    facts["default_ipv4"] = default_ipv4(*answers)
    module.exit_json(changed=False, ansible_facts={f"ansible_{name}": value for name, value in facts.items()})


if __name__ == "__main__":
    main()
