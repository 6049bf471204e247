# SPDX-License-Identifier: Apache-2.0
"""Hosts on Alibaba Cloud, through the real footmark against a fake account: created, added, removed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.cloud.declaration import Owner
from ansible.module_utils.yunkube.cloud.existing import hosts
from ansible.module_utils.yunkube.result import RefusedError
from cloud_hosts import KEY, OWNER, THREE, client_of, down, up, writes
from fake_alicloud_account import ACTIONS, Account
from fake_alicloud_instances import open_account

ROOT = Path(__file__).resolve().parents[2]
# The SDK makes a session for each call and closes none: the garbage collector does.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:ssl\\.:DeprecationWarning")


def test_hosts_are_made_and_a_second_run_changes_nothing(account: Account) -> None:
    outcome = up(account)
    assert [host.name for host in outcome.hosts] == ["master-1", "node-1", "node-2"]
    assert {host.status for host in outcome.hosts} == {"Running"}
    assert {host.role for host in outcome.hosts} == {"master", "node"}
    assert [host.zone[-1] for host in outcome.hosts] == ["b", "b", "h"]
    assert all(host.private.startswith("10.20.") and not host.public for host in outcome.hosts)
    for given in account.calls("RunInstances"):
        assert given["HttpTokens"] == "required"
        assert given["ImageId"] == "debian_12_11_x64_20G_alibase.vhd"
        assert given["InternetMaxBandwidthOut"] == "0"
        tags = {given[f"Tag.{n}.Key"]: given[f"Tag.{n}.Value"] for n in (1, 2, 3)}
        assert tags["yunkube-cluster"] == "prod"
        assert tags["yunkube-id"] == OWNER.cluster_id
        assert tags["yunkube-role"] in given["InstanceName"]
    assert not [call for call in writes(account) if call == "TagResources"]

    done = len(writes(account))
    before = len(account.cloud.log)
    for _ in range(2):
        again = up(account)
        assert again.changes == []
        assert again.hosts == outcome.hosts
    assert len(writes(account)) == done
    assert (len(account.cloud.log) - before) / 2 <= 12


def grow(account: Account, name: str, until: int) -> None:
    """Add hosts like one that is there, up to this number, each with an address like its own."""
    like = next(one for one in account.state["instances"].values() if one["InstanceName"] == f"prod-{name}-1")
    eip = next((one for one in account.state["eips"].values() if one["InstanceId"] == like["InstanceId"]), None)
    for number in range(2, until + 1):
        new = {"InstanceId": account.new_id("i"), "InstanceName": f"prod-{name}-{number}"}
        account.state["instances"][new["InstanceId"]] = {**like, **new}
        if eip:
            own = {"AllocationId": account.new_id("eip"), "InstanceId": new["InstanceId"]}
            account.state["eips"][own["AllocationId"]] = {**eip, **own}


def test_a_run_without_changes_takes_few_calls_for_a_hundred_hosts(account: Account) -> None:
    up(account, replace(THREE, nodes=1, eip="masters", nat=True))
    grow(account, "master", 50)
    grow(account, "node", 50)
    before = len(account.cloud.log)
    outcome = up(account, replace(THREE, masters=50, nodes=50, eip="masters", nat=True))
    assert outcome.changes == []
    assert len(outcome.hosts) == 100
    assert len(account.cloud.log) - before <= 20


def test_a_thousand_hosts_are_listed_by_ten_calls(account: Account) -> None:
    up(account, replace(THREE, nodes=1))
    grow(account, "node", 999)
    client = client_of(account)
    found = hosts(client, OWNER)
    assert len({host.id for host in found}) == 1000
    assert client.calls == 10


def test_the_state_outlives_the_cloud(account: Account, tmp_path: Path) -> None:
    up(account)
    other = open_account(account.cloud, tmp_path)
    assert other.left() == account.left()
    assert up(other).changes == []


def test_a_check_makes_nothing_and_says_what_it_would_cost(account: Account) -> None:
    outcome = up(account, replace(THREE, eip="masters"), dry_run=True)
    assert writes(account) == []
    assert [change for change in outcome.changes if "host" in change] == [
        "create host master-1, ecs.g7.large in cn-hangzhou-b",
        "create host node-1, ecs.g7.large in cn-hangzhou-b",
        "create host node-2, ecs.g7.large in cn-hangzhou-h",
    ]
    assert "create VPC yunkube-prod, 10.20.0.0/16" in outcome.changes
    assert "assign a public address to master-1" in outcome.changes
    assert outcome.per_hour == 1.5
    assert outcome.cost == "1.50 CNY an hour, without traffic and public addresses"
    planned = outcome.changes
    assert up(account, replace(THREE, eip="masters")).changes == planned
    assert up(account, replace(THREE, eip="masters"), dry_run=True).changes == []


def test_an_unknown_price_stops_nothing(account: Account) -> None:
    account.prices = {}
    outcome = up(account)
    assert len(outcome.hosts) == 3
    assert outcome.per_hour is None
    assert outcome.cost.startswith("the cost is unknown: DescribePrice: PriceNotFound")


def test_hosts_come_and_go_by_number(account: Account) -> None:
    up(account)
    grown = up(account, replace(THREE, nodes=4))
    assert [host.name for host in grown.hosts][1:] == ["node-1", "node-2", "node-3", "node-4"]
    assert [change[:18] for change in grown.changes] == ["create host node-3", "create host node-4"]

    kept = up(account, replace(THREE, nodes=1))
    assert kept.changes == []
    assert kept.surplus == ["node-4", "node-3", "node-2"]
    assert "remove them from the cluster first" in kept.warnings[0]

    ids = [host.id for host in grown.hosts[2:]]
    shrunk = up(account, replace(THREE, nodes=1, remove_surplus=True))
    assert shrunk.changes == [f"remove host node-{n} ({ids[n - 2]})" for n in (4, 3, 2)]
    assert [host.name for host in shrunk.hosts] == ["master-1", "node-1"]
    assert len(account.left()["instances"]) == 2
    assert [host.name for host in up(account).hosts] == ["master-1", "node-1", "node-2"]


def test_public_addresses_go_with_their_hosts(account: Account) -> None:
    outcome = up(account, replace(THREE, eip="all"))
    assert all(host.public.startswith("198.51.100.") for host in outcome.hosts)
    assert up(account, replace(THREE, eip="all")).hosts == outcome.hosts
    fewer = replace(THREE, nodes=0, eip="all", remove_surplus=True)
    planned = up(account, fewer, dry_run=True)
    shrunk = up(account, fewer)
    assert shrunk.changes == planned.changes
    assert len([change for change in shrunk.changes if change.startswith("release the public address")]) == 2
    assert len(account.left()["eips"]) == 1


def test_a_public_address_that_is_declared_no_more_stays_with_a_warning(account: Account) -> None:
    up(account, replace(THREE, eip="all"))
    kept = up(account, replace(THREE, eip="masters"))
    assert kept.changes == []
    assert len(account.left()["eips"]) == 3
    assert [warning[:6] for warning in kept.warnings] == ["node-1", "node-2"]
    assert "has the public address 198.51.100." in kept.warnings[0]
    assert "none is declared for it" in kept.warnings[0]


def test_a_stopped_host_is_started(account: Account) -> None:
    up(account)
    instance = next(one for one in account.state["instances"].values() if one["InstanceName"] == "prod-node-1")
    instance["stopped"] = True
    outcome = up(account)
    assert outcome.changes == [f"start node-1 ({instance['InstanceId']})"]
    assert {host.status for host in outcome.hosts} == {"Running"}


def test_all_goes_and_what_is_others_stays(account: Account) -> None:
    other = replace(THREE, owner=Owner("prod", "fedcba9876543210"), vpc_cidr="10.21.0.0/16", eip="all")
    up(account, other)
    theirs = account.left()
    up(account, replace(THREE, eip="masters"))
    checked = down(account, dry_run=True)
    removed = down(account)
    assert removed.remains == []
    assert removed.changes == checked.changes
    assert account.left() == theirs
    assert down(account).changes == []
    down(account, other.owner)
    assert account.left() == {}
    assert len(up(account).hosts) == 3  # though the tokens of the first time stand for what is gone


def test_what_is_others_stays_though_the_cloud_lists_it(account: Account) -> None:
    other = replace(THREE, owner=Owner("prod", "fedcba9876543210"), vpc_cidr="10.21.0.0/16", eip="masters", nat=True)
    up(account, other)
    theirs = account.left()
    for name in [one for one in ACTIONS if one.startswith("Describe")]:
        account.cloud.actions[name] = lambda given, name=name: account.answer(  # type: ignore[misc]
            name, {key: value for key, value in given.items() if not key.startswith("Tag.")}
        )
    up(account, replace(THREE, eip="masters", nat=True))
    assert len(account.left()["nats"]) == 2
    assert down(account).remains == []
    assert account.left() == theirs


def test_what_something_of_others_uses_is_left_and_named(account: Account) -> None:
    up(account)
    stranger = replace(THREE, owner=Owner("guest", "00000000aaaaaaaa"))
    (vpc,) = account.left()["vpcs"]
    up(account, replace(stranger, vpc_id=vpc))
    removed = down(account)
    assert len(removed.remains) == 1
    assert removed.remains[0].startswith(f"VPC yunkube-prod ({vpc}): DeleteVpc: DependencyViolation")
    assert len(account.left()["instances"]) == 3
    down(account, stranger.owner)
    assert account.left() == {"vpcs": [vpc]}
    down(account)
    assert account.left() == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"public_key": "ssh-ed25519 AAAA me"}, "does not accept ed25519 keys in key pairs; create another key"),
        ({"public_key": ""}, "not a public key of type RSA or ECDSA"),
        ({"admin_cidrs": ()}, "no network may reach the hosts over SSH"),
        ({"vpc_cidr": "10.244.128.0/17"}, "overlaps 10.244.0.0/16 of cluster_pod_cidr"),
        ({"vpc_cidr": "10.0.0.0/8"}, "overlaps 10.96.0.0/16 of cluster_service_cidr"),
        ({"vpc_cidr": "8.8.0.0/16"}, "8.8.0.0/16 is not a private network"),
        ({"vpc_cidr": "10.20.0.0/24"}, "vSwitches of /20 do not fit in 10.20.0.0/24"),
        ({"image": "acs:alibaba_cloud_linux_3_2104_lts_x64"}, "is not supported: its Python is older than 3.9"),
        ({"image": "aliyun_3_x64_20G_alibase_20260601.vhd"}, "is not supported: its Python is older than 3.9"),
        ({"image": "acs:alibaba_cloud_linux_4_lts_x64"}, "Alibaba Cloud Linux 4 is not tested yet; choose one"),
        ({"image": "ubuntu2204"}, "there is no image ubuntu2204 in this region"),
        ({"image": "m-unknown"}, "there is no image m-unknown in this region"),
        ({"vswitch_ids": ("vsw-1",)}, "vswitch_ids is set without the VPC"),
        ({"vpc_id": "vpc-none"}, "^vpc_id: the VPC vpc-none does not exist in this region; [^;\n]*$"),
        ({"types": {"master": "ecs.g7.large", "node": "ecs.none"}}, "no zone of this region has ecs.none in stock"),
        ({"spot_price_limit": 0.1}, "a price limit applies to spot instances only"),
        ({"masters": 0}, "0 masters and 2 nodes are not a cluster"),
        ({"client_cidrs": ("10.0.0.1/8",)}, "10.0.0.1/8 is not a network"),
    ],
    ids=lambda one: str(one)[:40],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    account: Account, change: dict[str, object], words: str
) -> None:
    with pytest.raises(RefusedError, match=words.replace("(", r"\(")):
        up(account, replace(THREE, **change))  # type: ignore[arg-type]
    assert account.left() == {}


def test_all_faults_are_reported_at_once(account: Account) -> None:
    with pytest.raises(RefusedError) as refused:
        up(
            account,
            replace(THREE, types={"master": "ecs.no", "node": "ecs.none"}, image="m-unknown", vpc_id="vpc-none"),
        )
    assert {fault.check for fault in refused.value.faults} == {"type", "image", "vpc_id"}
    assert len(refused.value.faults) == 4


def test_another_key_than_that_of_the_hosts_is_refused(account: Account) -> None:
    up(account)
    with pytest.raises(RefusedError, match="has another public key"):
        up(account, replace(THREE, public_key=KEY.replace("AAAAI", "AAAAB")))


def test_a_removal_that_is_accepted_and_does_not_happen_is_reported(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(account, replace(THREE, eip="masters"))
    monkeypatch.setitem(ACTIONS, "ReleaseEipAddress", replace(ACTIONS["ReleaseEipAddress"], run=lambda *_: {}))
    [left] = down(account).remains
    assert left.startswith("public address ")
    assert "still listed" in left


def test_user_data_reaches_its_host_alone(account: Account) -> None:
    started: list[str] = []
    account.start_host = lambda instance: started.append(f"{instance['InstanceName']} {instance['UserData']}")
    up(account, replace(THREE, user_data=lambda name: "#cloud-config\n" if name == "node-2" else ""))
    assert started == ["prod-master-1 ", "prod-node-1 ", "prod-node-2 I2Nsb3VkLWNvbmZpZwo="]


def test_spot_and_auto_release_are_as_declared(account: Account) -> None:
    up(account, replace(THREE, spot=True, spot_price_limit=0.75, auto_release_hours=8))
    for given in account.calls("RunInstances"):
        assert (given["SpotStrategy"], given["SpotPriceLimit"]) == ("SpotWithPriceLimit", "0.75")
        assert given["AutoReleaseTime"].endswith(":00Z")


def test_a_host_of_another_name_is_reported_and_never_surplus(account: Account) -> None:
    up(account)
    like = next(iter(account.state["instances"].values()))
    account.state["instances"]["i-bastion"] = {**like, "InstanceId": "i-bastion", "InstanceName": "prod-bastion"}
    outcome = up(account, replace(THREE, remove_surplus=True))
    assert outcome.changes == []
    assert "bastion (i-bastion): has the tags of this cluster, but is not one of its hosts" in outcome.warnings[0]
    assert "i-bastion" in account.left()["instances"]


def test_the_readme_names_every_permission_that_is_needed(account: Account) -> None:
    up(account, replace(THREE, eip="masters", nat=True, admin_cidrs=("10.0.0.0/24",)))
    up(account, replace(THREE, eip="masters", nat=True))
    next(iter(account.state["instances"].values()))["stopped"] = True
    up(account, replace(THREE, eip="masters"))
    down(account)
    used = {f"{ACTIONS[one['Action']].product}:{one['Action']}" for one in account.cloud.log}
    named = set(re.findall(r"`((?:ecs|vpc):\w+)`", (ROOT / "roles/alicloud_hosts/README.md").read_text()))
    assert used == named
