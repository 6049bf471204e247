# SPDX-License-Identifier: Apache-2.0
"""What a cluster has in its account of Alibaba Cloud, for the machine that makes it, lists it and removes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.yunkube.cloud import host_keys, reach
from ansible.module_utils.yunkube.cloud.client import Client
from ansible.module_utils.yunkube.cloud.declaration import ID_TAG, QUOTA, Declaration, Owner
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.existing import Existing, look, of_other_ids
from ansible.module_utils.yunkube.cloud.hosts import Outcome, present
from ansible.module_utils.yunkube.cloud.listing import nothing, rows
from ansible.module_utils.yunkube.cloud.removal import Removal, absent
from ansible.module_utils.yunkube.cloud.work import HostsError
from ansible.module_utils.yunkube.constants import VXLAN_PORT
from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.result import Fault, RefusedError

SAME = (
    "masters", "nodes", "image", "disk_category", "disk_gb", "vpc_id", "vpc_cidr", "vswitch_length",
    "cluster_networks", "routed_pods", "route_quota", "overlay_port", "node_ports", "eip", "eip_mbps", "nat", "spot",
    "spot_price_limit", "auto_release_hours", "remove_surplus", "boot_timeout_seconds", "zones", "vswitch_ids",
    "admin_cidrs", "client_cidrs", "ports",
)  # fmt: skip
# What the module's argument spec says of an account and of what a cluster has in it.
_NUMBERS = {
    "masters": 1, "nodes": 0, "disk_gb": 40, "vswitch_length": 20, "route_quota": QUOTA, "overlay_port": VXLAN_PORT,
    "eip_mbps": 10, "auto_release_hours": 0, "boot_timeout_seconds": 300, "ssh_timeout_seconds": 0,
}  # fmt: skip
_TEXT, _PATH, _SWITCH = {"type": "str"}, {"type": "path"}, {"type": "bool", "default": False}
_OPTIONAL, _WORDS = {**_TEXT, "default": ""}, {"type": "list", "elements": "str", "default": []}
SPEC: dict[str, dict[str, Any]] = {
    "region": {**_TEXT, "required": True},
    "cluster": {**_TEXT, "required": True},
    "cluster_id": {**_TEXT, "required": True},
    **dict.fromkeys(("master_type", "node_type", "vpc_id", "ssh_arguments"), _OPTIONAL),
    **dict.fromkeys(("zones", "vswitch_ids", "admin_cidrs", "client_cidrs"), _WORDS),
    **dict.fromkeys(("routed_pods", "nat", "spot", "remove_surplus"), _SWITCH),
    **dict.fromkeys(("public_key_file", "ssh_dir"), _PATH),
    **{name: {"type": "int", "default": default} for name, default in _NUMBERS.items()},
    "endpoints": {"type": "dict", "default": {}},
    "ca": {**_PATH, "default": ""},
    "state": {**_TEXT, "choices": ["present", "absent", "listed"], "default": "present"},
    "image": _TEXT,
    "disk_category": {**_TEXT, "default": "cloud_essd"},
    "vpc_cidr": {**_TEXT, "default": "10.20.0.0/16"},
    "cluster_networks": {"type": "dict", "default": {}},
    "ports": {"type": "list", "elements": "int", "default": []},
    "node_ports": {**_TEXT, "default": "30000-32767"},
    "eip": {**_TEXT, "choices": ["none", "masters", "all"], "default": "none"},
    "spot_price_limit": {"type": "float", "default": 0},
    "connect": {**_TEXT, "choices": ["private", "public"], "default": "private"},
}


class RemainsError(HostsError):
    """Something is left; `changes` are what was removed."""

    def __init__(self, removal: Removal) -> None:
        """Name what is left."""
        super().__init__(f"not removed, and may still cost money: {'; '.join(removal.remains)}")
        self.changes = removal.changes


def bring(params: Mapping[str, Any], client: Client, *, dry_run: bool, warn: Callable[[str], None]) -> dict[str, Any]:
    """Bring the account to the state that is asked for, or show what is there; return the module's result."""
    _refuse_other_region(params)
    if params["state"] == "listed":
        return _show(params, client)
    if params["state"] == "absent":
        return _remove(params, client, dry_run=dry_run, warn=warn)
    return _make(params, client, dry_run=dry_run, warn=warn)


def _declaration(params: Mapping[str, Any], *, dry_run: bool) -> Declaration:
    """Return what the module is asked for."""
    folder = Path(params["ssh_dir"])
    given: dict[str, Any] = {
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


def _refuse_other_ids(client: Client, owner: Owner, folder: str) -> None:
    """Refuse to take for nothing, or to make again, what a machine with another id of the cluster made."""
    found = of_other_ids(client, owner)
    if not found:
        return
    words = "; ".join(f"{', '.join(things)} with {ID_TAG} {one}" for one, things in sorted(found.items()))
    file = Path(folder).parent / "id" if folder else "cluster_state_dir/id"
    message = f"the account has a cluster {owner.cluster} whose id this machine does not have: {words}"
    remedy = f"copy the state directory of the machine that created it, or write its id to {file}; "
    raise HostsError(f"{message}: {remedy}for another cluster choose another cluster_name")


def _refuse_other_region(params: Mapping[str, Any]) -> None:
    """Refuse to leave a cluster behind in the region where it is: there it would cost money, and nobody would look."""
    file = _region_file(params)
    former = file.read_text(encoding="utf-8").strip() if file and file.exists() else ""
    if former not in ("", params["region"]):
        message = f"this cluster is in {former}, and alicloud_region is {params['region']}"
        remedy = "hosts cannot move: for another region choose another cluster_name, or remove this cluster first"
        raise HostsError(f"{message}: set it back; {remedy}")


def _region_file(params: Mapping[str, Any]) -> Path | None:
    return Path(params["ssh_dir"]) / "region" if params["ssh_dir"] else None


def _make(params: Mapping[str, Any], client: Client, *, dry_run: bool, warn: Callable[[str], None]) -> dict[str, Any]:
    """Make the hosts."""
    if not (Path(params["ssh_dir"]) / host_keys.FOLDER).exists():  # this machine made none yet
        owner = Owner(params["cluster"], params["cluster_id"])
        _refuse_other_ids(client, owner, params["ssh_dir"])
    outcome = _present(params, client, dry_run=dry_run)
    for warning in outcome.warnings:
        warn(warning)
    if not dry_run:
        _know(Path(params["ssh_dir"]), outcome)
        _ask(params, outcome)
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


def _present(params: Mapping[str, Any], client: Client, *, dry_run: bool) -> Outcome:
    """Make the hosts, in a region that is written down before anything is made there, and only then."""
    noted: list[Path] = []
    wanted = _declaration(params, dry_run=dry_run)

    def note_region() -> None:
        file = _region_file(params)
        if file and not file.exists():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(file, f"{params['region']}\n", mode=0o644)
            noted.append(file)

    try:
        return present(client, wanted, dry_run=dry_run, before=note_region)
    except CloudError as error:
        # Where no answer came, something may have been made that the account does not list yet.
        if noted and error.request_id and _has_nothing(client, wanted.owner):
            noted[0].unlink()
        raise


def _has_nothing(client: Client, owner: Owner) -> bool:
    """Say whether the account certainly has nothing of the cluster."""
    try:
        return look(client, owner) == Existing()
    except CloudError:
        return False


def _know(folder: Path, outcome: Outcome) -> None:
    """Write the host keys of all hosts into the cluster's known_hosts, before any is reached."""
    keys = {host.name: host_keys.read(folder, host.name) for host in outcome.hosts}
    places = {host.name: [host.private, host.public] for host in outcome.hosts}
    host_keys.write_known_hosts(folder, host_keys.known_hosts(keys, places))


def _ask(params: Mapping[str, Any], outcome: Outcome) -> None:
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


def _show(params: Mapping[str, Any], client: Client) -> dict[str, Any]:
    """Return what there is as a table; nothing is changed."""
    owner = Owner(params["cluster"], params["cluster_id"])
    same = {name: params[name] for name in ("disk_category", "disk_gb", "spot")}
    if owner.cluster_id:
        return {"changes": [], "table": rows(client, owner, Declaration(owner, 0, 0, {}, **same))}
    _refuse_other_ids(client, owner, "")
    return {"changes": [], "table": nothing(owner)}


def _remove(params: Mapping[str, Any], client: Client, *, dry_run: bool, warn: Callable[[str], None]) -> dict[str, Any]:
    """Remove what is the cluster's."""
    owner = Owner(params["cluster"], params["cluster_id"])
    if not owner.cluster_id:
        _refuse_other_ids(client, owner, "")
        return {"changes": []}
    removal = absent(client, owner, dry_run=dry_run)
    if removal.remains:
        raise RemainsError(removal)
    if not removal.changes and params["ssh_dir"] and (Path(params["ssh_dir"]) / host_keys.FOLDER).exists():
        words = (
            f"this machine created hosts of {owner.cluster} ({ID_TAG} {owner.cluster_id}), and this account has none"
        )
        warn(f"{words}: if the access key is now that of another account, they are still there and cost money")
    return {"changes": removal.changes, "table": [] if dry_run else nothing(owner)}
