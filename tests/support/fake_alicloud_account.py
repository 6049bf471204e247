# SPDX-License-Identifier: Apache-2.0
"""What a fake Alibaba Cloud knows of one account: resources, quotas, permissions, client tokens; on disk, as JSON.

Actions register themselves with the parameters that they take (fake_alicloud_network, fake_alicloud_instances), each
with the page that it was written from. Unlike the real API, which drops them, the fake refuses unknown parameters.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fake_alicloud import COMMON, FakeCloud, Json, RefusedError

VERSIONS = {"ecs": "2014-05-26", "vpc": "2016-04-28"}
KINDS = ("vpcs", "vswitches", "groups", "keys", "instances", "eips", "nats", "snats", "routes")
WITH_A_VPC = ("tables",)  # made and removed with it
EIP_SETTLES = 3.0  # seconds until an address is bound, free or released (open); to an instance it is bound at once
INDEX = re.compile(r"\.\d+(?=\.|$)")


@dataclass(frozen=True)
class Action:
    """What one action takes, and what it does."""

    product: str
    required: frozenset[str]
    optional: frozenset[str]
    run: Callable[[Account, Json], Json]


ACTIONS: dict[str, Action] = {}


def action(
    product: str, required: str = "", optional: str = ""
) -> Callable[[Callable[[Account, Json], Json]], Callable[[Account, Json], Json]]:
    """Register an action under its own name; parameters are words, numbered ones with N."""

    def register(function: Callable[[Account, Json], Json]) -> Callable[[Account, Json], Json]:
        name = "".join(part.capitalize() for part in function.__name__.split("_")).replace("Vswitch", "VSwitch")
        ACTIONS[name] = Action(product, frozenset(required.split()), frozenset(optional.split()), function)
        return function

    return register


@dataclass
class Account:
    """The state, and what a test sets: attributes of this class. `clock` moves on by itself and by `advance`."""

    cloud: FakeCloud
    file: Path
    region: str = "cn-hangzhou"
    denied: set[str] = field(default_factory=set)  # actions that RAM does not allow
    quota: dict[str, int] = field(default_factory=dict)  # of KINDS
    # Zones, with the instance types that each offers; those of `sold_out` (zone, type) are refused by RunInstances
    # alone, those of `without_stock` by DescribeAvailableResource too.
    zones: dict[str, set[str]] = field(default_factory=dict)
    sold_out: set[tuple[str, str]] = field(default_factory=set)
    without_stock: set[tuple[str, str]] = field(default_factory=set)
    prices: dict[str, float] = field(default_factory=dict)  # by instance type
    images: list[Json] = field(default_factory=list)
    boot_seconds: dict[str, float] = field(default_factory=dict)  # by instance name, "" for all others
    failing: dict[str, list[RefusedError]] = field(default_factory=dict)  # for the next calls of an action, one each
    lost: list[str] = field(default_factory=list)  # actions whose next answer does not arrive
    listing_delay: float = 0  # seconds until an instance or a security group that was made is listed (open)
    route_seconds: float = 0.02  # that a route takes to come or to go (open)
    # Really start and stop a host of the lab; called with the instance as it is kept.
    start_host: Callable[[Json], None] = lambda _: None
    stop_host: Callable[[Json], None] = lambda _: None
    # Let the lab's router follow the route tables: destinations, with private addresses.
    route: Callable[[dict[str, str]], None] = lambda _: None

    def __post_init__(self) -> None:
        """Answer the calls of the cloud."""
        self._lock = threading.RLock()
        self.state: Json = {"number": 0, "moved": 0.0, "tokens": {}, **{kind: {} for kind in (*KINDS, *WITH_A_VPC)}}
        if self.file.exists():
            self.state |= json.loads(self.file.read_text())
        for name in ACTIONS:
            self.cloud.actions[name] = lambda given, name=name: self.answer(name, given)  # type: ignore[misc]

    def advance(self, seconds: float) -> None:
        """Advance the clock."""
        self.state["moved"] += seconds

    @property
    def clock(self) -> float:
        """The time in this cloud."""
        return time.time() + float(self.state["moved"])

    def stamp(self, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
        """Return the time as the API writes it."""
        return datetime.fromtimestamp(self.clock, UTC).strftime(form)

    def new_id(self, prefix: str) -> str:
        """Return an id that sorts in no order of time."""
        self.state["number"] += 1
        return f"{prefix}-{(self.state['number'] * 7919) % 100003:05d}"

    def calls(self, name: str) -> list[Json]:
        """Return what was asked of one action."""
        return [given for given in self.cloud.log if given["Action"] == name]

    def left(self) -> dict[str, list[str]]:
        """Return the ids of all that is there, by kind, without what is empty."""
        self.settle()
        return {kind: sorted(self.state[kind]) for kind in KINDS if self.state[kind]}

    def answer(self, name: str, given: Json) -> Json:
        """Carry an action out as the real API does: permission, parameters, token, then the deed."""
        wanted = ACTIONS[name]
        with self._lock:
            if given.get("Version") != VERSIONS[wanted.product]:
                raise RefusedError(400, "InvalidVersion")
            self._check(wanted, given)
            lists_only = name == "DescribeInstances" and "DryRun" not in given
            if self.failing.get(name):
                raise self.failing[name].pop(0)
            if name in self.denied and not lists_only:
                raise RefusedError(403, "Forbidden.RAM", "User not authorized to operate on the specified resource.")
            if (
                given.get("DryRun") == "true"
            ):  # https://www.alibabacloud.com/help/en/ecs/developer-reference/api-ecs-2014-05-26-runinstances
                raise RefusedError(400, "DryRunOperation", "Request validation has been passed with DryRun flag set.")
            self.settle()
            if name in self.denied:
                # A RAM user without the permission gets an empty list:
                # https://www.alibabacloud.com/help/en/ecs/developer-reference/api-ecs-2014-05-26-describeinstances
                return {"Instances": {"Instance": []}, "TotalCount": 0}
            body = self._once(name, wanted, given)
            self.file.write_text(json.dumps(self.state))
            if name in self.lost:
                self.lost.remove(name)
                self.cloud.silent += 1
        return body

    def settle(self) -> None:
        """Complete deletions and creations that were accepted some seconds ago; both are asynchronous."""
        for identity, instance in list(self.state["instances"].items()):
            if instance["gone_at"] and self.clock >= instance["gone_at"]:
                del self.state["instances"][identity]
                for eip in self.state["eips"].values():
                    if eip["InstanceId"] == identity:
                        eip.update(Status="Unassociating", settled_at=self.clock + EIP_SETTLES)
        self._settle_network()

    def _settle_network(self) -> None:
        for identity, entry in list(self.state["routes"].items()):
            if entry["Status"] != "Available" and self.clock >= entry["settled_at"]:
                if entry["Status"] == "Deleting":
                    del self.state["routes"][identity]
                else:
                    entry["Status"] = "Available"
        for kind in ("nats", "snats"):
            for identity, one in list(self.state[kind].items()):
                if one["gone_at"] and self.clock >= one["gone_at"]:
                    del self.state[kind][identity]
        for identity, eip in list(self.state["eips"].items()):
            if eip["Status"] == "Releasing" and self.clock >= eip["settled_at"]:
                del self.state["eips"][identity]
            elif eip["Status"] == "Associating" and self.clock >= eip["settled_at"]:
                eip["Status"] = "InUse"
            elif eip["Status"] == "Unassociating" and self.clock >= eip["settled_at"]:
                eip.update(InstanceId="", InstanceType="", Status="Available")

    def _check(self, wanted: Action, given: Json) -> None:
        known = wanted.required | wanted.optional | COMMON
        for name, value in given.items():
            general = INDEX.sub(".N", name)
            if general not in known:
                raise RefusedError(400, "InvalidParameter", f"The parameter {name} is unknown to this fake.")
            if value == "None":
                raise RefusedError(400, "InvalidParameter", f"The parameter {name} is Python's None.")
        have = {INDEX.sub(".N", name) for name, value in given.items() if value}
        for name in sorted(wanted.required - have):
            raise RefusedError(400, "MissingParameter", f'The input parameter "{name}" is mandatory.')

    def _once(self, name: str, wanted: Action, given: Json) -> Json:
        """Return the first answer again to the same token: https://www.alibabacloud.com/help/en/ecs/developer-reference/how-to-ensure-idempotence."""
        token = given.get("ClientToken")
        if not token:
            return wanted.run(self, given)
        if len(token) > 64 or not token.isascii():
            raise RefusedError(400, "InvalidParameter.ClientToken")
        asked = {key: value for key, value in given.items() if key not in COMMON}
        if known := self.state["tokens"].get(f"{name} {token}"):
            if known["asked"] != asked:
                raise RefusedError(400, "IdempotentParameterMismatch", "The request uses the same client token.")
            body: Json = known["body"]
            return body
        body = wanted.run(self, given)
        self.state["tokens"][f"{name} {token}"] = {"asked": asked, "body": body}
        return body

    def check_quota(self, kind: str, code: str) -> None:
        """Refuse one more than there may be."""
        if len(self.state[kind]) >= self.quota.get(kind, 10**6):
            raise RefusedError(403, code, f"The quota of {kind} is exceeded.")

    def found(self, kind: str, identity: str, code: str) -> Json:
        """Return one resource, or refuse as for one that does not exist."""
        if identity not in self.state[kind]:
            raise RefusedError(404, code, f"The specified {identity} does not exist.")
        entry: Json = self.state[kind][identity]
        return entry


def numbered(given: Json, name: str) -> list[str]:
    """Return the values of Name.1, Name.2, ..."""
    found = {int(key.split(".")[1]): value for key, value in given.items() if re.fullmatch(rf"{name}\.\d+", key)}
    return [found[number] for number in sorted(found)]


def records(given: Json, name: str) -> list[Json]:
    """Return the values of Name.1.Key, Name.1.Value, ... by number."""
    rows: dict[int, Json] = {}
    for key, value in given.items():
        if match := re.fullmatch(rf"{name}\.(\d+)\.(\w+)", key):
            rows.setdefault(int(match[1]), {})[match[2]] = value
    return [rows[number] for number in sorted(rows)]


def tags_of(given: Json) -> dict[str, str]:
    """Return the tags of a request: keys may not begin with acs: or aliyun, twenty at most."""
    tags = {row["Key"]: row.get("Value", "") for row in records(given, "Tag")}
    if len(tags) > 20 or any(key.startswith(("acs:", "aliyun")) for key in tags):
        raise RefusedError(400, "InvalidTagKey.Malformed")
    return tags


def tagged(entries: Iterable[Json], given: Json) -> list[Json]:
    """Return the entries that carry all tags asked for."""
    wanted = tags_of(given).items()
    return [entry for entry in entries if wanted <= entry["Tags"].items()]


def shown(entry: Json, *, product: str = "ecs", without: Iterable[str] = ()) -> Json:
    """Return an entry as lists show it: tags in the product's own words."""
    key, value = ("TagKey", "TagValue") if product == "ecs" else ("Key", "Value")
    tags = {"Tag": [{key: name, value: text} for name, text in entry["Tags"].items()]}
    return {**{name: part for name, part in entry.items() if name not in without}, "Tags": tags}


def by_number(entries: list[Json], given: Json, outer: str, inner: str, most: int = 50) -> Json:
    """Return one page by PageNumber and PageSize; ten where no size is asked for."""
    size, number = int(given.get("PageSize", 10)), int(given.get("PageNumber", 1))
    if not 1 <= size <= most:
        raise RefusedError(400, "InvalidParameter", "The specified PageSize is not valid.")
    page = entries[(number - 1) * size : number * size]
    return {outer: {inner: page}, "TotalCount": len(entries), "PageNumber": number, "PageSize": size}


def by_token(entries: list[Json], given: Json, outer: str, inner: str) -> Json:
    """Return one page by MaxResults and NextToken, or by number where neither is given."""
    if "MaxResults" not in given:
        return by_number(entries, given, outer, inner, 100)
    size, start = int(given["MaxResults"]), int(given.get("NextToken", "0"))
    if not 1 <= size <= 100:
        raise RefusedError(400, "InvalidParameter.MaxResults")
    more = str(start + size) if start + size < len(entries) else ""
    return {outer: {inner: entries[start : start + size]}, "TotalCount": len(entries), "NextToken": more}
