# SPDX-License-Identifier: Apache-2.0
"""The cluster's resources in the account, in few calls; only what carries the cluster's id counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.yunkube.cloud.client import PAGE, Client
from ansible.module_utils.yunkube.cloud.declaration import CLUSTER_TAG, ID_TAG, ROLE_TAG, Owner
from ansible.module_utils.yunkube.cloud.errors import CloudError

Json = dict[str, Any]


@dataclass(frozen=True)
class Host:
    """One instance."""

    name: str
    role: str
    id: str
    status: str
    zone: str
    type: str
    created: str
    private: str
    public: str = ""
    locks: tuple[str, ...] = ()
    release: str = ""  # when the cloud itself releases it, in UTC

    @property
    def number(self) -> int:
        """The number in its name, 0 where there is none."""
        digits = self.name.rpartition("-")[2]
        return int(digits) if digits.isdigit() else 0

    def __str__(self) -> str:
        """Return the words for an operator."""
        return f"{self.name} ({self.id})"


@dataclass
class Existing:
    """All that there is. Lists hold what the API said, of `groups` with their rules."""

    hosts: list[Host] = field(default_factory=list)
    vpcs: list[Json] = field(default_factory=list)
    vswitches: list[Json] = field(default_factory=list)  # of a VPC that was named, others' too
    groups: list[Json] = field(default_factory=list)
    keys: list[Json] = field(default_factory=list)
    eips: list[Json] = field(default_factory=list)
    nats: list[Json] = field(default_factory=list)  # NAT gateways; of a VPC that was named, others' too

    def by_name(self) -> dict[str, list[Host]]:
        """Return the instances of each name, the oldest first: on every machine in the same order."""
        found: dict[str, list[Host]] = {}
        for host in sorted(self.hosts, key=lambda host: (host.created, host.id)):
            found.setdefault(host.name, []).append(host)
        return found


def tags_of(entry: Json) -> dict[str, str]:
    """Return the tags of an entry, in either product's words."""
    tags = (entry.get("Tags") or {}).get("Tag") or []
    return {
        str(tag.get("TagKey") or tag.get("Key")): str(tag.get("TagValue") or tag.get("Value") or "") for tag in tags
    }


def addresses(one: Json) -> tuple[str, str]:
    """Return an instance's private and public address, each empty where it has none."""
    private = ((one.get("VpcAttributes") or {}).get("PrivateIpAddress") or {}).get("IpAddress") or []
    elastic = (one.get("EipAddress") or {}).get("IpAddress") or ""
    public = (one.get("PublicIpAddress") or {}).get("IpAddress") or []
    return next(iter(private), ""), elastic or next(iter(public), "")


def look(client: Client, owner: Owner, vpc_id: str = "") -> Existing:
    """Return all that there is; with `vpc_id` of that VPC, whoever's it is."""
    found = Existing(hosts=hosts(client, owner))
    if not found.hosts:
        may_list(client)
    named: Json = {"vpc_id": vpc_id} if vpc_id else _tags(owner)
    found.vpcs = list(client.pages("vpc", "DescribeVpcs", "Vpcs", "Vpc", **named))
    if not vpc_id:
        found.vpcs = [vpc for vpc in found.vpcs if owner.owns(tags_of(vpc))]
    if not vpc_id:
        found.vswitches = _tagged_vswitches(client, owner)
    elif found.vpcs:
        found.vswitches = vswitches(client, vpc_id)
    found.groups = list(_ours(client, owner, "ecs", "DescribeSecurityGroups", "SecurityGroups", "SecurityGroup"))
    for group in found.groups:
        group.update(rules_of(client, group["SecurityGroupId"]))
    found.keys = list(_ours(client, owner, "ecs", "DescribeKeyPairs", "KeyPairs", "KeyPair", include_public_key="true"))
    found.eips = eips(client, owner)
    if not vpc_id:
        found.nats = nats(client, owner)
    elif found.vpcs:
        found.nats = list(client.pages("vpc", "DescribeNatGateways", "NatGateways", "NatGateway", vpc_id=vpc_id))
    return found


def vswitches(client: Client, vpc_id: str) -> list[Json]:
    """Return all vSwitches of a VPC, whoever's they are."""
    return list(client.pages("vpc", "DescribeVSwitches", "VSwitches", "VSwitch", vpc_id=vpc_id))


def _tagged_vswitches(client: Client, owner: Owner) -> list[Json]:
    return list(_ours(client, owner, "vpc", "DescribeVSwitches", "VSwitches", "VSwitch"))


def hosts(client: Client, owner: Owner) -> list[Host]:
    """Return the cluster's instances."""
    entries = _ours(client, owner, "ecs", "DescribeInstances", "Instances", "Instance")
    return [_host(entry, owner) for entry in entries]


def eips(client: Client, owner: Owner) -> list[Json]:
    """Return the cluster's public addresses."""
    return list(_ours(client, owner, "vpc", "DescribeEipAddresses", "EipAddresses", "EipAddress"))


def nats(client: Client, owner: Owner) -> list[Json]:
    """Return the cluster's NAT gateways."""
    return list(_ours(client, owner, "vpc", "DescribeNatGateways", "NatGateways", "NatGateway"))


def of_other_ids(client: Client, owner: Owner) -> dict[str, list[str]]:
    """Return what costs money, carries the cluster's name and another id, by that id: hosts, gateways, addresses."""
    kinds = (
        ("ecs", "DescribeInstances", "Instances", "Instance", "InstanceId"),
        ("vpc", "DescribeNatGateways", "NatGateways", "NatGateway", "NatGatewayId"),
        ("vpc", "DescribeEipAddresses", "EipAddresses", "EipAddress", "AllocationId"),
    )
    tags = [{"Key": CLUSTER_TAG, "Value": owner.cluster}]
    found: dict[str, list[str]] = {}
    for product, action, outer, inner, key in kinds:
        entries = list(client.pages(product, action, outer, inner, tags=tags))
        if product == "ecs" and not entries:
            may_list(client)
        for entry in entries:
            theirs = tags_of(entry)
            if theirs.get(CLUSTER_TAG) == owner.cluster and theirs.get(ID_TAG) not in (None, owner.cluster_id):
                found.setdefault(theirs[ID_TAG], []).append(str(entry[key]))
    return found


def may_list(client: Client) -> None:
    """Raise where the list may be empty for want of permission, which a dry run reports.

    Until December 2025 a user without permission got an empty list, and policies for single instances may still do so:
    https://www.alibabacloud.com/help/en/ecs/announcement-of-changes-to-the-authentication-mechanism-for-alibaba-cloud-ecs-query-type-apis
    What a dry run that is allowed answers:
    https://www.alibabacloud.com/help/en/ecs/developer-reference/api-ecs-2014-05-26-describeinstances
    """
    try:
        client.call("ecs", "DescribeInstances", dry_run="true")
    except CloudError as error:
        if error.code != "DryRunOperation":
            raise


def rules_of(client: Client, group_id: str) -> Json:
    """Return the rules of a group, and its policy within itself."""
    rules: list[Json] = []
    token: Json = {}
    while True:
        answer = client.call(
            "ecs",
            "DescribeSecurityGroupAttribute",
            security_group_id=group_id,
            direction="ingress",
            max_results=PAGE["token"],
            **token,
        )
        rules += (answer.get("Permissions") or {}).get("Permission") or []
        if not answer.get("NextToken"):
            return {"Permissions": {"Permission": rules}, "InnerAccessPolicy": answer.get("InnerAccessPolicy", "")}
        token = {"next_token": answer["NextToken"]}


def _tags(owner: Owner) -> Json:
    return {"tags": [{"Key": ID_TAG, "Value": owner.cluster_id}]}


def _ours(
    client: Client, owner: Owner, product: str, action: str, outer: str, inner: str, **more: Any
) -> Iterator[Json]:
    """Yield what carries our id, whatever the API made of the filter."""
    for entry in client.pages(product, action, outer, inner, **_tags(owner), **more):
        if owner.owns(tags_of(entry)):
            yield entry


def _host(entry: Json, owner: Owner) -> Host:
    private, public = addresses(entry)
    locks = (entry.get("OperationLocks") or {}).get("LockReason") or []
    return Host(
        name=str(entry["InstanceName"]).removeprefix(owner.prefix),
        role=tags_of(entry).get(ROLE_TAG, ""),
        id=str(entry["InstanceId"]),
        status=str(entry["Status"]),
        zone=str(entry["ZoneId"]),
        type=str(entry["InstanceType"]),
        created=str(entry["CreationTime"]),
        release=str(entry.get("AutoReleaseTime") or ""),
        private=private,
        public=public,
        locks=tuple(str(one.get("LockReason", one) if isinstance(one, dict) else one) for one in locks),
    )
