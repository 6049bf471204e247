# SPDX-License-Identifier: Apache-2.0
"""Remove a cluster's hosts on Alibaba Cloud, with everything that was created for them, and report what is left."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible.module_utils.yunkube.cloud import instances, nat, routes
from ansible.module_utils.yunkube.cloud.client import Client
from ansible.module_utils.yunkube.cloud.declaration import Declaration, Owner
from ansible.module_utils.yunkube.cloud.existing import Existing, Json, look, tags_of
from ansible.module_utils.yunkube.cloud.work import Work

PATIENCE = 60.0  # seconds in which what uses a thing may go: network cards of instances outlive them a little


@dataclass
class Removal:
    """What was removed, or would be, and what is left with the reason."""

    changes: list[str] = field(default_factory=list)
    remains: list[str] = field(default_factory=list)


def absent(
    client: Client, owner: Owner, *, dry_run: bool = False, sleep: Callable[[float], None] = time.sleep
) -> Removal:
    """Remove what carries the cluster's id, what uses another before what is used."""
    there = look(client, owner)
    removal = Removal()
    work = Work(client, Declaration(owner, 0, 0, {}), there, dry_run, sleep, removal.changes)
    routes.delete_all(work)
    if there.hosts:
        removal.changes += [f"remove host {host}" for host in sorted(there.hosts, key=lambda host: host.name)]
        if not dry_run:
            instances.delete(work, there.hosts)
            instances.wait_gone(work, there.hosts)
    for gateway in nat.ours(there.nats, owner):
        words = f"NAT gateway {gateway['NatGatewayId']}"
        if not dry_run and (reason := nat.remove(work, gateway)):
            removal.remains.append(f"{words}: {reason}")
        else:
            removal.changes.append(f"remove {words}")
    for words, action, parameters in _rest(owner, there):
        if not dry_run:
            if "rules" in parameters:
                _let_go(client, parameters.pop("rules"))
            if reason := _remove(work, action, parameters):
                removal.remains.append(f"{words}: {reason}")
                continue
        removal.changes.append(f"remove {words}")
    if removal.changes and not removal.remains and not dry_run:
        _look_again(work, removal)
    return removal


def _look_again(work: Work, removal: Removal) -> None:
    """Name what is still listed although its removal was accepted."""
    owner, left = work.wanted.owner, list[str]()

    def gone() -> Json | None:
        there = look(work.client, owner)
        left[:] = [f"host {host}" for host in there.hosts]
        left.extend(f"NAT gateway {one['NatGatewayId']}" for one in nat.ours(there.nats, owner))
        left.extend(words for words, _, _ in _rest(owner, there))
        return None if left else {"gone": True}

    if work.until(gone, PATIENCE) is None:
        removal.remains += [f"{words}: its removal was accepted, and it is still listed" for words in left]


def _rest(owner: Owner, there: Existing) -> list[tuple[str, tuple[str, str], Json]]:
    """Return all but the hosts, in the order in which it can go."""
    found: list[tuple[str, tuple[str, str], Json]] = [
        (f"public address {one['IpAddress']}", ("vpc", "ReleaseEipAddress"), {"allocation_id": one["AllocationId"]})
        for one in there.eips
    ]
    for position, group in enumerate(there.groups):
        identity = str(group["SecurityGroupId"])
        parameters: Json = {"security_group_id": identity}
        if position == 0:  # groups name each other
            parameters["rules"] = there.groups
        words = f"security group {group['SecurityGroupName']} ({identity})"
        found.append((words, ("ecs", "DeleteSecurityGroup"), parameters))
    for key in there.keys:
        name = str(key["KeyPairName"])
        found.append((f"key pair {name}", ("ecs", "DeleteKeyPairs"), {"key_pair_names": json.dumps([name])}))
    for switch in there.vswitches:
        if owner.owns(tags_of(switch)):
            identity = str(switch["VSwitchId"])
            found.append((f"vSwitch {identity}", ("vpc", "DeleteVSwitch"), {"v_switch_id": identity}))
    for vpc in there.vpcs:
        identity = str(vpc["VpcId"])
        found.append((f"VPC {vpc['VpcName']} ({identity})", ("vpc", "DeleteVpc"), {"vpc_id": identity}))
    return found


def _let_go(client: Client, groups: list[Json]) -> None:
    """Take back the rules with which our groups name groups."""
    for group in groups:
        rules = [one for one in group["Permissions"]["Permission"] if one.get("SourceGroupId")]
        if rules:
            ids = [str(one["SecurityGroupRuleId"]) for one in rules]
            client.call(
                "ecs", "RevokeSecurityGroup", security_group_id=group["SecurityGroupId"], security_group_rule_ids=ids
            )


def _remove(work: Work, action: tuple[str, str], parameters: Json) -> str:
    """Remove one thing, and return why it is left, empty where it is gone."""

    def take() -> str:
        work.client.call(*action, **parameters)
        return ""

    return work.remove(take, PATIENCE)
