# SPDX-License-Identifier: Apache-2.0
"""The network that a cluster's hosts on Alibaba Cloud are in: VPC, vSwitches, security groups, key pair."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

from ansible.module_utils.yunkube.cloud import security_rules
from ansible.module_utils.yunkube.cloud.declaration import ROLE_TAG, ROLES, Declaration, clashes
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.existing import Existing, Json, rules_of, tags_of, vswitches
from ansible.module_utils.yunkube.cloud.work import UNKNOWN, HostsError, Work
from ansible.module_utils.yunkube.result import Fault

RULES_AT_ONCE = 100


def faults(wanted: Declaration, there: Existing) -> Iterator[Fault]:
    """Yield what is wrong with what there is already."""
    yield from _elsewhere(wanted, there)
    if not wanted.vpc_id:
        if len(there.vpcs) > 1:
            names = ", ".join(str(vpc["VpcId"]) for vpc in there.vpcs)
            yield Fault("vpc_id", f"this cluster has several VPCs: {names}", "delete those in which it has no hosts")
        yield from _key_faults(wanted, there)
        return
    if not there.vpcs:
        yield Fault(
            "vpc_id", f"the VPC {wanted.vpc_id} does not exist in this region", "set one of this account and region"
        )
        return
    vpc = there.vpcs[0]
    secondary = (vpc.get("SecondaryCidrBlocks") or {}).get("SecondaryCidrBlock") or []
    for cidr in (vpc["CidrBlock"], *secondary):
        yield from clashes("vpc_id", str(cidr), wanted)
    zones = {str(one["VSwitchId"]): str(one["ZoneId"]) for one in there.vswitches}
    for identity in wanted.vswitch_ids:
        if identity not in zones:
            remedy = f"choose vSwitches of that VPC: {', '.join(sorted(zones)) or 'it has none'}"
            yield Fault("vswitch_ids", f"the vSwitch {identity} does not exist in {wanted.vpc_id}", remedy)
        elif wanted.zones and zones[identity] not in wanted.zones:
            remedy = "add that zone, or choose another vSwitch"
            yield Fault("vswitch_ids", f"{identity} is in {zones[identity]}, which is not one of zones", remedy)
    yield from _twins(wanted, zones)
    yield from _key_faults(wanted, there)


def _twins(wanted: Declaration, zones: Mapping[str, str]) -> Iterator[Fault]:
    """Yield the zones for which several vSwitches are declared: a zone's hosts are in one."""
    by_zone: dict[str, list[str]] = {}
    for identity in wanted.vswitch_ids:
        if identity in zones:
            by_zone.setdefault(zones[identity], []).append(identity)
    for zone, twins in by_zone.items():
        if len(twins) > 1:
            message = f"{' and '.join(twins)} are in the same zone, {zone}"
            yield Fault("vswitch_ids", message, f"keep one vSwitch for each zone, such as {twins[0]}")


def _elsewhere(wanted: Declaration, there: Existing) -> Iterator[Fault]:
    """Yield the VPC in which the cluster is, where another one is declared."""
    here = {str(vpc["VpcId"]) for vpc in there.vpcs}
    for vpc_id in sorted({str(group["VpcId"]) for group in there.groups} - here):
        declared = wanted.vpc_id or "a VPC of its own"
        message = f"this cluster is in {vpc_id}, not in {declared}"
        yield Fault("vpc_id", message, "hosts cannot move: set vpc_id back, or remove them all first")


def _key_faults(wanted: Declaration, there: Existing) -> Iterator[Fault]:
    for key in there.keys:
        if key.get("PublicKey") and key["PublicKey"].split()[:2] != wanted.public_key.split()[:2]:
            remedy = "set the key that it has: hosts get theirs when they are created, and keep it"
            yield Fault("public_key", f"the key pair {key['KeyPairName']} has another public key", remedy)


def vswitches_by_zone(wanted: Declaration, there: Existing) -> dict[str, str]:
    """Return the vSwitch for hosts of each zone, as far as there are any."""
    if wanted.vswitch_ids:
        chosen = [one for one in there.vswitches if one["VSwitchId"] in wanted.vswitch_ids]
    else:
        chosen = [one for one in there.vswitches if wanted.owner.owns(tags_of(one))]
    return {str(one["ZoneId"]): str(one["VSwitchId"]) for one in sorted(chosen, key=lambda one: str(one["VSwitchId"]))}


def free_block(vpc: str, length: int, taken: Iterable[str]) -> str:
    """Return the first network of this length in a VPC that meets no other."""
    others = [ipaddress.IPv4Network(cidr) for cidr in taken]
    block = ipaddress.IPv4Network(vpc)
    for candidate in block.subnets(new_prefix=max(length, block.prefixlen)):
        if not any(candidate.overlaps(other) for other in others):
            return str(candidate)
    raise HostsError(f"{vpc} has no room for another vSwitch of /{length}: choose a larger VPC or vswitch_length")


class Network:
    """The network as it is, or is made."""

    def __init__(self, work: Work) -> None:
        """Begin with what there is."""
        self.work, self.wanted, self.there = work, work.wanted, work.there
        self.vpc_id = str(self.there.vpcs[0]["VpcId"]) if self.there.vpcs else ""
        self.vpc_cidr = str(self.there.vpcs[0]["CidrBlock"]) if self.there.vpcs else self.wanted.vpc_cidr
        self.vswitches = vswitches_by_zone(self.wanted, self.there)
        self.groups = {tags_of(group)[ROLE_TAG]: str(group["SecurityGroupId"]) for group in self.there.groups}
        self.key = str(self.there.keys[0]["KeyPairName"]) if self.there.keys else ""

    def ensure(self, zones: Iterable[str]) -> None:
        """Make what is missing, for hosts in these zones."""
        owner, client = self.wanted.owner, self.work.client
        tags = owner.tags()
        if not self.vpc_id:
            self.vpc_id = self.work.make(
                f"VPC {owner.name}, {self.vpc_cidr}", "vpc", "CreateVpc", "VpcId", self._vpc_ready,
                cidr_block=self.vpc_cidr, vpc_name=owner.name, tags=tags,
            )  # fmt: skip
        if not self.wanted.vswitch_ids:
            self._ensure_vswitches([zone for zone in zones if zone not in self.vswitches])
        for role in ROLES:
            if role not in self.groups:
                self.groups[role] = self.work.make(
                    f"security group of {role}s", "ecs", "CreateSecurityGroup", "SecurityGroupId",
                    lambda identity: rules_of(client, identity),
                    vpc_id=self.vpc_id, security_group_name=f"{owner.name}-{role}", tags=owner.tags(role),
                )  # fmt: skip
        for role in ROLES:
            self._ensure_rules(role)
        if not self.key:
            self._ensure_key()

    def _ensure_vswitches(self, zones: list[str]) -> None:
        """Make a vSwitch in each of these zones, unless another run has made it since."""
        owner = self.wanted.owner
        there = vswitches(self.work.client, self.vpc_id) if zones and self.vpc_id != UNKNOWN else []
        self.vswitches |= {str(one["ZoneId"]): str(one["VSwitchId"]) for one in there if owner.owns(tags_of(one))}
        taken = [str(one["CidrBlock"]) for one in there]
        for zone in zones:
            if zone not in self.vswitches:
                block = free_block(self.vpc_cidr, self.wanted.vswitch_length, taken)
                taken.append(block)
                self.vswitches[zone] = self.work.make(
                    f"vSwitch in {zone}, {block}", "vpc", "CreateVSwitch", "VSwitchId", self._vswitch_ready,
                    vpc_id=self.vpc_id, zone_id=zone, cidr_block=block, v_switch_name=f"{owner.name}-{zone}",
                    tags=owner.tags(),
                )  # fmt: skip

    def _vpc_ready(self, identity: str) -> Json | None:
        found = self.work.client.call("vpc", "DescribeVpcs", vpc_id=identity, page_size=10)["Vpcs"]["Vpc"]
        return found[0] if found and found[0]["Status"] == "Available" else None

    def _vswitch_ready(self, identity: str) -> Json | None:
        answer = self.work.client.call("vpc", "DescribeVSwitches", v_switch_id=identity, page_size=10)
        found = answer["VSwitches"]["VSwitch"]
        return found[0] if found and found[0]["Status"] == "Available" else None

    def _ensure_rules(self, role: str) -> None:
        """Add the rules that a group lacks, take back ours that are wanted no more, and close it within itself."""
        client, group_id = self.work.client, self.groups[role]
        group = next((one for one in self.there.groups if one["SecurityGroupId"] == group_id), {})
        have = security_rules.there((group.get("Permissions") or {}).get("Permission") or [])
        add, gone = security_rules.compare(security_rules.rules(self.wanted, role, self.groups), have)
        closed = group.get("InnerAccessPolicy") == "Drop"
        if group:
            self.work.changes += [f"let {rule} reach {role}s" for rule in add]
            self.work.changes += [f"no longer let {rule} reach {role}s" for rule in gone]
            self.work.changes += [] if closed else [f"turn on internal isolation in the security group of {role}s"]
        if self.work.dry_run:
            return
        for start in range(0, len(add), RULES_AT_ONCE):
            permissions = [security_rules.as_permission(rule) for rule in add[start : start + RULES_AT_ONCE]]
            client.call("ecs", "AuthorizeSecurityGroup", security_group_id=group_id, permissions=permissions)
        if gone:
            ids = list(gone.values())
            client.call("ecs", "RevokeSecurityGroup", security_group_id=group_id, security_group_rule_ids=ids)
        if not closed:
            client.call("ecs", "ModifySecurityGroupPolicy", security_group_id=group_id, inner_access_policy="Drop")

    def _ensure_key(self) -> None:
        owner = self.wanted.owner
        self.key = f"{owner.name}-{owner.cluster_id[:8]}"
        self.work.changes.append(f"create key pair {owner.name}")
        if self.work.dry_run:
            return
        try:
            self.work.client.call(
                "ecs", "ImportKeyPair", key_pair_name=self.key, public_key_body=self.wanted.public_key.strip(),
                tags=owner.tags(),
            )  # fmt: skip
        except CloudError as error:
            # There is no client token here: a lost answer, or another control machine, made it.
            if error.code != "KeyPair.AlreadyExist" or not self._key_is_ours():
                raise

    def _key_is_ours(self) -> bool:
        answer = self.work.client.call("ecs", "DescribeKeyPairs", key_pair_name=self.key, include_public_key="true")
        found = answer["KeyPairs"]["KeyPair"]
        same = [key for key in found if key.get("PublicKey", "").split()[:2] == self.wanted.public_key.split()[:2]]
        return any(self.wanted.owner.owns(tags_of(key)) for key in same)
