# SPDX-License-Identifier: Apache-2.0
"""Routes of a VPC to the pods of each node: planned as a whole, then written one after the other.

A route is ours when its description has the cluster's id; others are neither changed nor deleted. API:
https://www.alibabacloud.com/help/en/vpc/developer-reference/api-vpc-2016-04-28-createrouteentry, -deleterouteentry,
-describerouteentrylist, -describeroutetablelist, -describevswitches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network
from typing import Any

from ansible.module_utils.yunkube.cloud import security_rules
from ansible.module_utils.yunkube.cloud.client import Client, Json
from ansible.module_utils.yunkube.cloud.declaration import CLUSTER_TAG, ID_TAG, QUOTA, SHARED, Declaration
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.existing import addresses, tags_of
from ansible.module_utils.yunkube.cloud.work import Work, until
from ansible.module_utils.yunkube.result import Fault, RefusedError

QUOTAS = "https://quotas.console.aliyun.com"
MARK = "yunkube-id="  # followed by the cluster's id
ROUNDS = 3  # plans, where another control machine writes at the same time
PATIENCE, POLL = 60.0, 2.0  # seconds in which a route is there once it was accepted, and between two looks
AVAILABLE = "Available"

_OTHER_RANGE = "choose another cluster_pod_cidr (which needs a new cluster), or use vxlan"


class RoutesError(RefusedError):
    """The routes cannot be what they should be; nothing was written."""


@dataclass(frozen=True)
class Node:
    """A node of the cluster: the addresses of its pods, and the one at which it is found in the cloud."""

    name: str
    cidr: str
    address: str


@dataclass(frozen=True, order=True)
class Route:
    """What a route table shall have for a node."""

    table: str
    cidr: str
    node: str
    instance: str

    def __str__(self) -> str:
        """Return it as a person reads it."""
        return f"{self.cidr} to {self.node} ({self.instance}) in {self.table}"


@dataclass(frozen=True)
class Entry:
    """A custom route that is there."""

    table: str
    cidr: str
    identity: str
    hop: str
    name: str
    description: str
    status: str

    def is_of(self, cluster_id: str) -> bool:
        """Say whether a cluster made it."""
        return f"{MARK}{cluster_id}" in self.description.split()

    def __str__(self) -> str:
        """Return it as a person reads it."""
        return f"{self.cidr} to {self.name or self.hop} ({self.hop}) in {self.table}"


@dataclass(frozen=True)
class Plan:
    """What is to be done: routes that go, then routes that come."""

    delete: Sequence[Entry] = ()
    create: Sequence[Route] = ()

    @property
    def words(self) -> list[str]:
        """Return it in words."""
        return [f"delete the route {one}" for one in self.delete] + [f"create the route {one}" for one in self.create]


@dataclass
class Found:
    """What there is in the cloud: tables that the nodes' traffic goes by, routes of all tables, the cluster's VPC."""

    tables: Sequence[str]
    entries: Sequence[Entry]
    vpc: str
    instances: Mapping[str, str] = field(default_factory=dict)  # private address -> id


def plan(nodes: Sequence[Node], found: Found, cluster_id: str, quota: int = QUOTA) -> Plan:
    """Compare what there is with the nodes; RoutesError where a route cannot be made, with all reasons."""
    faults = list(_node_faults(nodes, found))
    wanted = {
        (table, node.cidr): Route(table, node.cidr, node.name, found.instances[node.address])
        for node in nodes
        if node.cidr and node.address in found.instances
        for table in found.tables
    }
    ours = {(one.table, one.cidr): one for one in found.entries if one.is_of(cluster_id)}
    foreign = [one for one in found.entries if not one.is_of(cluster_id)]
    faults += list(_foreign_faults(wanted.values(), foreign))
    delete = [one for place, one in ours.items() if place not in wanted or wanted[place].instance != one.hop]
    create = [one for place, one in wanted.items() if place not in ours or ours[place].hop != one.instance]
    if create:
        faults += crowded({table: _after(table, found.entries, delete, create) for table in found.tables}, quota)
    if faults:
        raise RoutesError(faults)
    return Plan(delete, sorted(create))


def _after(table: str, entries: Sequence[Entry], delete: Sequence[Entry], create: Sequence[Route]) -> int:
    """Return how many custom routes a table has when all is done."""
    there, gone, new = (sum(one.table == table for one in part) for part in (entries, delete, create))
    return there - gone + new


def crowded(after: Mapping[str, int], quota: int) -> Iterator[Fault]:
    """Yield the tables with more custom routes than they may hold; `after` are those that each would have."""
    for table, count in after.items():
        if count > quota:
            message = f"would have {count} custom routes, and {quota} are allowed"
            yield _fault(table, message, f"raise that quota at {QUOTAS} and in flannel_vpc_quota, or use vxlan")


def _fault(host: str, message: str, remedy: str) -> Fault:
    return Fault("routes", message, remedy, host)


def _node_faults(nodes: Sequence[Node], found: Found) -> Iterator[Fault]:
    for node in nodes:
        if not node.cidr:
            yield _fault(
                node.name, "has no address range for its pods", "see the fault node-without-pod-cidr of the doctor"
            )
        elif ip_network(node.cidr).overlaps(ip_network(SHARED)):
            yield _fault(
                node.name, f"its pod range {node.cidr} lies in {SHARED}, which the cloud reserves", _OTHER_RANGE
            )
        if node.address not in found.instances:
            message = f"no instance of the cluster has its address {node.address}"
            yield _fault(
                node.name, message, f"give its instance the tag {CLUSTER_TAG} that the others have, or remove the node"
            )


def _foreign_faults(wanted: Iterable[Route], foreign: Sequence[Entry]) -> Iterator[Fault]:
    for route in wanted:
        for one in foreign:
            if one.table == route.table and _inside(one.cidr, route.cidr):
                message = f"the route {one} is not the cluster's and takes the traffic to its pods in {route.cidr}"
                yield _fault(route.node, message, f"delete it ({one.identity}), or find out what creates it")


def _inside(cidr: str, outer: str) -> bool:
    """Say whether a range lies in another; a destination may also be a list of prefixes, which has a name."""
    try:
        inner, around = IPv4Network(cidr), IPv4Network(outer)
    except ValueError:
        return False
    return inner.subnet_of(around)


def absences(routes: Routes, nodes: Sequence[Node], quota: int = QUOTA) -> dict[str, list[str]]:
    """Return for each node which of its routes are not there, in words; RoutesError as `plan` raises it."""
    words: dict[str, list[str]] = {}
    for route in plan(nodes, routes.look(), routes.cluster_id, quota).create:
        words.setdefault(route.node, []).append(f"there is no route {route}")
    return words


def room(client: Client, wanted: Declaration, vpcs: Sequence[Json], switches: Iterable[str]) -> Iterator[Fault]:
    """Yield tables that have no room for a route to each of the hosts, before these are made."""
    owner, taken = wanted.owner, {"the route table": 0}
    if vpcs:
        routes = Routes(client, owner.cluster, owner.cluster_id)
        taken = routes.foreign(str(vpcs[0]["VpcId"]), {*switches} or {""})
    yield from crowded({table: count + len(wanted.hosts) for table, count in taken.items()}, wanted.route_quota)


def delete_all(work: Work) -> None:
    """Delete the routes to a cluster's pods before its hosts, and before the rules by which they are found."""
    if security_rules.admit_pods(work.there.groups):
        owner = work.wanted.owner
        routes = Routes(work.client, owner.cluster, owner.cluster_id, work.sleep)
        routes.absent(dry_run=work.dry_run)
        work.changes += routes.changes


class Routes:
    """The routes of one cluster in the cloud."""

    def __init__(
        self, client: Client, cluster: str, cluster_id: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Ask nothing yet."""
        self.client, self.cluster, self.cluster_id, self._sleep = client, cluster, cluster_id, sleep
        self.changes: list[str] = []  # what was done, or would be in a dry run, in words

    def present(self, nodes: Sequence[Node], quota: int = QUOTA, *, dry_run: bool = False) -> tuple[Plan, Found]:
        """Make the routes of these nodes and delete those of others that were ours; return the plan, and what it met.

        Where another control machine writes at the same time, what it made is looked at, and the plan is made again.
        """
        for rounds_left in reversed(range(ROUNDS)):
            found = self.look()
            todo = plan(nodes, found, self.cluster_id, quota)
            if todo.create:
                self._refuse_vswitches(todo.create, found.vpc)
            if dry_run:
                self.changes = todo.words
                break
            if self._carry_out(todo, last=not rounds_left):
                break
        if self.changes and not dry_run:
            self._prove(nodes, quota)
        return todo, found

    def absent(self, *, dry_run: bool = False) -> tuple[Plan, Found]:
        """Delete all routes of the cluster; return the plan, and what it met."""
        found = self.look()
        todo = Plan(delete=[one for one in found.entries if one.is_of(self.cluster_id)])
        if dry_run:
            self.changes = todo.words
        else:
            self._carry_out(todo, last=True)
            if todo.delete:
                self._prove([], QUOTA)
        return todo, found

    def look(self) -> Found:
        """Return what there is, once none of our routes is on its way."""
        instances = list(self._instances())
        vpcs = {str((one.get("VpcAttributes") or {}).get("VpcId")) for one in instances}
        if not vpcs:  # routes outlive instances that the cloud itself released, in a VPC that is not known then
            everywhere = list(self.client.pages("vpc", "DescribeVpcs", "Vpcs", "Vpc"))
            tables = [table for one in everywhere for table in self._tables(str(one["VpcId"]), set())[1]]
            return Found([], self._settled(tables), "")
        if len(vpcs) > 1:
            message = f"its instances are in {len(vpcs)} VPCs, {' and '.join(sorted(vpcs))}"
            raise RoutesError([_fault(self.cluster, message, "routes need all of them in one VPC: use vxlan")])
        vpc = vpcs.pop()
        used, tables = self._tables(vpc, {str((one.get("VpcAttributes") or {}).get("VSwitchId")) for one in instances})
        ids = {addresses(one)[0]: str(one["InstanceId"]) for one in instances}
        return Found(used, self._settled(tables), vpc, ids)

    def foreign(self, vpc: str, switches: set[str]) -> dict[str, int]:
        """Return how many custom routes of others are in each table that these vSwitches use."""
        used, _ = self._tables(vpc, switches)
        return {table: sum(not one.is_of(self.cluster_id) for one in self._entries(table)) for table in used}

    def _instances(self) -> Iterator[Json]:
        tags = [{"Key": CLUSTER_TAG, "Value": self.cluster}]
        for one in self.client.pages("ecs", "DescribeInstances", "Instances", "Instance", tags=tags):
            if tags_of(one).get(ID_TAG, self.cluster_id) == self.cluster_id:
                yield one

    def _tables(self, vpc: str, switches: set[str]) -> tuple[list[str], list[str]]:
        """Return the tables that vSwitches use, one of their own or the VPC's, and all that there are."""
        listed = list(
            self.client.pages("vpc", "DescribeRouteTableList", "RouterTableList", "RouterTableListType", vpc_id=vpc)
        )
        custom = [one for one in listed if one.get("RouteTableType") == "Custom"]
        used = {
            str(one["RouteTableId"]): switches & set((one.get("VSwitchIds") or {}).get("VSwitchId") or [])
            for one in custom
        }
        found = [table for table, theirs in used.items() if theirs]
        if switches - {name for theirs in used.values() for name in theirs}:
            found += [str(one["RouteTableId"]) for one in listed if one.get("RouteTableType") == "System"]
        return sorted(found), [str(one["RouteTableId"]) for one in listed]

    def _settled(self, tables: Sequence[str]) -> list[Entry]:
        """Return the custom routes; only those that are there can be deleted, and ours may still be on their way."""
        entries: list[Entry] = []
        moving: list[Entry] = []

        def settled() -> bool | None:
            entries[:] = [entry for table in tables for entry in self._entries(table)]
            moving[:] = [one for one in entries if one.is_of(self.cluster_id) and one.status != AVAILABLE]
            return None if moving else True

        if until(settled, PATIENCE, self._sleep, POLL) is None:
            message = f"the route {moving[0]} has been {moving[0].status} for more than {PATIENCE:.0f} s"
            remedy = "check it in the console, then run the same command again"
            raise RoutesError([_fault(self.cluster, message, remedy)])
        return entries

    def _entries(self, table: str) -> Iterator[Entry]:
        listed = self.client.pages(
            "vpc",
            "DescribeRouteEntryList",
            "RouteEntrys",
            "RouteEntry",
            route_table_id=table,
            route_entry_type="Custom",
        )
        for one in listed:
            hops = (one.get("NextHops") or {}).get("NextHop") or []
            yield Entry(
                table,
                str(one["DestinationCidrBlock"]),
                str(one["RouteEntryId"]),
                ", ".join(str(hop.get("NextHopId")) for hop in hops),
                str(one.get("RouteEntryName") or ""),
                str(one.get("Description") or ""),
                str(one.get("Status") or AVAILABLE),
            )

    def _refuse_vswitches(self, wanted: Sequence[Route], vpc: str) -> None:
        """Refuse addresses of pods that a vSwitch has: their routes would be refused one by one."""
        ranges = [
            (str(one["VSwitchId"]), str(one["CidrBlock"]))
            for one in self.client.pages("vpc", "DescribeVSwitches", "VSwitches", "VSwitch", vpc_id=vpc)
        ]
        faults = [
            _fault(route.node, f"its pod range {route.cidr} overlaps the vSwitch {name}, {cidr}", _OTHER_RANGE)
            for route in wanted
            for name, cidr in ranges
            if IPv4Network(route.cidr).overlaps(IPv4Network(cidr))
        ]
        if faults:
            raise RoutesError(faults)

    def _carry_out(self, todo: Plan, *, last: bool) -> bool:
        """Do it; say whether that was all, for somebody else may write at the same time."""
        for entry in todo.delete:
            try:
                self.client.call("vpc", "DeleteRouteEntry", route_table_id=entry.table, route_entry_id=entry.identity)
            except CloudError as error:
                if not error.code.endswith(".NotFound"):  # the answer to an earlier try was lost
                    raise
            self.changes.append(f"delete the route {entry}")
        for route in todo.create:
            try:
                self.client.call(
                    "vpc",
                    "CreateRouteEntry",
                    route_table_id=route.table,
                    destination_cidr_block=route.cidr,
                    next_hop_type="Instance",
                    next_hop_id=route.instance,
                    route_entry_name=f"{self.cluster}-{route.node}"[:128],
                    description=f"{MARK}{self.cluster_id} pods of {route.node} in the cluster {self.cluster}",
                )
            except CloudError as error:
                if last or "Duplicat" not in error.code:
                    raise
                return False
            self.changes.append(f"create the route {route}")
        return True

    def _prove(self, nodes: Sequence[Node], quota: int) -> None:
        """See that all is there: a route that was accepted is made later."""
        left: list[str] = []

        def done() -> bool | None:
            left[:] = plan(nodes, self.look(), self.cluster_id, quota).words
            return None if left else True

        if until(done, PATIENCE, self._sleep, POLL) is None:
            message = f"not done after {PATIENCE:.0f} s: {left[0]}"
            remedy = "run the same command again; if that does not help, check the console"
            raise RoutesError([_fault(self.cluster, message, remedy)])


def bring(routes: Routes, params: Mapping[str, Any], *, dry_run: bool) -> tuple[Plan, Found]:
    """Bring the routes to what is asked for; return the plan, and what it met."""
    if params["state"] == "absent":
        return routes.absent(dry_run=dry_run)
    nodes = [Node(name, str(one["cidr"]), str(one["address"])) for name, one in sorted(params["nodes"].items())]
    return routes.present(nodes, params["quota"], dry_run=dry_run)


def diff(plan: Plan, found: Found, cluster_id: str) -> dict[str, str]:
    """Return the cluster's routes before and after."""
    before = [one for one in found.entries if one.is_of(cluster_id)]
    after = [str(one) for one in before if one not in plan.delete] + [str(one) for one in plan.create]
    lines = ("".join(f"{line}\n" for line in sorted(part)) for part in (map(str, before), after))
    return dict(zip(("before", "after"), lines, strict=True))
