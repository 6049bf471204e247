#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Routes of a VPC to the pods of each node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alicloud_routes
short_description: Keep routes of a VPC to the pods of each node
description:
  - Each node gets a route from its pods' range to its instance, in every route table that the cluster's
    instances use. Routes of nodes that are gone are deleted.
  - Routes have the cluster's id in their description. Other routes stay unchanged; one that takes the traffic to a
    node's pods is a fault, as are a quota that is too low and pods in a vSwitch's range. All are reported before
    the first route is written.
  - Runs on the control machine, whose access key it uses; see the inventory plugin C(alicloud).
author: [The maintainers]
options:
  nodes:
    description: "By name of the node, C({cidr, address}): its pods' range and its private address."
    type: dict
    default: {}
  state:
    description: C(absent) deletes all routes of the cluster.
    type: str
    choices: [present, absent]
    default: present
  cluster: {description: "The cluster's name, which its instances are tagged with.", type: str, required: true}
  cluster_id: {description: "The cluster's id; it marks the routes.", type: str, required: true}
  region: {description: The region of the VPC., type: str, required: true}
  endpoints: {description: "Endpoints other than the defaults, by C(ecs) and C(vpc).", type: dict, default: {}}
  ca: {description: A PEM file with the CA of those endpoints., type: path, default: ""}
  quota: {description: Custom routes that a table may have., type: int, default: 200}
attributes:
  check_mode: {support: full, details: [Everything is checked, and nothing written.]}
  diff_mode: {support: full, details: [The cluster's routes.]}
"""
EXAMPLES = r"""
- name: Keep a route to each node's pods
  alicloud_routes:
    nodes:
      master1: {cidr: 10.244.0.0/24, address: 10.20.0.11}
      node1: {cidr: 10.244.1.0/24, address: 10.20.0.12}
    cluster: prod
    cluster_id: 0123456789abcdef
    region: cn-hangzhou
  delegate_to: localhost

- name: Delete the routes of the cluster
  alicloud_routes:
    state: absent
    cluster: prod
    cluster_id: 0123456789abcdef
    region: cn-hangzhou
  delegate_to: localhost
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
calls: {description: How many calls to the API were made., returned: success, type: int}
faults:
  description: Why the routes cannot be created, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

import os
import sys
from dataclasses import replace

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.cloud import credentials
from ansible.module_utils.yunkube.cloud.client import Client
from ansible.module_utils.yunkube.cloud.declaration import QUOTA
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.routes import Routes, RoutesError, bring, diff


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "cluster": {"type": "str", "required": True},
            "cluster_id": {"type": "str", "required": True},
            "region": {"type": "str", "required": True},
            "endpoints": {"type": "dict", "default": {}},
            "ca": {"type": "path", "default": ""},
            "quota": {"type": "int", "default": QUOTA},
        },
        supports_check_mode=True,
    )
    params = module.params
    for name in ("cluster", "cluster_id", "region"):
        if not params[name]:
            module.fail_json(msg=f"{name} is empty", kind="config", changes=[])
    if params["state"] == "present" and not params["nodes"]:
        module.fail_json(msg="nodes is empty, so every route would be deleted: use state absent for that", changes=[])
    try:
        client = Client(params["region"], lambda: credentials.find(os.environ), params["endpoints"], params["ca"])
        routes = Routes(client, params["cluster"], params["cluster_id"])
        plan, found = bring(routes, params, dry_run=module.check_mode)
    except ModuleNotFoundError as error:
        module.fail_json(msg=f"{error.name} is not installed for {sys.executable}: run ./scripts/setup", changes=[])
    except RoutesError as error:
        report = replace(error.report, kind="") if routes.changes else error.report
        module.fail_json(**report.as_failure(), changes=routes.changes)
    except (CloudError, credentials.CredentialsError) as error:
        module.fail_json(msg=str(error), changed=bool(routes.changes), changes=routes.changes)
    done = routes.changes
    module.exit_json(changed=bool(done), changes=done, calls=client.calls, diff=diff(plan, found, params["cluster_id"]))


if __name__ == "__main__":
    main()
