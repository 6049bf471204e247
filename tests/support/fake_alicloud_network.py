# SPDX-License-Identifier: Apache-2.0
"""VPCs, vSwitches, elastic addresses, security groups and key pairs of the fake Alibaba Cloud.

From https://www.alibabacloud.com/help/en/vpc/developer-reference/api-vpc-2016-04-28-createvpc and its siblings, and
https://www.alibabacloud.com/help/en/ecs/developer-reference/api-ecs-2014-05-26-createsecuritygroup and its siblings.
"""

from __future__ import annotations

import ipaddress
import json

from fake_alicloud import Json, RefusedError
from fake_alicloud_account import (
    EIP_SETTLES,
    Account,
    action,
    by_number,
    by_token,
    records,
    shown,
    tagged,
    tags_of,
)
from fake_alicloud_nat import steady
from fake_alicloud_routes import add_table

TAG = "Tag.N.Key Tag.N.Value"
VPC_READY, RULES = 1.0, 200  # seconds until a VPC is Available (open: not in the reference); rules of a group
KEY_TYPES = ("ssh-rsa ", "ssh-dss ", "ecdsa-sha2-")  # of the page of ImportKeyPair, as of 18 June 2026
RULE = ("IpProtocol", "PortRange", "SourceCidrIp", "SourceGroupId", "Policy", "Priority", "Description", "NicType")


@action("vpc", "CidrBlock", f"VpcName Description ClientToken {TAG}")
def create_vpc(account: Account, given: Json) -> Json:
    """Pending first; other actions on it are refused until it is Available."""
    account.check_quota("vpcs", "QuotaExceeded.Vpc")
    block = ipaddress.ip_network(given["CidrBlock"])
    if not 8 <= block.prefixlen <= 28:
        raise RefusedError(400, "InvalidCidrBlock.Malformed")
    identity = account.new_id("vpc")
    account.state["vpcs"][identity] = {
        "VpcId": identity,
        "VpcName": given.get("VpcName", ""),
        "CidrBlock": str(block),
        "SecondaryCidrBlocks": {"SecondaryCidrBlock": []},
        "CreationTime": account.stamp(),
        "RouterTableIds": {"RouterTableIds": [add_table(account, identity)]},
        "Tags": tags_of(given),
        "ready_at": account.clock + VPC_READY,
    }
    return {"VpcId": identity}


@action("vpc", "", f"VpcId PageNumber PageSize {TAG}")
def describe_vpcs(account: Account, given: Json) -> Json:
    """Fifty on a page at most."""
    found = [one for one in account.state["vpcs"].values() if given.get("VpcId", one["VpcId"]) == one["VpcId"]]
    entries = [
        {**shown(one, product="vpc", without=["ready_at"]), "Status": _vpc_status(account, one)}
        for one in tagged(found, given)
    ]
    return by_number(entries, given, "Vpcs", "Vpc")


def _vpc_status(account: Account, vpc: Json) -> str:
    return "Available" if account.clock >= vpc["ready_at"] else "Pending"


@action("vpc", "VpcId", "ClientToken")
def delete_vpc(account: Account, given: Json) -> Json:
    """A VPC with anything in it stays, also with a route that its owner made; its own table goes with it."""
    vpc = account.found("vpcs", given["VpcId"], "InvalidVpcID.NotFound")
    if any(
        one["VpcId"] == vpc["VpcId"] for kind in ("vswitches", "groups", "nats") for one in account.state[kind].values()
    ):
        raise RefusedError(400, "DependencyViolation.VSwitch", "Specified object has dependent resources.")
    tables = {name: one for name, one in account.state["tables"].items() if one["VpcId"] == vpc["VpcId"]}
    if any(one["RouteTableId"] in tables and one["Type"] == "Custom" for one in account.state["routes"].values()):
        raise RefusedError(400, "DependencyViolation.RouteEntry", "Specified object has dependent resources")
    if any(one["RouteTableType"] == "Custom" for one in tables.values()):
        raise RefusedError(400, "DependencyViolation.RouteTable", "Specified object has dependent resources")  # (open)
    for name in tables:
        del account.state["tables"][name]
    del account.state["vpcs"][vpc["VpcId"]]
    return {}


@action("vpc", "VpcId ZoneId CidrBlock", f"VSwitchName Description ClientToken {TAG}")
def create_vswitch(account: Account, given: Json) -> Json:
    """Within the VPC's block, and over no other vSwitch."""
    vpc = account.found("vpcs", given["VpcId"], "InvalidVpcId.NotFound")
    if _vpc_status(account, vpc) != "Available":
        raise RefusedError(400, "IncorrectVpcStatus", "Current VPC status does not support this operation.")
    if given["ZoneId"] not in account.zones:
        raise RefusedError(404, "InvalidZoneId.NotFound")
    block = ipaddress.ip_network(given["CidrBlock"])
    others = [ipaddress.ip_network(one["CidrBlock"]) for one in _switches(account, vpc["VpcId"])]
    if not block.subnet_of(ipaddress.ip_network(vpc["CidrBlock"])) or not 16 <= block.prefixlen <= 29:  # type: ignore[arg-type]
        raise RefusedError(400, "InvalidCidrBlock.Malformed")
    if any(block.overlaps(other) for other in others):
        raise RefusedError(400, "InvalidCidrBlock.Overlapped")
    account.check_quota("vswitches", "QuotaExceeded.VSwitch")
    identity = account.new_id("vsw")
    account.state["vswitches"][identity] = {
        "VSwitchId": identity,
        "VpcId": vpc["VpcId"],
        "ZoneId": given["ZoneId"],
        "CidrBlock": str(block),
        "VSwitchName": given.get("VSwitchName", ""),
        "Status": "Available",
        "CreationTime": account.stamp(),
        "AvailableIpAddressCount": block.num_addresses - 4,
        "Tags": tags_of(given),
    }
    return {"VSwitchId": identity}


def _switches(account: Account, vpc: str) -> list[Json]:
    return [one for one in account.state["vswitches"].values() if one["VpcId"] == vpc]


@action("vpc", "", f"VpcId VSwitchId ZoneId PageNumber PageSize {TAG}")
def describe_vswitches(account: Account, given: Json) -> Json:
    """By VPC, by id, by tag."""
    if given.get("VpcId"):
        account.found("vpcs", given["VpcId"], "InvalidVpcId.NotFound")
    found = [
        one
        for one in account.state["vswitches"].values()
        if all(given.get(key, one[key]) == one[key] for key in ("VpcId", "VSwitchId", "ZoneId"))
    ]
    return by_number([shown(one, product="vpc") for one in tagged(found, given)], given, "VSwitches", "VSwitch")


@action("vpc", "VSwitchId")
def delete_vswitch(account: Account, given: Json) -> Json:
    """One with instances in it stays, those that are being released too."""
    switch = account.found("vswitches", given["VSwitchId"], "InvalidVSwitchId.NotFound")
    if any(one["VSwitchId"] == switch["VSwitchId"] for one in account.state["instances"].values()):
        raise RefusedError(400, "DependencyViolation", "Specified object has dependent resources.")
    gateways = account.state["nats"].values()
    if any(one["NatGatewayPrivateInfo"]["VswitchId"] == switch["VSwitchId"] for one in gateways):
        raise RefusedError(400, "DependencyViolation", "Specified object has dependent resources.")
    del account.state["vswitches"][switch["VSwitchId"]]
    return {}


@action("vpc", "", f"Bandwidth InternetChargeType Name ClientToken {TAG}")
def allocate_eip_address(account: Account, given: Json) -> Json:
    """An address of TEST-NET-2, paid for from now on."""
    account.check_quota("eips", "QuotaExceeded.Eip")
    identity = account.new_id("eip")
    account.state["eips"][identity] = {
        "AllocationId": identity,
        "IpAddress": f"198.51.100.{account.state['number'] % 254 + 1}",
        "InstanceId": "",
        "InstanceType": "",
        "Status": "Available",
        "settled_at": 0.0,
        "Bandwidth": given.get("Bandwidth", "5"),
        "InternetChargeType": given.get("InternetChargeType", "PayByBandwidth"),
        "AllocationTime": account.stamp(),
        "Tags": tags_of(given),
    }
    return {"AllocationId": identity, "EipAddress": account.state["eips"][identity]["IpAddress"]}


@action("vpc", "", f"AllocationId PageNumber PageSize {TAG}")
def describe_eip_addresses(account: Account, given: Json) -> Json:
    """By tag or id."""
    found = [one for one in account.state["eips"].values() if given.get("AllocationId") in (None, one["AllocationId"])]
    entries = [shown(one, product="vpc", without=["settled_at"]) for one in tagged(found, given)]
    return by_number(entries, given, "EipAddresses", "EipAddress")


@action("vpc", "AllocationId InstanceId", "InstanceType ClientToken")
def associate_eip_address(account: Account, given: Json) -> Json:
    """To an instance that runs or is stopped, and has none; or to a NAT gateway that is Available."""
    eip = account.found("eips", given["AllocationId"], "InvalidAllocationId.NotFound")
    if given.get("InstanceType") == "Nat":
        gateway = steady(account, given["InstanceId"])
        if eip["Status"] != "Available":
            raise RefusedError(400, "IncorrectEipStatus")
        eip.update(InstanceId=gateway["NatGatewayId"], InstanceType="Nat", Status="Associating")
        eip["settled_at"] = account.clock + EIP_SETTLES
        return {}
    instance = account.found("instances", given["InstanceId"], "InvalidInstanceId.NotFound")
    if eip["Status"] != "Available":
        raise RefusedError(400, "IncorrectEipStatus")
    if account.clock < instance["running_at"]:
        raise RefusedError(400, "IncorrectInstanceStatus", "The instance is not in the running or stopped state.")
    if any(one["InstanceId"] == instance["InstanceId"] for one in account.state["eips"].values()):
        raise RefusedError(403, "BIND_INSTANCE_HAVE_PORTMAP_OR_BIND_EIP", "The instance already binds with eip.")
    eip.update(InstanceId=instance["InstanceId"], Status="InUse")
    return {}


@action("vpc", "AllocationId", "InstanceId InstanceType ClientToken")
def unassociate_eip_address(account: Account, given: Json) -> Json:
    """Free again, and paid for still. Without Force not while SNAT entries use it; the code for that is open."""
    eip = account.found("eips", given["AllocationId"], "InvalidAllocationId.NotFound")
    if eip["Status"] != "InUse":
        raise RefusedError(400, "IncorrectEipStatus")
    if eip["InstanceType"] == "Nat":
        steady(account, eip["InstanceId"])
        if any(one["SnatIp"] == eip["IpAddress"] for one in account.state["snats"].values()):
            raise RefusedError(400, "DependencyViolation.SnatEntry")
    eip.update(Status="Unassociating", settled_at=account.clock + EIP_SETTLES)
    return {}


@action("vpc", "AllocationId")
def release_eip_address(account: Account, given: Json) -> Json:
    """Only one that nothing uses; Releasing, then gone (releaseeipaddress)."""
    eip = account.found("eips", given["AllocationId"], "InvalidAllocationId.NotFound")
    if eip["Status"] != "Available":
        raise RefusedError(400, "IncorrectEipStatus", "The EIP is in use.")
    eip.update(Status="Releasing", settled_at=account.clock + EIP_SETTLES)
    return {}


@action("ecs", "VpcId", f"SecurityGroupName SecurityGroupType Description ClientToken {TAG}")
def create_security_group(account: Account, given: Json) -> Json:
    """Basic, and open within itself: https://www.alibabacloud.com/help/en/ecs/user-guide/overview-of-security-groups."""
    account.found("vpcs", given["VpcId"], "InvalidVpcId.NotFound")
    account.check_quota("groups", "QuotaExceed.SecurityGroup")
    identity = account.new_id("sg")
    account.state["groups"][identity] = {
        "SecurityGroupId": identity,
        "SecurityGroupName": given.get("SecurityGroupName", ""),
        "VpcId": given["VpcId"],
        "SecurityGroupType": "normal",
        "CreationTime": account.stamp(),
        "Tags": tags_of(given),
        "made_at": account.clock,
        "inner": "Accept",
        "rules": [],
    }
    return {"SecurityGroupId": identity}


@action("ecs", "", f"SecurityGroupId VpcId MaxResults NextToken {TAG}")
def describe_security_groups(account: Account, given: Json) -> Json:
    """Without their rules."""
    found = [
        one
        for one in account.state["groups"].values()
        if given.get("VpcId", one["VpcId"]) == one["VpcId"] and account.clock >= one["made_at"] + account.listing_delay
    ]
    entries = [shown(one, without=["made_at", "rules", "inner"]) for one in tagged(found, given)]
    return by_token(entries, given, "SecurityGroups", "SecurityGroup")


@action("ecs", "SecurityGroupId", "Direction NicType MaxResults NextToken")
def describe_security_group_attribute(account: Account, given: Json) -> Json:
    """Its rules and its policy within itself."""
    group = account.found("groups", given["SecurityGroupId"], "InvalidSecurityGroupId.NotFound")
    if account.clock < group["made_at"] + account.listing_delay:
        raise RefusedError(404, "InvalidSecurityGroupId.NotFound")
    page = by_token(group["rules"], given, "Permissions", "Permission")
    return {**page, "SecurityGroupId": group["SecurityGroupId"], "InnerAccessPolicy": group["inner"]}


@action("ecs", "SecurityGroupId InnerAccessPolicy", "ClientToken")
def modify_security_group_policy(account: Account, given: Json) -> Json:
    """Accept or Drop."""
    group = account.found("groups", given["SecurityGroupId"], "InvalidSecurityGroupId.NotFound")
    if given["InnerAccessPolicy"] not in ("Accept", "Drop"):
        raise RefusedError(400, "InvalidPolicy.Malformed")
    group["inner"] = given["InnerAccessPolicy"]
    return {}


@action("ecs", "SecurityGroupId", "ClientToken " + " ".join(f"Permissions.N.{name}" for name in RULE))
def authorize_security_group(account: Account, given: Json) -> Json:
    """A hundred at once, two hundred in all; one that is there already is no error, and makes no second."""
    group = account.found("groups", given["SecurityGroupId"], "InvalidSecurityGroupId.NotFound")
    rows = records(given, "Permissions")
    if not 1 <= len(rows) <= 100:
        raise RefusedError(400, "InvalidParam.Permissions")
    for row in rows:
        if ("SourceCidrIp" in row) == ("SourceGroupId" in row):
            raise RefusedError(400, "InvalidParam.SourceIp", "One source is mandatory.")
        if "SourceGroupId" in row:
            account.found("groups", row["SourceGroupId"], "InvalidSourceGroupId.NotFound")
        rule = {name: row.get(name, "") for name in RULE} | {"IpProtocol": row["IpProtocol"].upper()}
        # A single address loses its length (open: not in the reference).
        rule["SourceCidrIp"] = rule["SourceCidrIp"].removesuffix("/32")
        rule |= {"Policy": row.get("Policy", "Accept"), "Direction": "ingress", "NicType": "intranet"}
        same = ("IpProtocol", "PortRange", "SourceCidrIp", "SourceGroupId", "Policy")
        if any(all(rule[name] == other[name] for name in same) for other in group["rules"]):
            continue
        group["rules"].append({**rule, "SecurityGroupRuleId": account.new_id("sgr")})
    if len(group["rules"]) > RULES:
        raise RefusedError(403, "AuthorizationLimitExceed", "The limit of authorization records is exceeded.")
    return {}


@action("ecs", "SecurityGroupId SecurityGroupRuleId.N", "ClientToken")
def revoke_security_group(account: Account, given: Json) -> Json:
    """By the ids of rules; those that are not there any more are no error."""
    group = account.found("groups", given["SecurityGroupId"], "InvalidSecurityGroupId.NotFound")
    gone = {value for name, value in given.items() if name.startswith("SecurityGroupRuleId.")}
    group["rules"] = [rule for rule in group["rules"] if rule["SecurityGroupRuleId"] not in gone]
    return {}


@action("ecs", "SecurityGroupId")
def delete_security_group(account: Account, given: Json) -> Json:
    """Not while instances are in it, or another group names it."""
    group = account.found("groups", given["SecurityGroupId"], "InvalidSecurityGroupId.NotFound")
    identity = group["SecurityGroupId"]
    if any(identity in one["groups"] for one in account.state["instances"].values()):
        raise RefusedError(403, "DependencyViolation", "There is still instance(s) in the specified security group.")
    others = [one for one in account.state["groups"].values() if one is not group]
    if any(rule["SourceGroupId"] == identity for one in others for rule in one["rules"]):
        raise RefusedError(403, "DependencyViolation", "The specified security group has been authorized in another.")
    del account.state["groups"][identity]
    return {}


@action("ecs", "KeyPairName PublicKeyBody", TAG)
def import_key_pair(account: Account, given: Json) -> Json:
    """RSA, DSA and ECDSA, and nothing newer; names are unique in a region, and there is no client token."""
    if given["KeyPairName"] in account.state["keys"]:
        raise RefusedError(400, "KeyPair.AlreadyExist", "The key pair already exist.")
    if not given["PublicKeyBody"].startswith(KEY_TYPES):
        raise RefusedError(400, "InvalidPublicKeyBody.Malformed", "The specified public key is not valid.")
    name = given["KeyPairName"]
    account.state["keys"][name] = {"KeyPairName": name, "PublicKey": given["PublicKeyBody"], "Tags": tags_of(given)}
    return {"KeyPairName": name}


@action("ecs", "", f"KeyPairName IncludePublicKey PageNumber PageSize {TAG}")
def describe_key_pairs(account: Account, given: Json) -> Json:
    """With the public key where it is asked for."""
    found = [
        one
        for one in account.state["keys"].values()
        if given.get("KeyPairName", one["KeyPairName"]) == one["KeyPairName"]
    ]
    hidden = [] if given.get("IncludePublicKey") == "true" else ["PublicKey"]
    return by_number([shown(one, without=hidden) for one in tagged(found, given)], given, "KeyPairs", "KeyPair")


@action("ecs", "KeyPairNames")
def delete_key_pairs(account: Account, given: Json) -> Json:
    """Instances keep the key that they have."""
    for name in json.loads(given["KeyPairNames"]):
        account.state["keys"].pop(name, None)
    return {}
