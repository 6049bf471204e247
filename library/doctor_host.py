#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Look at a host for the doctor."""

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_host
short_description: Gather what the doctor needs from a host
description:
  - One call, which only reads and ends within seconds, whatever is broken on the host.
author: [The maintainers]
options:
  host: {description: The name of the host in the inventory., type: str, required: true}
  master: {description: Whether it runs the control plane., type: bool, required: true}
  plan:
    description: What the host tries of the data plane, of C(paths) of M(doctor_cluster)'s facts.
    type: dict
    default: {}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
attributes:
  check_mode: {support: full, details: [It only reads.]}
"""
EXAMPLES = r"""
- name: Look at a master
  doctor_host:
    host: master1
    master: true

- name: Look at a node, and refuse one of another cluster
  doctor_host:
    host: node1
    master: false
    cluster: prod
    cluster_id: 0123456789abcdef
"""
RETURN = r"""
facts: {description: C(HostFacts) of module_utils/yunkube/doctor/facts.py., returned: always, type: dict}
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.doctor.collect_host import collect_host
from ansible.module_utils.yunkube.doctor.facts import as_json
from ansible.module_utils.yunkube.host import identity


def main() -> None:
    """Run the module."""
    spec: dict[str, dict[str, object]] = {
        "host": {"type": "str", "required": True},
        "master": {"type": "bool", "required": True},
        "plan": {"type": "dict", "default": {}},
        **identity.OPTIONS,
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    identity.refuse_another(module)
    options = module.params
    facts = collect_host(options["host"], master=options["master"], plan=options["plan"])
    module.exit_json(changed=False, facts=as_json(facts))


if __name__ == "__main__":
    main()
