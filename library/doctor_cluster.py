#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ask the API for the doctor."""

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_cluster
short_description: Gather what the doctor needs from the API
description:
  - Runs on a master and only reads. When the API does not answer, the facts have the reason.
author: [The maintainers]
options:
  host: {description: The name of the host in the inventory., type: str, required: true}
  declared:
    description: Manifests that the cluster is to have; those that are missing or differ are named.
    type: list
    elements: dict
    default: []
  addons:
    description: "Deployments that the inventory has chosen, as C(Deployment dashboard/dashboard)."
    type: list
    elements: str
    default: []
  proxy: {description: What the inventory sets of kube-proxy's configuration., type: dict, default: {}}
  patches:
    description:
      - "kubeadm's patches with which CoreDNS and kube-proxy were made, each a dictionary of target and strategic merge
        patch."
    type: list
    elements: dict
    default: []
  address: {description: "This master's address, where its API has a name.", type: str, default: ""}
attributes:
  check_mode: {support: full, details: [It only reads.]}
"""
EXAMPLES = r"""
- name: Read from the API what the doctor needs
  doctor_cluster:
    host: master1
  register: cluster
"""
RETURN = r"""
facts: {description: C(ClusterFacts) of module_utils/yunkube/doctor/facts.py., returned: always, type: dict}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.doctor.collect_cluster import Declared, collect_cluster
from ansible.module_utils.yunkube.doctor.facts import as_json


def main() -> None:
    """Run the module."""
    spec: dict[str, dict[str, object]] = {
        "host": {"type": "str", "required": True},
        "declared": {"type": "list", "elements": "dict", "default": []},
        "addons": {"type": "list", "elements": "str", "default": []},
        "proxy": {"type": "dict", "default": {}},
        "patches": {"type": "list", "elements": "dict", "default": []},
        "address": {"type": "str", "default": ""},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    options = module.params
    declared = Declared(*(options[name] for name in ("declared", "addons", "proxy", "patches", "address")))
    facts = collect_cluster(options["host"], declared=declared)
    module.exit_json(changed=False, facts=as_json(facts))


if __name__ == "__main__":
    main()
