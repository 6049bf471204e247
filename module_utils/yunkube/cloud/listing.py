# SPDX-License-Identifier: Apache-2.0
"""What an account has for a cluster, in rows for a person: what it is, whether it is as it should be, what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from ansible.module_utils.yunkube.cloud import market
from ansible.module_utils.yunkube.cloud.client import Client, Json
from ansible.module_utils.yunkube.cloud.declaration import Declaration, Owner
from ansible.module_utils.yunkube.cloud.existing import Existing, Host, look

NOTHING = "the account has nothing of this cluster"


def rows(client: Client, owner: Owner, wanted: Declaration) -> list[Json]:
    """Return a row for each thing, those that cost money first, and one with what an hour costs."""
    there = look(client, owner)
    found = [*_hosts(there), *_rest(there)]
    if not found:
        return nothing(owner)
    if there.hosts:
        _, words = market.cost(
            client, replace(wanted, nat=bool(there.nats)), Counter(host.type for host in there.hosts)
        )
        found.insert(0, _row("cost", f"{len(there.hosts)} hosts", words))
    return found


def nothing(owner: Owner) -> list[Json]:
    """Return the row of an account that has nothing for the cluster."""
    return [_row("account", owner.cluster, NOTHING)]


def _hosts(there: Existing) -> Iterator[Json]:
    for host in sorted(there.hosts, key=lambda host: (host.role, host.number)):
        addresses = host.private + (f", {host.public}" if host.public else "")
        words = f"{host.status}, {addresses}, {host.type} in {host.zone}, {_age(host)}"
        ending = f", released at {host.release}" if host.release else ""
        locked = f", locked: {', '.join(host.locks)}" if host.locks else ""
        yield _row("host", str(host), f"{words}{ending}{locked}", ok=host.status == "Running" and not host.locks)


def _rest(there: Existing) -> Iterator[Json]:
    for gateway in there.nats:
        status = str(gateway["Status"])
        words = f"{status}, billed by the hour and by traffic"
        yield _row("NAT gateway", str(gateway["NatGatewayId"]), words, ok=status == "Available")
    for eip in there.eips:
        used = str(eip.get("InstanceId") or "")
        yield _row("public address", str(eip["IpAddress"]), used or "used by no host, and billed", ok=bool(used))
    for group in there.groups:
        yield _row("security group", str(group["SecurityGroupName"]), str(group["SecurityGroupId"]))
    for key in there.keys:
        yield _row("key pair", str(key["KeyPairName"]), "")
    for switch in there.vswitches:
        yield _row("vSwitch", str(switch["VSwitchId"]), f"{switch['CidrBlock']} in {switch['ZoneId']}")
    for vpc in there.vpcs:
        yield _row("VPC", str(vpc["VpcId"]), str(vpc["CidrBlock"]))


def _row(check: str, target: str, detail: str, *, ok: bool = True) -> Json:
    return {"check": check, "target": target, "ok": ok, "detail": detail}


def _age(host: Host) -> str:
    """Return how old an instance is; the API gives minutes, in UTC."""
    made = datetime.strptime(host.created, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
    minutes = int((datetime.now(UTC) - made).total_seconds() // 60)
    return f"{minutes} min old" if minutes < 120 else f"{minutes // 60} h old"
