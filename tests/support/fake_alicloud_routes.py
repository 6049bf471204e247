"""Route tables of a fake Alibaba Cloud, strict about parameters.

A page that is named is https://www.alibabacloud.com/help/en/vpc/developer-reference/api-vpc-2016-04-28-PAGE.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from fake_alicloud import COMMON, FakeCloud, Json, RefusedError


@dataclass
class RouteTables:
    """The tables of a VPC. What is made or deleted is on its way for some calls more."""

    cloud: FakeCloud
    tables: dict[str, list[str]] = field(default_factory=lambda: {"vtb-system": []})  # vSwitches of a table of theirs
    vswitches: dict[str, str] = field(default_factory=lambda: {"vsw-1": "10.0.0.0/24"})
    entries: dict[str, Json] = field(default_factory=dict)
    delay: int = 1  # calls that a change takes
    quota: int = 200
    number: int = 0
    tokens: dict[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Answer the cloud's calls."""
        for name in ("describe_route_table_list", "describe_route_entry_list", "create_route_entry"):
            self.cloud.actions["".join(part.capitalize() for part in name.split("_"))] = getattr(self, name)
        self.cloud.actions["DeleteRouteEntry"] = self.delete_route_entry
        self.cloud.actions["DescribeVSwitches"] = self.describe_vswitches

    def add(self, table: str, cidr: str, hop: str, description: str = "", kind: str = "Custom") -> str:
        """Add a route that somebody else made."""
        self.number += 1
        identity = f"rte-{self.number}"
        self.entries[identity] = {
            "RouteTableId": table,
            "RouteEntryId": identity,
            "DestinationCidrBlock": cidr,
            "Type": kind,
            "Status": "Available",
            "RouteEntryName": "",
            "Description": description,
            "NextHops": {"NextHop": [{"NextHopId": hop, "NextHopType": "Instance", "Enabled": 1}]},
        }
        return identity

    def hops(self, table: str = "vtb-system") -> dict[str, str]:
        """Return where each destination of a table leads."""
        return {
            one["DestinationCidrBlock"]: one["NextHops"]["NextHop"][0]["NextHopId"]
            for one in self.entries.values()
            if one["RouteTableId"] == table
        }

    def describe_route_table_list(self, given: Json) -> Json:
        """By VPC, by pages. A table of vSwitches' own is Custom (describeroutetablelist)."""
        _strict(given, "VpcId", "PageNumber PageSize")
        tables = [
            {
                "RouteTableId": name,
                "VpcId": given["VpcId"],
                "RouteTableType": "Custom" if switches else "System",
                "Status": "Available",
                "VSwitchIds": {"VSwitchId": switches},
            }
            for name, switches in self.tables.items()
        ]
        return {"RouterTableList": {"RouterTableListType": tables}, "TotalCount": len(tables)}

    def describe_vswitches(self, given: Json) -> Json:
        """By VPC (describevswitches)."""
        _strict(given, "VpcId", "PageNumber PageSize")
        listed = [{"VSwitchId": name, "CidrBlock": cidr} for name, cidr in self.vswitches.items()]
        return {"VSwitches": {"VSwitch": listed}, "TotalCount": len(listed)}

    def describe_route_entry_list(self, given: Json) -> Json:
        """By table and type; MaxResult 1 to 100, 10 by default (describerouteentrylist)."""
        _strict(given, "RouteTableId", "RouteEntryType MaxResult NextToken")
        self._pass()
        listed = [
            one
            for one in self.entries.values()
            if one["RouteTableId"] == given["RouteTableId"] and given.get("RouteEntryType", one["Type"]) == one["Type"]
        ]
        most, start = int(given.get("MaxResult", 10)), int(given.get("NextToken") or 0)
        if not 1 <= most <= 100:
            raise RefusedError(400, "InvalidParameter.MaxResult")
        more = {"NextToken": str(start + most)} if start + most < len(listed) else {}
        return {"RouteEntrys": {"RouteEntry": listed[start : start + most]}, **more}

    def create_route_entry(self, given: Json) -> Json:
        """One at a time in a VPC, else TaskConflict; 200 in a table; a destination once (createrouteentry).

        Open: the codes for a quota and for a destination that is taken are those of the provider for Terraform.
        """
        _strict(
            given,
            "RouteTableId DestinationCidrBlock NextHopType NextHopId ClientToken",
            "RouteEntryName Description",
        )
        if given["ClientToken"] in self.tokens:
            return self.tokens[given["ClientToken"]]
        self._refuse_others()
        if not (0 < len(given["RouteEntryName"]) <= 128 and 0 < len(given["Description"]) <= 256):
            raise RefusedError(400, "InvalidRouteEntryName.Malformed")
        if given["RouteTableId"] not in self.tables:
            raise RefusedError(404, "InvalidRouteTableId.NotFound")
        block = ipaddress.ip_network(given["DestinationCidrBlock"])
        there = self.hops(given["RouteTableId"])
        if str(block) in there:
            raise RefusedError(400, "RouterEntryConflict.Duplicated")
        if any(block.subnet_of(ipaddress.ip_network(cidr)) for cidr in self.vswitches.values()):  # type: ignore[arg-type]
            raise RefusedError(400, "InvalidCidrBlock")
        if len(there) >= self.quota:
            raise RefusedError(400, "QuotaExceeded.RouteEntry")
        identity = self.add(given["RouteTableId"], str(block), given["NextHopId"], given["Description"])
        self.entries[identity] |= {"RouteEntryName": given["RouteEntryName"], "Status": "Creating", "left": self.delay}
        self.tokens[given["ClientToken"]] = {"RouteEntryId": identity}
        return {"RouteEntryId": identity}

    def delete_route_entry(self, given: Json) -> Json:
        """One that is Available; gone when it is listed no more (deleterouteentry)."""
        _strict(given, "RouteTableId RouteEntryId", "")
        self._refuse_others()
        if given["RouteEntryId"] not in self.entries:
            raise RefusedError(404, "InvalidRouteEntry.NotFound")
        self.entries[given["RouteEntryId"]] |= {"Status": "Deleting", "left": self.delay}
        return {}

    def _refuse_others(self) -> None:
        busy = any(one["Status"] != "Available" for one in self.entries.values())
        self._pass()
        if busy:
            raise RefusedError(400, "TaskConflict")

    def _pass(self) -> None:
        """Let what is on its way come nearer."""
        for identity, one in list(self.entries.items()):
            if one["Status"] != "Available":
                one["left"] -= 1
                if one["left"] <= 0 and one["Status"] == "Deleting":
                    del self.entries[identity]
                elif one["left"] <= 0:
                    one["Status"] = "Available"


def _strict(given: Json, required: str, optional: str) -> None:
    known = {*required.split(), *optional.split(), *COMMON}
    if strange := set(given) - known:
        raise RefusedError(400, "UnknownParameter", str(sorted(strange)))
    if missing := set(required.split()) - set(given):
        raise RefusedError(400, f"Missing{min(missing)}")
