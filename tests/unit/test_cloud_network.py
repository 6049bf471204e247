# SPDX-License-Identifier: Apache-2.0
"""The network of hosts on Alibaba Cloud: vSwitches of one's own or somebody else's, and who reaches hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible.module_utils.yunkube.cloud.declaration import Owner
from ansible.module_utils.yunkube.result import RefusedError
from cloud_hosts import NETWORKS, THREE, down, up
from fake_alicloud_account import Account

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:ssl\\.:DeprecationWarning")


def test_a_network_that_is_there_is_used_and_left(account: Account) -> None:
    up(account, replace(THREE, owner=Owner("base", "1111111111111111"), zones=("cn-hangzhou-k",)))
    (vpc,), (switch,) = account.left()["vpcs"], account.left()["vswitches"]
    inside = replace(THREE, vpc_id=vpc, vswitch_ids=(switch,))
    outcome = up(account, inside)
    assert {host.zone for host in outcome.hosts} == {"cn-hangzhou-k"}
    assert len(account.left()["vswitches"]) == 1
    assert up(account, inside).changes == []
    removed = down(account)
    assert removed.remains == []
    assert (account.left()["vpcs"], account.left()["vswitches"]) == ([vpc], [switch])


def test_two_vswitches_of_one_zone_are_refused(account: Account) -> None:
    up(account, replace(THREE, owner=Owner("base", "1111111111111111"), zones=("cn-hangzhou-k", "cn-hangzhou-b")))
    (vpc,) = account.left()["vpcs"]
    zones = {one["ZoneId"]: name for name, one in account.state["vswitches"].items()}
    first, other = zones["cn-hangzhou-k"], zones["cn-hangzhou-b"]
    account.state["vswitches"]["vsw-0"] = {
        **account.state["vswitches"][first], "VSwitchId": "vsw-0", "CidrBlock": "10.20.240.0/20",
    }  # fmt: skip
    before = account.left()
    with pytest.raises(RefusedError) as refused:
        up(account, replace(THREE, vpc_id=vpc, vswitch_ids=(first, other, "vsw-0")))
    assert str(refused.value) == (
        f"vswitch_ids: {first} and vsw-0 are in the same zone, cn-hangzhou-k; keep one vSwitch for each zone, such as "
        f"{first}"
    )
    assert account.left() == before
    assert len(up(account, replace(THREE, vpc_id=vpc, vswitch_ids=(first, other))).hosts) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"zones": ("cn-hangzhou-b", "cn-hangzhou-k", "cn-hangzhou-b")}, "zones: names cn-hangzhou-b twice; remove"),
        ({"vpc_id": "vpc-1", "vswitch_ids": ("vsw-1", "vsw-1")}, "vswitch_ids: names vsw-1 twice; remove"),
    ],
    ids=["zone", "vSwitch"],
)
def test_what_is_named_twice_is_refused(account: Account, change: dict[str, object], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        up(account, replace(THREE, **change))  # type: ignore[arg-type]
    assert account.left() == {}


WORLD = "SSH and the API of every host with a public address are open to {}; list the networks from which you work"


@pytest.mark.parametrize(
    ("admins", "words"),
    [
        (("0.0.0.0/0",), "admin_cidrs holds 0.0.0.0/0: " + WORLD.format("the whole internet")),
        (
            ("0.0.0.0/1", "128.0.0.0/1"),
            "admin_cidrs holds 0.0.0.0/1, 128.0.0.0/1: " + WORLD.format("the whole internet"),
        ),
        (("198.0.0.0/7", "203.0.113.7/32"), "admin_cidrs holds 198.0.0.0/7: " + WORLD.format("33,554,432 addresses")),
        (("10.0.0.0/8", "203.0.0.0/8"), ""),
    ],
)
def test_admins_from_everywhere_are_warned_of(account: Account, admins: tuple[str, ...], words: str) -> None:
    wanted = replace(THREE, admin_cidrs=admins, eip="masters")
    for warnings in (up(account, wanted, dry_run=True).warnings, up(account, wanted).warnings):
        assert len(warnings) == bool(words)
        assert all(one.startswith(words) for one in warnings)


def test_vswitches_of_our_own_find_room_in_a_network_that_is_there(account: Account) -> None:
    up(account, replace(THREE, owner=Owner("base", "1111111111111111"), zones=("cn-hangzhou-k",)))
    (vpc,) = account.left()["vpcs"]
    up(account, replace(THREE, vpc_id=vpc, zones=("cn-hangzhou-b",)))
    blocks = sorted(one["CidrBlock"] for one in account.state["vswitches"].values())
    assert blocks == ["10.20.0.0/20", "10.20.16.0/20"]


def test_a_network_that_is_there_must_fit(account: Account) -> None:
    up(account, replace(THREE, owner=Owner("base", "1111111111111111"), zones=("cn-hangzhou-k",)))
    (vpc,), (switch,) = account.left()["vpcs"], account.left()["vswitches"]
    before = account.left()
    wrong = replace(THREE, vpc_id=vpc, vswitch_ids=(switch, "vsw-none"), zones=("cn-hangzhou-b",))
    meets = {**NETWORKS, "cluster_service_cidr": "10.20.128.0/20"}
    with pytest.raises(RefusedError) as refused:
        up(account, replace(wrong, cluster_networks=meets))
    text = str(refused.value)
    assert "overlaps 10.20.128.0/20 of cluster_service_cidr" in text
    assert f"{switch} is in cn-hangzhou-k, which is not one of zones" in text
    assert f"the vSwitch vsw-none does not exist in {vpc}; choose vSwitches of that VPC: {switch}" in text
    assert account.left() == before


def test_only_what_a_cluster_needs_reaches_its_hosts(account: Account) -> None:
    up(account, replace(THREE, client_cidrs=("0.0.0.0/0",), ports=(5000,)))
    groups = {one["Tags"]["yunkube-role"]: one for one in account.state["groups"].values()}
    assert {one["inner"] for one in groups.values()} == {"Drop"}

    def who(role: str, ports: str) -> set[str]:
        names = {one["SecurityGroupId"]: name for name, one in groups.items()}
        rules = [rule for rule in groups[role]["rules"] if rule["PortRange"] == ports]
        return {rule["SourceCidrIp"] or names[rule["SourceGroupId"]] for rule in rules}

    assert who("master", "22/22") == who("node", "22/22") == {"203.0.113.7"}
    assert who("master", "2379/2380") == {"master"}
    assert who("node", "2379/2380") == who("node", "6443/6443") == set()
    assert who("master", "6443/6443") == {"master", "node", "203.0.113.7"}
    assert who("node", "10250/10250") == {"master", "node"}
    assert who("node", "30000/32767") == {"master", "node", "203.0.113.7", "0.0.0.0/0"}
    world = {
        rule["PortRange"] for one in groups.values() for rule in one["rules"] if rule["SourceCidrIp"] == "0.0.0.0/0"
    }
    assert world == {"30000/32767"}


def test_rules_follow_the_declaration_and_those_of_others_stay(account: Account) -> None:
    up(account)
    (node,) = [one for one in account.state["groups"].values() if one["Tags"]["yunkube-role"] == "node"]
    hand = {**node["rules"][0], "PortRange": "9100/9100", "Description": "by hand", "SecurityGroupRuleId": "sgr-hand"}
    node["rules"].append(hand)
    account.file.write_text("")
    moved = replace(THREE, admin_cidrs=("198.51.100.0/24",), routed_pods=True)
    changes = up(account, moved).changes
    assert "let TCP 22-22 from 198.51.100.0/24 reach nodes" in changes
    assert "no longer let TCP 22-22 from 203.0.113.7/32 reach nodes" in changes
    assert "let ALL from 10.244.0.0/16 reach masters" in changes
    assert hand in node["rules"]
    assert up(account, moved).changes == []


@pytest.mark.parametrize(("port", "open_ports"), [(8472, {"8472/8472"}), (51820, {"51820/51820"}), (0, set())])
def test_hosts_reach_each_other_on_the_port_of_flannels_backend(
    account: Account, port: int, open_ports: set[str]
) -> None:
    up(account, replace(THREE, overlay_port=port))
    for group in account.state["groups"].values():
        udp = {rule["PortRange"] for rule in group["rules"] if rule["IpProtocol"].upper() == "UDP"}
        assert udp - {"30000/32767"} == open_ports


def test_the_port_of_the_registry_follows(account: Account) -> None:
    up(account, replace(THREE, ports=(5000, 5001)))
    moved = replace(THREE, ports=(6000, 6001))
    changes = up(account, moved).changes
    assert "let TCP 6001-6001 from 203.0.113.7/32 reach masters" in changes
    assert "no longer let TCP 5000-5000 from 203.0.113.7/32 reach nodes" in changes
    for group in account.state["groups"].values():
        assert not {"5000/5000", "5001/5001"} & {rule["PortRange"] for rule in group["rules"]}
    assert up(account, moved).changes == []


def test_hosts_do_not_move_to_another_network(account: Account) -> None:
    up(account, replace(THREE, owner=Owner("base", "1111111111111111"), zones=("cn-hangzhou-k",)))
    (vpc,) = account.left()["vpcs"]
    up(account)
    with pytest.raises(RefusedError, match=f"this cluster is in vpc-[0-9]+, not in {vpc}"):
        up(account, replace(THREE, vpc_id=vpc))
    guest = replace(THREE, owner=Owner("guest", "2222222222222222"))
    up(account, replace(guest, vpc_id=vpc))
    with pytest.raises(RefusedError, match=f"this cluster is in {vpc}, not in a VPC of its own; .*set vpc_id back"):
        up(account, guest)
