#!/usr/bin/python
"""Keep what a host is before its first change."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_record
short_description: Record what a host is, before a cluster changes it
description:
  - Writes packages, units, kernel settings, mounts, network links, routes, the packet filter and the files that a
    cluster could change to C(/var/lib/yunkube/before.json), readable to root alone.
  - M(host_teardown) compares the host with it at the end.
  - A record is never overwritten, so a run that was killed and goes on keeps the first one.
author: [The maintainers]
options:
  cluster: {description: The cluster's name., type: str, required: true}
  packages:
    description: Packages that will be installed by the distribution's own means, for the teardown to know them.
    type: list
    elements: str
    default: []
attributes:
  check_mode: {support: full}
"""
RETURN = r"""
changes: {description: What was (or would be) done., returned: always, type: list, elements: str}
bytes: {description: Size of a new record., returned: when it was written, type: int}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube import host_lock, host_state


def main() -> None:
    """Look, and write what was seen."""
    module = AnsibleModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "packages": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    host_lock.take(module)
    if host_state.read_record() is not None:
        module.exit_json(changed=False, changes=[])
    changes = ["record what the host is now"]
    if module.check_mode:
        module.exit_json(changed=True, changes=changes)
    record = host_state.take(host_state.runner(module), module.params["cluster"])
    missing = [name for name in module.params["packages"] if name not in record["packages"]]
    host_state.remember("packages", missing)
    module.exit_json(changed=True, changes=changes, bytes=host_state.write_record(record))


if __name__ == "__main__":
    main()
