# SPDX-License-Identifier: Apache-2.0
"""A VPC of the fake Alibaba Cloud with five instances in it, to whose pods routes can lead."""

from __future__ import annotations

from pathlib import Path

from fake_alicloud import FakeCloud
from fake_alicloud_account import Account
from fake_alicloud_instances import new_instance, open_account

ID, OTHER = "a" * 16, "b" * 16  # of clusters
SYSTEM = "vtb-system"


def open_vpc(fake: FakeCloud, folder: Path) -> Account:
    """Open an account with a VPC, its route table, a vSwitch and instances; and another VPC with nothing in it."""
    account = open_account(fake, folder)
    for vpc in ("vpc-1", "vpc-2"):
        account.state["vpcs"][vpc] = {"VpcId": vpc, "Tags": {}, "ready_at": 0.0}
    add_switch(account, "vsw-1", "10.0.0.0/24")
    add_table(account, SYSTEM)
    place(account, *range(1, 6))
    return account


def add_switch(account: Account, name: str, cidr: str, vpc: str = "vpc-1") -> None:
    """Make a vSwitch."""
    account.state["vswitches"][name] = {
        "VSwitchId": name, "CidrBlock": cidr, "VpcId": vpc, "ZoneId": "cn-hangzhou-b", "Tags": {},
    }  # fmt: skip


def add_table(account: Account, name: str, *switches: str) -> None:
    """Make a table: of these vSwitches, or the VPC's own."""
    account.state["tables"][name] = {
        "RouteTableId": name, "VpcId": "vpc-1", "RouteTableType": "Custom" if switches else "System",
        "Status": "Available", "VSwitchIds": {"VSwitchId": list(switches)},
    }  # fmt: skip


def place(account: Account, *numbers: int, switch: str = "vsw-1", cluster_id: str = ID) -> None:
    """Put instances into a vSwitch, by the numbers that their ids and addresses have; those of the numbers go."""
    tags = {"Tag.1.Key": "yunkube-cluster", "Tag.1.Value": "prod", "Tag.2.Key": "yunkube-id", "Tag.2.Value": cluster_id}
    given = {"InstanceType": "ecs.g7.large", "ImageId": "debian", "SecurityGroupId": "sg-1", **tags}
    for number in numbers:
        one = new_instance(account, given, account.state["vswitches"][switch])
        one |= {"InstanceId": f"i-{number}", "address": f"10.0.0.{number}", "made_at": 0.0}
        one["VpcAttributes"]["PrivateIpAddress"] = {"IpAddress": [one["address"]]}
        account.state["instances"][one["InstanceId"]] = one
