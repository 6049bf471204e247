# SPDX-License-Identifier: Apache-2.0
"""NAT gateways and SNAT entries of the fake Alibaba Cloud; their addresses are in fake_alicloud_network.

From https://www.alibabacloud.com/help/en/nat-gateway/developer-reference/api-vpc-2016-04-28-createnatgateway-natgws
and its siblings. The route 0.0.0.0/0 that the cloud writes to a gateway is not here. How tags are shown is open, as are
the codes of dependencies, which are those that the provider for Terraform knows where it knows any.
"""

from __future__ import annotations

import ipaddress

from fake_alicloud import Json, RefusedError
from fake_alicloud_account import Account, action, by_number, shown, tagged, tags_of

TAG = "Tag.N.Key Tag.N.Value"
# Seconds; a gateway takes one to three minutes (createnatgateway), the others are open.
NAT_READY, NAT_GONE, ENTRY_READY, ENTRY_GONE = 90.0, 20.0, 4.0, 4.0


@action(
    "vpc",
    "VpcId VSwitchId",
    f"NatType NetworkType InstanceChargeType InternetChargeType Name Description EipBindMode ClientToken {TAG}",
)
def create_nat_gateway(account: Account, given: Json) -> Json:
    """Creating first; it can be asked for and nothing else then. Only Enhanced ones are sold any more."""
    vpc = account.found("vpcs", given["VpcId"], "InvalidVpcId.NotFound")
    switch = account.found("vswitches", given["VSwitchId"], "InvalidVSwitchId.NotFound")
    if switch["VpcId"] != vpc["VpcId"]:
        raise RefusedError(404, "InvalidVSwitchId.NotFound")
    for name, only in (("NatType", "Enhanced"), ("InstanceChargeType", "PostPaid"), ("InternetChargeType", "PayByLcu")):
        if given.get(name, only) != only:
            raise RefusedError(400, f"Invalid{name}.ValueNotSupported")
    if given.get("NetworkType", "internet") not in ("internet", "intranet"):
        raise RefusedError(400, "InvalidParameter.NetworkType")
    account.check_quota("nats", "QuotaExceeded.NatGateway")
    identity = account.new_id("ngw")
    account.state["nats"][identity] = {
        "NatGatewayId": identity,
        "Name": given.get("Name", ""),
        "VpcId": vpc["VpcId"],
        "NatType": "Enhanced",
        "NetworkType": given.get("NetworkType", "internet"),
        "InstanceChargeType": "PostPaid",
        "InternetChargeType": "PayByLcu",
        "BusinessStatus": "Normal",
        "CreationTime": account.stamp(),
        "SnatTableIds": {"SnatTableId": [account.new_id("stb")]},
        "NatGatewayPrivateInfo": {"VswitchId": switch["VSwitchId"], "IzNo": switch["ZoneId"]},
        "Tags": tags_of(given),
        "ready_at": account.clock + NAT_READY,
        "gone_at": 0.0,
    }
    return {"NatGatewayId": identity, "SnatTableIds": account.state["nats"][identity]["SnatTableIds"]}


def nat_status(account: Account, gateway: Json) -> str:
    """Return what a gateway is doing."""
    if gateway["gone_at"]:
        return "Deleting"
    return "Available" if account.clock >= gateway["ready_at"] else "Creating"


def steady(account: Account, identity: str) -> Json:
    """Return a gateway that takes changes."""
    gateway = account.found("nats", identity, "InvalidNatGatewayId.NotFound")
    if nat_status(account, gateway) != "Available":
        raise RefusedError(400, "IncorrectStatus.NatGateway", "The gateway is not in a stable status.")
    return gateway


@action("vpc", "", f"NatGatewayId VpcId Name NatType NetworkType Status PageNumber PageSize {TAG}")
def describe_nat_gateways(account: Account, given: Json) -> Json:
    """By id, VPC or tag, with the addresses that are bound."""
    found = [
        one
        for one in account.state["nats"].values()
        if all(given.get(key, one[key]) == one[key] for key in ("NatGatewayId", "VpcId"))
    ]
    entries = []
    for one in tagged(found, given):
        eips = [eip for eip in account.state["eips"].values() if eip["InstanceId"] == one["NatGatewayId"]]
        addresses = [{"IpAddress": eip["IpAddress"], "AllocationId": eip["AllocationId"]} for eip in eips]
        entry = shown(one, without=["ready_at", "gone_at"])
        entries.append({**entry, "Status": nat_status(account, one), "IpLists": {"IpList": addresses}})
    return by_number(entries, given, "NatGateways", "NatGateway")


@action("vpc", "NatGatewayId", "Force")
def delete_nat_gateway(account: Account, given: Json) -> Json:
    """Without Force not while it has entries or addresses; Deleting, then gone."""
    gateway = steady(account, given["NatGatewayId"])
    if given.get("Force", "false") != "false":
        raise RefusedError(400, "InvalidParameter", "This fake forces nothing.")
    if any(one["NatGatewayId"] == gateway["NatGatewayId"] for one in account.state["snats"].values()):
        raise RefusedError(400, "DependencyViolation.SnatEntry", "There are SNAT entries on the gateway.")
    if any(eip["InstanceId"] == gateway["NatGatewayId"] for eip in account.state["eips"].values()):
        raise RefusedError(400, "DependencyViolation.EIPS", "There are EIPs on the gateway.")
    gateway["gone_at"] = account.clock + NAT_GONE
    return {}


def _of_table(account: Account, table: str) -> Json:
    for gateway in account.state["nats"].values():
        if table in gateway["SnatTableIds"]["SnatTableId"]:
            return steady(account, gateway["NatGatewayId"])
    raise RefusedError(404, "InvalidSnatTableId.NotFound", "Specified SNAT table does not exist.")


@action("vpc", "SnatTableId SnatIp", "SourceVSwitchId SourceCIDR SnatEntryName ClientToken")
def create_snat_entry(account: Account, given: Json) -> Json:
    """Pending first. One source in one entry; the address is one of the gateway's (createsnatentry)."""
    gateway = _of_table(account, given["SnatTableId"])
    if ("SourceVSwitchId" in given) == ("SourceCIDR" in given):
        raise RefusedError(400, "INVALID_PARAMETER")
    if "SourceVSwitchId" in given:
        switch = account.found("vswitches", given["SourceVSwitchId"], "InvalidVSwitchId.NotFound")
        if switch["VpcId"] != gateway["VpcId"]:
            raise RefusedError(404, "InvalidVSwitchId.NotFound")
        if any(one["SourceVSwitchId"] == switch["VSwitchId"] for one in account.state["snats"].values()):
            raise RefusedError(400, "Forbidden.SourceVSwitchId.Duplicated", "The specified SourceCIDR is duplicated.")
    eips = [eip for eip in account.state["eips"].values() if eip["InstanceId"] == gateway["NatGatewayId"]]
    if given["SnatIp"] not in [eip["IpAddress"] for eip in eips if eip["Status"] == "InUse"]:
        raise RefusedError(404, "InvalidSnatIp.NotFound", "Specified SnatIp does not found on the NAT Gateway")
    source = given.get("SourceCIDR") or account.state["vswitches"][given["SourceVSwitchId"]]["CidrBlock"]
    identity = account.new_id("snat")
    account.state["snats"][identity] = {
        "SnatEntryId": identity,
        "SnatEntryName": given.get("SnatEntryName", ""),
        "SnatTableId": given["SnatTableId"],
        "NatGatewayId": gateway["NatGatewayId"],
        "SnatIp": given["SnatIp"],
        "SourceVSwitchId": given.get("SourceVSwitchId", ""),
        "SourceCIDR": str(ipaddress.ip_network(source)),
        "ready_at": account.clock + ENTRY_READY,
        "gone_at": 0.0,
    }
    return {"SnatEntryId": identity}


@action(
    "vpc",
    "",
    "SnatTableId NatGatewayId SnatEntryId SourceVSwitchId SourceCIDR SnatIp SnatEntryName PageNumber PageSize",
)
def describe_snat_table_entries(account: Account, given: Json) -> Json:
    """By table or gateway, one of which must be given (describesnattableentries)."""
    if not {"SnatTableId", "NatGatewayId"} & set(given):
        raise RefusedError(400, "MissingParameter", "Specify SnatTableId or NatGatewayId.")
    entries = []
    for one in account.state["snats"].values():
        if all(given.get(key, one[key]) == one[key] for key in ("SnatTableId", "NatGatewayId", "SourceVSwitchId")):
            status = "Available" if account.clock >= one["ready_at"] else "Pending"
            plain = {name: part for name, part in one.items() if name not in ("ready_at", "gone_at")}
            entries.append({**plain, "Status": "Deleting" if one["gone_at"] else status})
    return by_number(entries, given, "SnatTableEntries", "SnatTableEntry")


@action("vpc", "SnatTableId SnatEntryId", "ClientToken")
def delete_snat_entry(account: Account, given: Json) -> Json:
    """Not while an entry of the table is Pending (deletesnatentry); Deleting, then gone."""
    _of_table(account, given["SnatTableId"])
    entry = account.found("snats", given["SnatEntryId"], "InvalidSnatEntryId.NotFound")
    table = [one for one in account.state["snats"].values() if one["SnatTableId"] == given["SnatTableId"]]
    if any(account.clock < one["ready_at"] for one in table):
        raise RefusedError(400, "IncorretSnatEntryStatus", "Some Snat entry status blocked this operation.")
    entry["gone_at"] = entry["gone_at"] or account.clock + ENTRY_GONE
    return {}
