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

import dataclasses
import os
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.cloud import credentials, host_keys, reach
from ansible.module_utils.yunkube.cloud.client import Client
from ansible.module_utils.yunkube.cloud.declaration import ID_TAG, Declaration, Owner
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.existing import of_other_ids
from ansible.module_utils.yunkube.cloud.hosts import Outcome, present
from ansible.module_utils.yunkube.cloud.listing import nothing, rows
from ansible.module_utils.yunkube.cloud.removal import absent
from ansible.module_utils.yunkube.cloud.work import HostsError
from ansible.module_utils.yunkube.constants import VXLAN_PORT
from ansible.module_utils.yunkube.result import Fault, RefusedError

SAME = (
    "masters", "nodes", "image", "disk_category", "disk_gb", "vpc_id", "vpc_cidr", "vswitch_length",
    "cluster_networks", "routed_pods", "route_quota", "overlay_port", "node_ports", "eip", "eip_mbps", "nat", "spot",
    "spot_price_limit", "auto_release_hours", "remove_surplus", "boot_timeout_seconds", "zones", "vswitch_ids",
    "admin_cidrs", "client_cidrs", "ports",
)  # fmt: skip


def declaration(params: t.Mapping[str, t.Any], *, dry_run: bool = False) -> Declaration:
    """Return what the module is asked for."""
    folder = Path(params["ssh_dir"])
    given: dict[str, t.Any] = {
        "owner": Owner(params["cluster"], params["cluster_id"]),
        "types": {"master": params["master_type"], "node": params["node_type"]},
        "public_key": _public_key(Path(params["public_key_file"]), folder, dry_run=dry_run),
        "user_data": lambda name: host_keys.user_data(host_keys.ensure(folder, name)),
    }
    for name in SAME:
        given[name] = tuple(params[name]) if isinstance(params[name], list) else params[name]
    return Declaration(**given)


def _public_key(file: Path, folder: Path, *, dry_run: bool) -> str:
    try:
        return host_keys.client_key(file, folder, dry_run=dry_run)
    except (OSError, UnicodeDecodeError) as error:
        remedy = "create a key pair with `ssh-keygen -t ecdsa`, and set its .pub file"
        raise RefusedError([Fault("public_key_file", f"{file} cannot be read ({error})", remedy)]) from error


def refuse_other_ids(client: Client, owner: Owner, folder: str) -> None:
    """Refuse to take for nothing, or to make again, what a machine with another id of the cluster made."""
    found = of_other_ids(client, owner)
    if not found:
        return
    words = "; ".join(f"{', '.join(things)} with {ID_TAG} {one}" for one, things in sorted(found.items()))
    file = Path(folder).parent / "id" if folder else "cluster_state_dir/id"
    message = f"the account has a cluster {owner.cluster} whose id this machine does not have: {words}"
    remedy = f"copy the state directory of the machine that created it, or write its id to {file};  "
    raise HostsError(f"{message}: {remedy}for another cluster choose another cluster_name")


def make(module: AnsibleModule, client: Client) -> dict[str, t.Any]:
    """Make the hosts, and return the module's result."""
    if not (Path(module.params["ssh_dir"]) / host_keys.FOLDER).exists():  # this machine made none yet
        owner = Owner(module.params["cluster"], module.params["cluster_id"])
        refuse_other_ids(client, owner, module.params["ssh_dir"])
    outcome = present(client, declaration(module.params, dry_run=module.check_mode), dry_run=module.check_mode)
    for warning in outcome.warnings:
        module.warn(warning)
    if not module.check_mode:
        _know(Path(module.params["ssh_dir"]), outcome)
        ask(module.params, outcome)
    changes = list(outcome.changes)
    count = sum(change.startswith("create host ") for change in changes)
    if count:
        changes.append(f"new hosts, {count} of them: {outcome.cost}")
    return {
        "changes": changes,
        "hosts": [dataclasses.asdict(host) for host in outcome.hosts],
        "surplus": outcome.surplus,
        "per_hour": outcome.per_hour,
    }


def _know(folder: Path, outcome: Outcome) -> None:
    """Write the host keys of all hosts into the cluster's known_hosts, before any is reached."""
    keys = {host.name: host_keys.read(folder, host.name) for host in outcome.hosts}
    places = {host.name: [host.private, host.public] for host in outcome.hosts}
    host_keys.write_known_hosts(folder, host_keys.known_hosts(keys, places))


def ask(params: t.Mapping[str, t.Any], outcome: Outcome) -> None:
    """Refuse to say that all is well where a host does not answer."""
    seconds = params["ssh_timeout_seconds"]
    public = params["connect"] == "public"
    addresses = {host.name: (public and host.public) or host.private for host in outcome.hosts}
    options = params["ssh_arguments"]
    if seconds and (late := reach.silent(addresses, seconds, arguments=options)):
        words = ", ".join(f"{name} ({addresses[name]})" for name in late)
        if reach.JUMP.search(options):
            remedy = f"admin_cidrs must hold the jump host's address; try `ssh {options} root@{addresses[late[0]]}`"
        else:
            remedy = "admin_cidrs must hold this machine's address, and a private address needs a way into the VPC"
        console = "see the host's console output in the ECS console"
        raise HostsError(f"{words}: SSH does not answer after {seconds} s: {remedy}; {console}")


def show(params: t.Mapping[str, t.Any], client: Client) -> dict[str, t.Any]:
    """Return what there is as a table; nothing is changed."""
    owner = Owner(params["cluster"], params["cluster_id"])
    same = {name: params[name] for name in ("disk_category", "disk_gb", "spot")}
    if owner.cluster_id:
        return {"changes": [], "table": rows(client, owner, Declaration(owner, 0, 0, {}, **same))}
    refuse_other_ids(client, owner, "")
    return {"changes": [], "table": nothing(owner)}


def remove(module: AnsibleModule, client: Client) -> dict[str, t.Any]:
    """Remove what is the cluster's, and return the module's result."""
    owner = Owner(module.params["cluster"], module.params["cluster_id"])
    if not owner.cluster_id:
        refuse_other_ids(client, owner, "")
        return {"changes": []}
    removal = absent(client, owner, dry_run=module.check_mode)
    if removal.remains:
        left = "; ".join(removal.remains)
        module.fail_json(msg=f"not removed, and may still cost money: {left}", changes=removal.changes)
    return {"changes": removal.changes, "table": [] if module.check_mode else nothing(owner)}


def spec() -> dict[str, dict[str, t.Any]]:
    """Return the argument spec."""
    text, number, switch = {"type": "str"}, {"type": "int"}, {"type": "bool", "default": False}
    words = {"type": "list", "elements": "str", "default": []}
    return {
        "region": {**text, "required": True},
        "endpoints": {"type": "dict", "default": {}},
        "ca": {"type": "path", "default": ""},
        "cluster": {**text, "required": True},
        "cluster_id": {**text, "required": True},
        "state": {**text, "choices": ["present", "absent", "listed"], "default": "present"},
        "masters": {**number, "default": 1},
        "nodes": {**number, "default": 0},
        "master_type": {**text, "default": ""},
        "node_type": {**text, "default": ""},
        "image": text,
        "disk_category": {**text, "default": "cloud_essd"},
        "disk_gb": {**number, "default": 40},
        "zones": words,
        "vpc_id": {**text, "default": ""},
        "vpc_cidr": {**text, "default": "10.20.0.0/16"},
        "vswitch_ids": words,
        "vswitch_length": {**number, "default": 20},
        "public_key_file": {"type": "path"},
        "ssh_dir": {"type": "path"},
        "admin_cidrs": words,
        "client_cidrs": words,
        "cluster_networks": {"type": "dict", "default": {}},
        "routed_pods": switch,
        "route_quota": {**number, "default": 200},
        "overlay_port": {**number, "default": VXLAN_PORT},
        "ports": {"type": "list", "elements": "int", "default": []},
        "node_ports": {**text, "default": "30000-32767"},
        "eip": {**text, "choices": ["none", "masters", "all"], "default": "none"},
        "eip_mbps": {**number, "default": 10},
        "nat": switch,
        "spot": switch,
        "spot_price_limit": {"type": "float", "default": 0},
        "auto_release_hours": {**number, "default": 0},
        "remove_surplus": switch,
        "boot_timeout_seconds": {**number, "default": 300},
        "connect": {**text, "choices": ["private", "public"], "default": "private"},
        "ssh_arguments": {**text, "default": ""},
        "ssh_timeout_seconds": {**number, "default": 0},
    }


def main() -> None:
    """Run the module."""
    needed = ("image", "master_type", "node_type", "public_key_file", "ssh_dir")
    module = AnsibleModule(argument_spec=spec(), required_if=[("state", "present", needed)], supports_check_mode=True)
    params = module.params
    if params["state"] == "present" and not params["cluster_id"] and not module.check_mode:
        module.fail_json(
            msg="cluster_id is empty: hosts are created after the cluster's id (roles/cluster, identity.yml)"
        )
    client = Client(params["region"], lambda: credentials.find(os.environ), params["endpoints"], params["ca"])
    try:
        if params["state"] == "listed":
            result = show(params, client)
        else:
            result = make(module, client) if params["state"] == "present" else remove(module, client)
    except RefusedError as refused:
        module.fail_json(**refused.report.as_failure())
    except (CloudError, HostsError, credentials.CredentialsError, host_keys.HostKeyError) as error:
        module.fail_json(msg=str(error))
    changes = result.pop("changes")
    diff = {"before": "", "after": "".join(f"{change}\n" for change in changes)}
    module.exit_json(changed=bool(changes), changes=changes, diff=diff, calls=client.calls, **result)


if __name__ == "__main__":
    main()
