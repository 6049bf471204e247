# SPDX-License-Identifier: Apache-2.0
"""What can be bought on Alibaba Cloud: images, instance types by zone, and what an hour costs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.yunkube.cloud.client import Client
from ansible.module_utils.yunkube.cloud.declaration import IMAGES, Declaration
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.result import Fault

# An account that gives no zones gets hosts in so many at most.
ZONES = 3


def strategy(wanted: Declaration) -> dict[str, str]:
    """Return how instances are paid for, as the API takes it."""
    if not wanted.spot:
        return {"spot_strategy": "NoSpot"}
    if not wanted.spot_price_limit:
        return {"spot_strategy": "SpotAsPriceGo"}
    return {"spot_strategy": "SpotWithPriceLimit", "spot_price_limit": f"{wanted.spot_price_limit:g}"}


def find_image(client: Client, wanted: Declaration) -> str:
    """Return the id of the image, empty where there is none."""
    if wanted.image.startswith("m-"):
        found = list(client.pages("ecs", "DescribeImages", "Images", "Image", image_id=wanted.image))
    elif wanted.image in IMAGES:
        family = re.compile(IMAGES[wanted.image])
        of_system = client.pages(
            "ecs", "DescribeImages", "Images", "Image", image_owner_alias="system", os_type="linux",
            architecture="x86_64", status="Available",
        )  # fmt: skip
        found = [one for one in of_system if family.fullmatch(str(one.get("ImageFamily", "")))]
    elif re.fullmatch(r"[\w.-]+", wanted.image):  # an id of a public image, such as debian_12_11_x64_20G_alibase_….vhd
        found = list(client.pages("ecs", "DescribeImages", "Images", "Image", image_id=wanted.image))
    else:
        found = list(client.pages("ecs", "DescribeImages", "Images", "Image", image_family=wanted.image))
    newest = max(found, key=lambda one: (str(one["CreationTime"]), str(one["ImageId"])), default=None)
    return str(newest["ImageId"]) if newest else ""


def zones_with(client: Client, wanted: Declaration, kind: str) -> list[str]:
    """Return the zones that have an instance type in stock."""
    answer = client.call(
        "ecs", "DescribeAvailableResource", destination_resource="InstanceType", instance_type=kind,
        instance_charge_type="PostPaid", io_optimized="optimized", network_category="vpc",
        spot_strategy=strategy(wanted)["spot_strategy"],
    )  # fmt: skip
    return sorted(
        str(zone["ZoneId"])
        for zone in (answer.get("AvailableZones") or {}).get("AvailableZone") or []
        if any(one.get("Value") == kind and one.get("Status") == "Available" for one in _resources(zone))
    )


def _resources(zone: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for resource in (zone.get("AvailableResources") or {}).get("AvailableResource") or []:
        yield from (resource.get("SupportedResources") or {}).get("SupportedResource") or []


def choose_zones(wanted: Declaration, have: Mapping[str, str], offers: Mapping[str, list[str]]) -> list[str]:
    """Return the zones for hosts, those that are preferred first; `have` are vSwitches by zone."""
    if wanted.vswitch_ids:
        order = {identity: zone for zone, identity in have.items()}
        return [order[identity] for identity in wanted.vswitch_ids if identity in order]
    if wanted.zones:
        return list(wanted.zones)
    if not offers:
        return sorted(have)
    everywhere = set.intersection(*(set(zones) for zones in offers.values()))
    more = sorted((everywhere or set().union(*offers.values())) - set(have))
    return [*sorted(have), *more[: max(0, ZONES - len(have))]]


def offer_faults(zones: list[str], offers: Mapping[str, list[str]]) -> Iterator[Fault]:
    """Yield the instance types that no zone for hosts has."""
    for kind, offered in offers.items():
        if not offered:
            message = f"no zone of this region has {kind} in stock"
            yield Fault("type", message, "choose another instance type, or another region")
        elif zones and not set(offered) & set(zones):
            message = f"{kind} is not in stock in {', '.join(zones)}"
            yield Fault("type", message, f"choose another type, or one of these zones: {', '.join(offered)}")


def cost(client: Client, wanted: Declaration, counts: Mapping[str, int]) -> tuple[float | None, str]:
    """Return what so many instances of each type cost an hour, and the words for it; none where it cannot be told."""
    total, currency = 0.0, ""
    for kind, count in counts.items():
        try:
            answer = client.call(
                "ecs", "DescribePrice", resource_type="instance", instance_type=kind, price_unit="Hour",
                system_disk_category=wanted.disk_category, system_disk_size=str(wanted.disk_gb),
                spot_strategy=strategy(wanted)["spot_strategy"].replace("WithPriceLimit", "AsPriceGo"),
            )  # fmt: skip
            price = answer["PriceInfo"]["Price"]
            total, currency = total + count * float(price["TradePrice"]), str(price["Currency"])
        except CloudError as error:
            return None, f"the cost is unknown: {error}"
        except (KeyError, TypeError, ValueError):
            return None, f"the cost is unknown: the cloud gives no price for {kind}"
    besides = "traffic, public addresses and the NAT gateway" if wanted.nat else "traffic and public addresses"
    return total, f"{total:.2f} {currency} an hour, without {besides}"
