# SPDX-License-Identifier: Apache-2.0
"""Route tables of the fake Alibaba Cloud: a VPC has one of its own, entries lead to instances of the account.

A page that is named is https://www.alibabacloud.com/help/en/vpc/developer-reference/api-vpc-2016-04-28-PAGE.
"""

from __future__ import annotations

import ipaddress

from fake_alicloud import Json, RefusedError
from fake_alicloud_account import Account, action, by_number


def add_table(account: Account, vpc: str, kind: str = "System", switches: tuple[str, ...] = ()) -> str:
    """Add a table to a VPC: its own, or one of some vSwitches."""
    identity = account.new_id("vtb")
    account.state["tables"][identity] = {
        "RouteTableId": identity,
        "VpcId": vpc,
        "RouteTableType": kind,
        "Status": "Available",
        "VSwitchIds": {"VSwitchId": list(switches)},
    }
    return identity


def add_route(account: Account, table: str, cidr: str, hop: str, description: str = "", kind: str = "Custom") -> str:
    """Add an entry that is there at once, as those are that somebody else made."""
    identity = account.new_id("rte")
    account.state["routes"][identity] = {
        "RouteTableId": table,
        "RouteEntryId": identity,
        "DestinationCidrBlock": cidr,
        "Type": kind,
        "Status": "Available",
        "RouteEntryName": "",
        "Description": description,
        "NextHops": {"NextHop": [{"NextHopId": hop, "NextHopType": "Instance", "Enabled": 1}]},
        "settled_at": 0.0,
    }
    return identity


def hops_of(account: Account, table: str = "") -> dict[str, str]:
    """Return where the destinations of a table lead, or of all tables."""
    account.settle()
    return {
        one["DestinationCidrBlock"]: hop_of(one)
        for one in account.state["routes"].values()
        if one["RouteTableId"] == table or not table
    }


def hop_of(entry: Json) -> str:
    """Return the instance that an entry leads to."""
    return str(entry["NextHops"]["NextHop"][0]["NextHopId"])


def follow(account: Account) -> None:
    """Route packets on the lab's router as the entries say: destinations, with the private address of the instance."""
    account.settle()
    kept = [one for one in account.state["routes"].values() if one["Status"] != "Deleting"]
    addresses = {name: one["address"] for name, one in account.state["instances"].items()}
    account.route({one["DestinationCidrBlock"]: addresses[hop_of(one)] for one in kept if hop_of(one) in addresses})


@action("vpc", "VpcId", "PageNumber PageSize")
def describe_route_table_list(account: Account, given: Json) -> Json:
    """By VPC, by pages. A table of vSwitches' own is Custom (describeroutetablelist)."""
    tables = [one for one in account.state["tables"].values() if one["VpcId"] == given["VpcId"]]
    return by_number(tables, given, "RouterTableList", "RouterTableListType")


@action("vpc", "RouteTableId", "RouteEntryType MaxResult NextToken")
def describe_route_entry_list(account: Account, given: Json) -> Json:
    """By table and type; MaxResult 1 to 100, 10 by default (describerouteentrylist)."""
    account.found("tables", given["RouteTableId"], "InvalidRouteTableId.NotFound")
    account.settle()
    listed = [
        {key: value for key, value in one.items() if key != "settled_at"}
        for one in account.state["routes"].values()
        if one["RouteTableId"] == given["RouteTableId"] and given.get("RouteEntryType", one["Type"]) == one["Type"]
    ]
    most, start = int(given.get("MaxResult", 10)), int(given.get("NextToken") or 0)
    if not 1 <= most <= 100:
        raise RefusedError(400, "InvalidParameter.MaxResult")
    more = {"NextToken": str(start + most)} if start + most < len(listed) else {}
    return {"RouteEntrys": {"RouteEntry": listed[start : start + most]}, **more}


@action("vpc", "RouteTableId DestinationCidrBlock NextHopType NextHopId ClientToken", "RouteEntryName Description")
def create_route_entry(account: Account, given: Json) -> Json:
    """One at a time in a VPC, else TaskConflict; 200 in a table; a destination once (createrouteentry).

    Open: the codes for a quota and for a destination that is taken are those of the provider for Terraform.
    """
    table = account.found("tables", given["RouteTableId"], "InvalidRouteTableId.NotFound")
    _refuse_beside_others(account)
    if not (0 < len(given["RouteEntryName"]) <= 128 and 0 < len(given["Description"]) <= 256):
        raise RefusedError(400, "InvalidRouteEntryName.Malformed")
    if given["NextHopType"] != "Instance":
        raise RefusedError(400, "InvalidNextHopType", "This fake routes to instances.")
    instance = account.found("instances", given["NextHopId"], "InvalidNextHopId.NotFound")
    if instance["VpcAttributes"]["VpcId"] != table["VpcId"]:
        raise RefusedError(400, "InvalidNextHopId.NotFound", "The instance is not in the VPC of the table.")
    block = ipaddress.ip_network(given["DestinationCidrBlock"])
    there = hops_of(account, given["RouteTableId"])
    if str(block) in there:
        raise RefusedError(400, "RouterEntryConflict.Duplicated")
    switches = [one for one in account.state["vswitches"].values() if one["VpcId"] == table["VpcId"]]
    if any(block.subnet_of(ipaddress.ip_network(one["CidrBlock"])) for one in switches):  # type: ignore[arg-type]
        raise RefusedError(400, "InvalidCidrBlock")
    if len(there) >= account.quota.get("routes", 200):
        raise RefusedError(400, "QuotaExceeded.RouteEntry")
    identity = add_route(account, given["RouteTableId"], str(block), given["NextHopId"], given["Description"])
    account.state["routes"][identity] |= {
        "RouteEntryName": given["RouteEntryName"],
        "Status": "Creating",
        "settled_at": account.clock + account.route_seconds,
    }
    follow(account)
    return {"RouteEntryId": identity}


@action("vpc", "RouteTableId RouteEntryId")
def delete_route_entry(account: Account, given: Json) -> Json:
    """One that is Available; gone when it is listed no more (deleterouteentry)."""
    _refuse_beside_others(account)
    entry = account.found("routes", given["RouteEntryId"], "InvalidRouteEntry.NotFound")
    entry |= {"Status": "Deleting", "settled_at": account.clock + account.route_seconds}
    follow(account)
    return {}


def _refuse_beside_others(account: Account) -> None:
    account.settle()
    if any(one["Status"] != "Available" for one in account.state["routes"].values()):
        raise RefusedError(400, "TaskConflict", "The operation is too frequent, please wait a moment and try again.")
