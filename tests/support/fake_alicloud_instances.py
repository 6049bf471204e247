# SPDX-License-Identifier: Apache-2.0
"""Instances of the fake Alibaba Cloud, and what they are made of: images, types, prices.

From https://www.alibabacloud.com/help/en/ecs/developer-reference/api-ecs-2014-05-26-runinstances and its siblings.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from datetime import UTC, datetime
from pathlib import Path

import fake_alicloud_nat  # noqa: F401 - registers its actions
import fake_alicloud_network  # noqa: F401 - as that
from fake_alicloud import FakeCloud, Json, RefusedError
from fake_alicloud_account import Account, action, by_number, by_token, numbered, shown, tagged, tags_of
from fake_alicloud_routes import hop_of

TAG = "Tag.N.Key Tag.N.Value"
PENDING, BOOT, RELEASE = 1.0, 4.0, 3.0  # seconds (open: not in the reference)
USER_DATA = (
    32 << 10
)  # https://www.alibabacloud.com/help/en/ecs/user-guide/customize-the-initialization-configuration-of-an-instance
INTERNAL = ("made_at", "running_at", "gone_at", "VSwitchId", "groups", "UserData", "address", "stopped")


@action(
    "ecs",
    "ImageId InstanceType VSwitchId SecurityGroupId",
    "InstanceName HostName KeyPairName SystemDisk.Category SystemDisk.Size UserData Amount HttpEndpoint HttpTokens "
    "InternetMaxBandwidthOut InstanceChargeType SpotStrategy SpotPriceLimit AutoReleaseTime Description ClientToken "
    f"DryRun {TAG}",
)
def run_instances(account: Account, given: Json) -> Json:
    """One instance a call here; Pending, then Starting, then Running."""
    if given.get("Amount", "1") != "1":
        raise RefusedError(400, "InvalidAmount.Malformed", "This fake makes one at a time.")
    switch = account.found("vswitches", given["VSwitchId"], "InvalidVSwitchId.NotFound")
    group = account.found("groups", given["SecurityGroupId"], "InvalidSecurityGroupId.NotFound")
    if group["VpcId"] != switch["VpcId"]:
        raise RefusedError(400, "InvalidSecurityGroupId.NotInVpc")
    if given["ImageId"] not in {image["ImageId"] for image in account.images}:
        raise RefusedError(404, "InvalidImageId.NotFound", "The specified ImageId does not exist.")
    if given.get("KeyPairName") and given["KeyPairName"] not in account.state["keys"]:
        raise RefusedError(404, "InvalidKeyPairName.NotFound")
    if len(base64.b64decode(given.get("UserData", ""), validate=True)) > USER_DATA:
        raise RefusedError(400, "InvalidUserData.SizeExceeded")
    _check_sale(account, given, switch["ZoneId"])
    account.check_quota("instances", "QuotaExceed.ElasticQuota")
    instance = new_instance(account, given, switch)
    account.state["instances"][instance["InstanceId"]] = instance
    account.start_host(instance)
    return {"InstanceIdSets": {"InstanceIdSet": [instance["InstanceId"]]}}


def _check_sale(account: Account, given: Json, zone: str) -> None:
    kind = given["InstanceType"]
    if kind not in account.zones.get(zone, ()):
        raise RefusedError(403, "InvalidResourceType.NotSupported", f"{kind} is not supported in {zone}.")
    if (zone, kind) in account.sold_out | account.without_stock:
        raise RefusedError(403, "OperationDenied.NoStock", "The requested resource is sold out in the specified zone.")
    if given.get("SpotStrategy") == "SpotWithPriceLimit" and float(given["SpotPriceLimit"]) < account.prices[kind]:
        raise RefusedError(400, "InvalidSpotPriceLimit.LowerThanPublicPrice")
    if given.get("AutoReleaseTime"):
        at = datetime.strptime(given["AutoReleaseTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
        if at < account.clock + 1800:
            raise RefusedError(400, "InvalidAutoReleaseTime.Malformed")


def new_instance(account: Account, given: Json, switch: Json) -> Json:
    """Return an instance as it is kept, with the next free address of its vSwitch."""
    used = {one["address"] for one in account.state["instances"].values() if one["VSwitchId"] == switch["VSwitchId"]}
    free = (str(one) for one in ipaddress.ip_network(switch["CidrBlock"]).hosts())
    address = next(one for one in free if one not in used)
    boot = account.boot_seconds.get(given.get("InstanceName", ""), account.boot_seconds.get("", BOOT))
    return {
        "InstanceId": account.new_id("i"),
        "InstanceName": given.get("InstanceName", ""),
        "HostName": given.get("HostName", ""),
        "InstanceType": given["InstanceType"],
        "ImageId": given["ImageId"],
        "RegionId": account.region,
        "ZoneId": switch["ZoneId"],
        "CreationTime": account.stamp("%Y-%m-%dT%H:%MZ"),
        "AutoReleaseTime": given.get("AutoReleaseTime", ""),
        "KeyPairName": given.get("KeyPairName", ""),
        "SpotStrategy": given.get("SpotStrategy", "NoSpot"),
        "MetadataOptions": {
            "HttpEndpoint": given.get("HttpEndpoint", "enabled"),
            "HttpTokens": given.get("HttpTokens", "optional"),
        },
        "VpcAttributes": {
            "VpcId": switch["VpcId"],
            "VSwitchId": switch["VSwitchId"],
            "PrivateIpAddress": {"IpAddress": [address]},
        },
        "SecurityGroupIds": {"SecurityGroupId": [given["SecurityGroupId"]]},
        "OperationLocks": {"LockReason": []},
        "Tags": tags_of(given),
        "VSwitchId": switch["VSwitchId"],
        "groups": [given["SecurityGroupId"]],
        "address": address,
        "UserData": given.get("UserData", ""),
        "made_at": account.clock,
        "running_at": account.clock + boot,
        "gone_at": 0.0,
        "stopped": False,
    }


def status_of(account: Account, instance: Json) -> str:
    """Return what an instance is doing."""
    if instance["gone_at"]:
        return "Stopping"
    if instance["stopped"]:
        return "Stopped"
    if account.clock >= instance["running_at"]:
        return "Running"
    return "Pending" if account.clock < instance["running_at"] - BOOT + PENDING else "Starting"


@action("ecs", "", f"InstanceIds VpcId MaxResults NextToken PageNumber PageSize DryRun {TAG}")
def describe_instances(account: Account, given: Json) -> Json:
    """By tags, ids (a JSON list, a hundred at most) or VPC."""
    ids = json.loads(given["InstanceIds"]) if "InstanceIds" in given else None
    if ids is not None and len(ids) > 100:
        raise RefusedError(400, "InvalidParameter.InstanceIds")
    eips = {eip["InstanceId"]: eip for eip in account.state["eips"].values() if eip["InstanceId"]}
    found = [
        one
        for one in account.state["instances"].values()
        if account.clock >= one["made_at"] + account.listing_delay
        and (ids is None or one["InstanceId"] in ids)
        and given.get("VpcId", "") in ("", one["VpcAttributes"]["VpcId"])
    ]
    entries = []
    for one in tagged(found, given):
        eip = eips.get(one["InstanceId"], {"AllocationId": "", "IpAddress": ""})
        address = {name: eip[name] for name in ("AllocationId", "IpAddress")}
        status = status_of(account, one)
        entries.append(
            {
                **shown(one, without=INTERNAL),
                "Status": status,
                "EipAddress": address,
                "PublicIpAddress": {"IpAddress": []},
            }
        )
    return by_token(entries, given, "Instances", "Instance")


@action("ecs", "InstanceId.N")
def start_instances(account: Account, given: Json) -> Json:
    """Stopped ones start."""
    for identity in numbered(given, "InstanceId"):
        instance = account.found("instances", identity, "InvalidInstanceId.NotFound")
        instance.update(stopped=False, running_at=account.clock + BOOT)
    return {}


@action("ecs", "InstanceId.N", "Force ClientToken DryRun")
def delete_instances(account: Account, given: Json) -> Json:
    """All or none, a hundred at most; what runs only by force, and none to which a route leads.

    They are listed until they are released.
    """
    ids = numbered(given, "InstanceId")
    if len(ids) > 100:
        raise RefusedError(400, "InvalidParameter")
    found = [account.found("instances", identity, "InvalidInstanceId.NotFound") for identity in ids]
    if given.get("Force") != "true" and any(status_of(account, one) != "Stopped" for one in found):
        raise RefusedError(403, "IncorrectInstanceStatus")
    if set(ids) & {hop_of(entry) for entry in account.state["routes"].values()}:
        raise RefusedError(400, "DependencyViolation.RouteEntry", "Specified instance is used by route entry.")
    for one in found:
        one["gone_at"] = one["gone_at"] or account.clock + RELEASE
        account.stop_host(one)
    return {}


@action(
    "ecs",
    "DestinationResource",
    "InstanceType ZoneId IoOptimized InstanceChargeType SpotStrategy NetworkCategory ResourceType SystemDiskCategory",
)
def describe_available_resource(account: Account, given: Json) -> Json:
    """Zones with the type in them: https://www.alibabacloud.com/help/en/ecs/developer-reference/api-ecs-2014-05-26-describeavailableresource."""
    if given["DestinationResource"] != "InstanceType":
        raise RefusedError(400, "InvalidParameter", "This fake answers for instance types.")
    kind = given.get("InstanceType", "")
    zones = []
    for zone, types in account.zones.items():
        if kind not in types or given.get("ZoneId", zone) != zone:
            continue
        stock = (zone, kind) not in account.without_stock
        state = {
            "Status": "Available" if stock else "SoldOut",
            "StatusCategory": "WithStock" if stock else "WithoutStock",
        }
        resource = {
            "Type": "InstanceType",
            "SupportedResources": {"SupportedResource": [{"Value": kind, "Min": 0, "Max": 0, "Unit": "", **state}]},
        }
        zones.append({"ZoneId": zone, **state, "AvailableResources": {"AvailableResource": [resource]}})
    return {"AvailableZones": {"AvailableZone": zones}}


@action("ecs", "", "ImageId ImageFamily ImageOwnerAlias OSType Architecture Status PageNumber PageSize")
def describe_images(account: Account, given: Json) -> Json:
    """Those of the system, and those that are one's own."""
    keys = ("ImageId", "ImageFamily", "ImageOwnerAlias", "OSType", "Architecture", "Status")
    found = [one for one in account.images if all(given.get(key, one[key]) == one[key] for key in keys)]
    return by_number(found, given, "Images", "Image", 100)


@action(
    "ecs",
    "ResourceType InstanceType",
    "ImageId SystemDisk.Category SystemDisk.Size PriceUnit Period Amount SpotStrategy ZoneId InternetChargeType",
)
def describe_price(account: Account, given: Json) -> Json:
    """The price of one hour: https://www.alibabacloud.com/help/en/ecs/developer-reference/api-ecs-2014-05-26-describeprice."""
    kind = given["InstanceType"]
    if kind not in account.prices:
        raise RefusedError(404, "PriceNotFound", "The price of your queried resource is not available now.")
    price = account.prices[kind] * int(given.get("Amount", "1"))
    return {
        "PriceInfo": {"Price": {"OriginalPrice": price, "DiscountPrice": 0, "TradePrice": price, "Currency": "CNY"}}
    }


def open_account(cloud: FakeCloud, folder: Path) -> Account:
    """Return an account in which hosts can be made: three zones, two types, images of the system and of one's own."""
    account = Account(cloud, folder / "account.json")
    zones = [f"{account.region}-{letter}" for letter in "bhk"]
    account.zones = {zone: {"ecs.g7.large", "ecs.g7.xlarge"} for zone in zones}
    account.prices = {"ecs.g7.large": 0.5, "ecs.g7.xlarge": 1.0}
    system = {"ImageOwnerAlias": "system", "OSType": "linux", "Architecture": "x86_64", "Status": "Available"}
    families = {
        "acs:debian_12_10_x64": "2025-05-01", "acs:debian_12_11_x64": "2026-02-01", "acs:debian_13_5_x64": "2026-08-01",
        "acs:debian_12_12_arm64": "2026-09-01", "acs:ubuntu_24_04_x64": "2026-03-01",
        "acs:alibaba_cloud_linux_3_2104_lts_x64": "2026-06-01",
    }  # fmt: skip
    account.images = [
        {
            **system,
            "ImageId": f"{family[4:]}_20G_alibase.vhd",
            "ImageFamily": family,
            "CreationTime": f"{day}T00:00:00Z",
        }
        for family, day in families.items()
    ]
    account.images += [
        {**system, "ImageId": f"centos_{n}", "ImageFamily": f"acs:centos_{n}", "CreationTime": "2020-01-01T00:00:00Z"}
        for n in range(60)  # so that those that count are on the second page
    ]
    account.images.reverse()
    return account
