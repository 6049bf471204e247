#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Claim the cluster for a run, or release the claim."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_claim
short_description: Claim the cluster for a run, or release the claim
description:
  - Runs on the control plane host, for runs whose own modules there do not claim it (see host/run_lock.py).
  - Runs of other control machines are refused as long as the claim is there and has not expired.
author: [Yunkube]
options:
  run: {description: "The run, as C(cluster_run) has it; an empty one claims nothing.", type: dict, default: {}}
  state: {description: Claim the cluster or release it, type: str, choices: [present, absent], default: present}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
attributes:
  check_mode: {support: full}
"""
EXAMPLES = r"""
- name: Claim the cluster for this run
  run_claim:
    run:
      origin: 0123456789abcdef
      owner: alice@laptop
      verb: up
      since: 2026-01-31 12:00:00 UTC
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true

- name: Give the claim back
  run_claim:
    run:
      origin: 0123456789abcdef
      owner: alice@laptop
      verb: up
      since: 2026-01-31 12:00:00 UTC
    state: absent
  delegate_to: master1
  run_once: true
"""
RETURN = r"""
claimed: {description: Whether this run has the claim now., returned: always, type: bool}
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **identity.OPTIONS,
            **host_lock.RUN_SPEC,
        },
        supports_check_mode=True,
    )
    run, wanted = module.params["run"], module.params["state"] == "present"
    if wanted:
        identity.refuse_another(module)
        host_lock.claim_only(module)
    elif run and not module.check_mode:
        host_lock.give_back(run)
    module.exit_json(changed=False, claimed=bool(run) and wanted)


if __name__ == "__main__":
    main()
