#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the hosts of one cluster, as ECS instances of Alibaba Cloud."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alicloud_hosts
short_description: Create the hosts of a cluster on Alibaba Cloud
description:
  - Keeps a VPC with a vSwitch in each zone, a security group for masters and one for nodes, a key pair, and one ECS
    instance for each host, all of them created with the cluster's name and id as tags. Whatever does not
    have both tags is never changed or removed.
  - All faults are reported at once, before anything is created. The next run completes what an interrupted
    one left. Where a zone has no more instances of a type, the next zone is used.
  - Runs on the control machine; credentials come from the places where Alibaba Cloud's tools look for them.
options:
  region: {description: "The region, such as C(cn-hangzhou)", type: str, required: true}
  endpoints: {description: API endpoints other than the defaults, by C(ecs) and C(vpc), type: dict, default: {}}
  ca: {description: A PEM file with the CA of those endpoints, type: path, default: ""}
  cluster: {description: The cluster's name, type: str, required: true}
  cluster_id: {description: "The cluster's id, empty before there is one", type: str, required: true}
  state:
    description: C(absent) removes all that carries the id, C(listed) only shows it.
    type: str
    choices: [present, absent, listed]
    default: present
  masters: {description: How many masters, type: int, default: 1}
  nodes: {description: How many nodes, type: int, default: 0}
  master_type: {description: Instance type of masters, type: str, default: ""}
  node_type: {description: Instance type of nodes, type: str, default: ""}
  image: {description: "C(debian12), C(debian13), C(ubuntu2204), C(ubuntu2404), or an image's id or family", type: str}
  disk_category: {description: Category of the system disk, type: str, default: cloud_essd}
  disk_gb: {description: Size of the system disk, type: int, default: 40}
  zones: {description: Zones over which hosts are spread, type: list, elements: str, default: []}
  vpc_id: {description: "An existing VPC, which is kept", type: str, default: ""}
  vpc_cidr: {description: The network of a VPC to create, type: str, default: 10.20.0.0/16}
  vswitch_ids: {description: "Existing vSwitches, which are kept", type: list, elements: str, default: []}
  vswitch_length: {description: Prefix length of vSwitches to create, type: int, default: 20}
  public_key_file:
    description: A public SSH key, RSA or ECDSA. In O(ssh_dir) a key pair is created if both files are missing.
    type: path
  ssh_dir:
    description: The folder for the SSH host keys of the hosts (C(hosts/)) and known_hosts.
    type: path
  admin_cidrs: {description: Networks that reach SSH and the API, type: list, elements: str, default: []}
  client_cidrs: {description: Networks that reach node ports, type: list, elements: str, default: []}
  cluster_networks:
    description: Networks that the cluster uses internally, by the key that sets them.
    type: dict
    default: {}
  routed_pods:
    description: "Pods reach hosts with their own addresses, because the VPC has a route to the pods of each host."
    type: bool
    default: false
  route_quota: {description: "With routed_pods, custom routes that a route table may hold", type: int, default: 200}
  overlay_port:
    description: The UDP port of flannel's backend between hosts, 0 for a backend without one.
    type: int
    default: 8472
  ports: {description: Further TCP ports that hosts and administrators reach, type: list, elements: int, default: []}
  node_ports: {description: "Node ports, first and last", type: str, default: 30000-32767}
  eip: {description: Hosts with a public address, type: str, choices: [none, masters, all], default: none}
  eip_mbps: {description: Bandwidth limit of a public address in Mbit/s, type: int, default: 10}
  nat:
    description:
      - Whether hosts without a public address use a NAT gateway with one public address. One that is no longer declared
        stays with a warning, unless O(remove_surplus) is set.
    type: bool
    default: false
  spot: {description: Use spot instances, type: bool, default: false}
  spot_price_limit:
    description: The highest price per hour of a spot instance, 0 for the market price.
    type: float
    default: 0
  auto_release_hours:
    description: Hours after which a new host is released by the cloud, 0 for never.
    type: int
    default: 0
  remove_surplus:
    description: Remove surplus hosts, the highest numbers first. They must have left the cluster.
    type: bool
    default: false
  boot_timeout_seconds: {description: Seconds until instances must run, type: int, default: 300}
  connect:
    description: The address at which this machine reaches hosts, where they have a public one.
    type: str
    choices: [private, public]
    default: private
  ssh_arguments:
    description: Arguments for OpenSSH. If they name a jump host, hosts are reached through it.
    type: str
    default: ""
  ssh_timeout_seconds: {description: "Seconds until SSH servers must answer, 0 to skip it", type: int, default: 0}
attributes:
  check_mode: {support: full, details: [Reports what would be created, and what it costs an hour.]}
  diff_mode: {support: full}
author: [Yunkube]
"""
EXAMPLES = r"""
- name: Create one master and two nodes
  alicloud_hosts:
    region: cn-hangzhou
    cluster: prod
    cluster_id: 0123456789abcdef
    masters: 1
    nodes: 2
    master_type: ecs.g7.large
    node_type: ecs.g7.large
    image: debian12
    public_key_file: ~/.ssh/id_ecdsa.pub
    ssh_dir: ~/.local/state/yunkube/prod/ssh
    admin_cidrs: [203.0.113.7/32]
    eip: masters

- name: List what is in the account for the cluster
  alicloud_hosts:
    region: cn-hangzhou
    cluster: prod
    cluster_id: 0123456789abcdef
    state: listed

- name: Remove the hosts and the network that was created for them
  alicloud_hosts:
    region: cn-hangzhou
    cluster: prod
    cluster_id: 0123456789abcdef
    state: absent
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
hosts:
  description: The existing hosts - C(name), C(role), C(id), C(zone), C(type), C(private), C(public).
  returned: with state=present
  type: list
  elements: dict
surplus:
  description: Surplus hosts, which stay.
  returned: with state=present
  type: list
  elements: str
per_hour:
  description: The hourly cost of new hosts, empty if it is unknown.
  returned: with state=present
  type: float
table:
  description: The resources in the account, a row each - C(check), C(target), C(ok), C(detail).
  returned: with state=listed, and after a removal
  type: list
  elements: dict
faults:
  description: What is wrong, in the form that docs/events.md describes; C(check) is the option.
  returned: when the declaration is refused
  type: list
  elements: dict
calls: {description: How many calls to the API were made, returned: success, type: int}
"""

import os
import sys

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.cloud import credentials
from ansible.module_utils.yunkube.cloud.account import SPEC, RemainsError, bring
from ansible.module_utils.yunkube.cloud.client import Client
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.host_keys import HostKeyError
from ansible.module_utils.yunkube.cloud.work import HostsError
from ansible.module_utils.yunkube.result import RefusedError


def main() -> None:
    """Run the module."""
    needed = ("image", "master_type", "node_type", "public_key_file", "ssh_dir")
    module = AnsibleModule(argument_spec=SPEC, required_if=[("state", "present", needed)], supports_check_mode=True)
    params = module.params
    if params["state"] == "present" and not params["cluster_id"] and not module.check_mode:
        module.fail_json(
            msg="cluster_id is empty: hosts are created after the cluster's id (roles/cluster, identity.yml)"
        )
    try:
        client = Client(params["region"], lambda: credentials.find(os.environ), params["endpoints"], params["ca"])
        result = bring(params, client, dry_run=module.check_mode, warn=module.warn)
    except ModuleNotFoundError as error:
        module.fail_json(msg=f"{error.name} is not installed for {sys.executable}: run ./scripts/setup", changes=[])
    except RefusedError as refused:
        module.fail_json(**refused.report.as_failure())
    except RemainsError as error:
        module.fail_json(msg=str(error), changes=error.changes)
    except (CloudError, HostsError, credentials.CredentialsError, HostKeyError) as error:
        module.fail_json(msg=str(error))
    changes = result.pop("changes")
    diff = {"before": "", "after": "".join(f"{change}\n" for change in changes)}
    module.exit_json(changed=bool(changes), changes=changes, diff=diff, calls=client.calls, **result)


if __name__ == "__main__":
    main()
