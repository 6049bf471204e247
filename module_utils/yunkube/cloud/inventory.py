# SPDX-License-Identifier: Apache-2.0
"""The hosts of a cluster, as Alibaba Cloud knows them by their tags."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.yunkube.cloud import credentials
from ansible.module_utils.yunkube.cloud.client import PRODUCTS, Client, Json, clear_text
from ansible.module_utils.yunkube.cloud.declaration import CLUSTER_TAG, ID_TAG, ROLE_TAG
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.existing import addresses, may_list, tags_of
from ansible.module_utils.yunkube.control.inventory_files import OPAQUE, Inventory, read
from ansible.module_utils.yunkube.control.shapes import is_template
from ansible.module_utils.yunkube.words import closest

GROUPS = {"master": "masters", "node": "nodes"}
CONNECT = ("private", "public")
# What the plugin's own file leaves out is taken from these variables of all hosts, so that it is written once.
VARIABLES = {
    "cluster": "cluster_name",
    "region": "alicloud_region",
    "endpoints": "alicloud_endpoints",
    "ca": "alicloud_ca",
    "connect": "alicloud_hosts_connect",
}
OTHERS = ("oss",)  # products in alicloud_endpoints that the inventory does not ask
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


class InventoryError(Exception):
    """The hosts are not known; the message says why and what to do."""


@dataclass(frozen=True)
class Settings:
    """Whose hosts, and where they are asked for."""

    region: str
    cluster: str
    cluster_id: str = ""
    endpoints: Mapping[str, str] = field(default_factory=dict)
    ca: str = ""
    connect: str = "private"


@dataclass(frozen=True)
class Host:
    """An instance as a host of the inventory."""

    name: str
    group: str
    variables: Json


@dataclass(frozen=True)
class Found:
    """The hosts, masters first, and what a person should know of them."""

    hosts: Sequence[Host]
    warnings: Sequence[str] = ()

    def as_dict(self) -> Json:
        """Return what a cache keeps."""
        return asdict(self)

    @classmethod
    def of_dict(cls, kept: Json) -> Found:
        """Return what a cache has kept."""
        return cls([Host(**host) for host in kept["hosts"]], kept["warnings"])


def settle(given: Mapping[str, Any], file: Path) -> Settings:
    """Return the settings of the plugin's file, filled up from the variables for all hosts that stand beside it."""
    written = read([file])
    beside = _variable("cluster_name", written, file)
    values = {name: given.get(name) or _variable(variable, written, file) for name, variable in VARIABLES.items()}
    if beside and values["cluster"] != beside:
        raise InventoryError(
            f"{file}: cluster is {values['cluster']}, but cluster_name is {beside}: remove `cluster` from {file.name}"
        )
    for name in ("cluster", "region"):
        if not values[name]:
            raise InventoryError(f"{file}: {VARIABLES[name]} is not set: set it in group_vars/all/cluster.yml")
    endpoints, connect = values["endpoints"] or {}, str(values["connect"] or "private")
    if not isinstance(endpoints, Mapping):
        raise InventoryError(f"{file}: endpoints: {endpoints} is not one of {', '.join(PRODUCTS)}")
    for name, address in endpoints.items():
        if name not in (*PRODUCTS, *([] if given.get("endpoints") else OTHERS)):
            raise InventoryError(f"{file}: endpoints: {name} is not one of {', '.join(PRODUCTS)}")
        if clear_text(str(address)):
            words = f"{address} is not https: write a host name or an https URL"
            raise InventoryError(f"{file}: endpoints: {words}")
    endpoints = {name: address for name, address in endpoints.items() if name in PRODUCTS}
    if connect not in CONNECT:
        raise InventoryError(f"{file}: connect: {connect} is not one of {', '.join(CONNECT)}")
    ca = str(Path(str(values["ca"])).expanduser()) if values["ca"] else ""
    cluster_id = str(given.get("cluster_id") or "")
    return Settings(str(values["region"]), str(values["cluster"]), cluster_id, dict(endpoints), ca, connect)


def unknown(given: Mapping[str, Any], options: Sequence[str], file: Path) -> None:
    """Refuse a key of the plugin's file that is no option: Ansible reads over it."""
    for key in given:
        if key not in options:
            meant = closest(str(key), options)
            hint = f"did you mean {meant}?" if meant else f"known keys: {', '.join(sorted(options))}"
            raise InventoryError(f"{file}: {key}: unknown key; {hint}")


def _variable(name: str, written: Inventory, file: Path) -> Any:
    """Return a variable for all hosts, as a file beside has it."""
    entry = written.where(name)
    if entry is None or entry.scope != "all":
        return None
    if entry.value is OPAQUE or is_template(entry.value):
        option = next(option for option, variable in VARIABLES.items() if variable == name)
        raise InventoryError(
            f"{entry.file}:{entry.line}: {name}: a template cannot be used before the hosts are known: "
            f"write the value, or `{option}` in {file.name}"
        )
    return entry.value


def ask(settings: Settings, environment: Mapping[str, str]) -> Found:
    """Return the cluster's hosts; InventoryError where the cloud cannot be asked or does not say."""
    try:
        client = Client(settings.region, lambda: credentials.find(environment), dict(settings.endpoints), settings.ca)
        return hosts(client, settings)
    except ModuleNotFoundError as error:
        raise InventoryError(
            f"{error.name} is not installed for {sys.executable}: run ./scripts/setup, or install footmark there"
        ) from error
    except (CloudError, credentials.CredentialsError) as error:
        raise InventoryError(f"cannot list the hosts of {settings.cluster} in {settings.region}: {error}") from error


def hosts(client: Client, settings: Settings) -> Found:
    """Return the instances that carry the cluster's tag."""
    tags = [{"Key": CLUSTER_TAG, "Value": settings.cluster}]
    there = list(client.pages("ecs", "DescribeInstances", "Instances", "Instance", tags=tags))
    if not there:
        may_list(client)
    tagged = [(one, tags_of(one)) for one in there]
    if settings.cluster_id:
        tagged = [(one, tags) for one, tags in tagged if tags.get(ID_TAG) == settings.cluster_id]
    ids = sorted({tags[ID_TAG] for _, tags in tagged if tags.get(ID_TAG)})
    if len(ids) > 1:
        raise InventoryError(
            f"instances of {len(ids)} clusters are tagged {CLUSTER_TAG}={settings.cluster} in {settings.region}, with "
            f"{ID_TAG} {' and '.join(ids)}: write `cluster_id` beside `plugin`, as cluster_state_dir/id has it"
        )
    found = [host_of(one, tags, settings) for one, tags in tagged if tags.get(ROLE_TAG) in GROUPS]
    _refuse_twins(found)
    warnings = [
        f"{one['InstanceId']} is not a host: its tag {ROLE_TAG} is neither {' nor '.join(GROUPS)}"
        for one, tags in tagged
        if tags.get(ROLE_TAG) not in GROUPS
    ]
    warnings += [f"{host.name} has no address yet" for host in found if "ansible_host" not in host.variables]
    if not tagged:
        warnings.append(f"the cluster {settings.cluster} has no instance in {settings.region}")
    order = list(GROUPS.values())
    return Found(sorted(found, key=lambda host: (order.index(host.group), _natural(host.name))), warnings)


def host_of(one: Json, tags: Mapping[str, str], settings: Settings) -> Host:
    """Return an instance as a host."""
    name = str(one.get("InstanceName") or one["InstanceId"]).removeprefix(f"{settings.cluster}-")
    if not _NAME.fullmatch(name):
        raise InventoryError(
            f"{one['InstanceId']}: its name {name!r} is not a valid host name: use letters, digits and -"
        )
    private, public = addresses(one)
    variables: Json = {
        "alicloud_instance": {
            "id": one["InstanceId"],
            "region": one.get("RegionId") or settings.region,
            "zone": one.get("ZoneId", ""),
            "type": one.get("InstanceType", ""),
            "status": one.get("Status", ""),
            "image": one.get("ImageId", ""),
            "vpc": (one.get("VpcAttributes") or {}).get("VpcId", ""),
            "vswitch": (one.get("VpcAttributes") or {}).get("VSwitchId", ""),
            "private_address": private,
            "public_address": public,
            "created": one.get("CreationTime", ""),
            "auto_release": one.get("AutoReleaseTime", ""),
            "tags": dict(tags),
        }
    }
    if address := (settings.connect == "public" and public) or private:
        variables["ansible_host"] = address
    if private:
        variables["cluster_node_ip"] = private
    return Host(name, GROUPS[tags[ROLE_TAG]], variables)


def _refuse_twins(found: Sequence[Host]) -> None:
    first: dict[str, str] = {}
    for host in found:
        instance = host.variables["alicloud_instance"]["id"]
        if host.name in first:
            raise InventoryError(f"{first[host.name]} and {instance} are both called {host.name}: rename one of them")
        first[host.name] = instance


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that has node-10 after node-2."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name) if part]
