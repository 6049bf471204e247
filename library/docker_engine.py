#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: an engine that answers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_engine
short_description: Ensure that a Docker engine runs and answers
description:
  - An engine that answers on its socket is left as it is.
  - A stopped engine is started, by systemd if that runs, otherwise as a daemon.
  - On Debian and Ubuntu, as root, a missing one is installed from the distribution.
options:
  install: {description: Install the engine if there is none, type: bool, default: true}
  log_file: {description: Where an engine logs that systemd does not manage, type: path, required: true}
  timeout_seconds: {description: How long a started engine may take to answer, type: int, default: 60}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: [Yunkube]
"""
EXAMPLES = r"""
- name: Start the Docker engine, and install it where it is missing
  docker_engine:
    log_file: ~/.cache/yunkube/logs/dockerd.log
  become: true

- name: Start the Docker engine where it is installed
  docker_engine:
    install: false
    log_file: ~/.cache/yunkube/logs/dockerd.log
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
msg: {description: Why no engine answers, returned: "when there is none, with install=false", type: str}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.docker.engine_start import EngineError, bring_engine


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "install": {"type": "bool", "default": True},
            "log_file": {"type": "path", "required": True},
            "timeout_seconds": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        brought = bring_engine(module)
    except EngineError as error:
        module.fail_json(msg=str(error), kind="preflight")
    if brought.none:
        module.exit_json(changed=False, changes=[], msg=brought.none)
    if not brought.changes:
        module.exit_json(changed=False, changes=[])
    diff = {"before": f"Docker engine: {brought.before}\n", "after": "Docker engine: running\n"}
    module.exit_json(changed=True, changes=brought.changes, diff=diff)


if __name__ == "__main__":
    main()
