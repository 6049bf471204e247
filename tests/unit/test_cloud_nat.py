# SPDX-License-Identifier: Apache-2.0
"""The NAT gateway of hosts on Alibaba Cloud, by the real footmark: made once, completed, removed, never another's."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from ansible.module_utils.yunkube.cloud.declaration import Declaration, Owner
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.listing import rows
from ansible.module_utils.yunkube.cloud.work import HostsError
from ansible.module_utils.yunkube.result import RefusedError
from cloud_hosts import OWNER, THREE, Interrupted, client_of, down, up, writes
from fake_alicloud import RefusedError as Refusal
from fake_alicloud_account import Account

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:ssl\\.:DeprecationWarning")
SAMPLE = 1 if "YUNKUBE_FULL" in os.environ else 3  # of the calls at which a run is cut off or another begins
WITH_NAT = replace(THREE, nat=True)
BASE = Owner("base", "1111111111111111")
WHOLE = {"vpcs": 1, "vswitches": 3, "groups": 2, "keys": 1, "instances": 3, "eips": 1, "nats": 1, "snats": 3}


def counts(account: Account) -> dict[str, int]:
    """Return how many there are of each kind."""
    return {kind: len(ids) for kind, ids in account.left().items()}


def theirs(account: Account, *, source: str = "") -> tuple[str, str]:
    """Create a VPC of another owner with a NAT gateway, and an SNAT entry for a network or else for its vSwitch."""
    up(account, replace(THREE, owner=BASE, zones=("cn-hangzhou-k",), nat=True))
    (vpc,), (entry,) = account.left()["vpcs"], account.state["snats"].values()
    if source:
        entry.update(SourceCIDR=source, SourceVSwitchId="")
    return vpc, str(next(iter(account.state["nats"])))


def test_every_vswitch_gets_a_way_out_and_a_second_run_changes_nothing(account: Account) -> None:
    planned = up(account, WITH_NAT, dry_run=True)
    assert counts(account) == {}
    outcome = up(account, WITH_NAT)
    assert outcome.changes == planned.changes
    assert "create NAT gateway yunkube-prod, billed in addition to hosts" in outcome.changes
    assert "let hosts in cn-hangzhou-h out through the NAT gateway" in outcome.changes
    assert outcome.cost == "1.50 CNY an hour, without traffic, public addresses and the NAT gateway"
    assert counts(account) == WHOLE
    assert all(not host.public for host in outcome.hosts)
    (gateway,), (eip,) = account.state["nats"].values(), account.state["eips"].values()
    assert gateway["Tags"] == {"yunkube-cluster": "prod", "yunkube-id": OWNER.cluster_id} == eip["Tags"]
    assert (eip["InstanceId"], eip["Status"]) == (gateway["NatGatewayId"], "InUse")
    assert {one["SourceVSwitchId"] for one in account.state["snats"].values()} == set(account.left()["vswitches"])
    assert {one["SnatIp"] for one in account.state["snats"].values()} == {eip["IpAddress"]}
    before, done = len(account.cloud.log), len(writes(account))
    assert up(account, WITH_NAT).changes == []
    assert len(writes(account)) == done
    assert len(account.cloud.log) - before == 10  # of 12, and no more with a hundred hosts but for their pages


def test_hosts_reach_out_before_they_boot(account: Account) -> None:
    up(account, WITH_NAT)
    calls = [given["Action"] for given in account.cloud.log]
    assert max(n for n, name in enumerate(calls) if name == "CreateSnatEntry") < calls.index("RunInstances")


def test_a_gateway_comes_to_hosts_that_are_there_beside_their_public_addresses(account: Account) -> None:
    up(account, replace(THREE, eip="masters"))
    outcome = up(account, replace(WITH_NAT, eip="masters"))
    assert outcome.changes == [
        "create NAT gateway yunkube-prod, billed in addition to hosts",
        "assign a public address to the NAT gateway",
        *(f"let hosts in cn-hangzhou-{letter} out through the NAT gateway" for letter in "bhk"),
    ]
    assert counts(account) == {**WHOLE, "eips": 2}
    assert up(account, replace(WITH_NAT, eip="masters")).changes == []


def test_one_that_is_declared_no_more_stays_until_its_removal_is_allowed(account: Account) -> None:
    up(account, WITH_NAT)
    (gateway,) = account.left()["nats"]
    kept = up(account)
    assert kept.changes == []
    assert f"NAT gateway {gateway}: not declared any more, and it costs money" in kept.warnings[0]
    allowed = replace(THREE, remove_surplus=True)
    planned = up(account, allowed, dry_run=True).changes
    assert planned[0] == f"remove NAT gateway {gateway}"
    assert planned[1].startswith("release the public address 198.51.100.")
    assert up(account, allowed).changes == planned
    assert counts(account) == {**{kind: n for kind, n in WHOLE.items() if kind not in ("eips", "nats", "snats")}}
    assert up(account, WITH_NAT).changes[0].startswith("create NAT gateway")  # its first token stands for what is gone
    assert counts(account) == WHOLE


def test_all_goes_and_the_table_shows_what_is_paid_for(account: Account) -> None:
    up(account, WITH_NAT)
    table = rows(client_of(account), OWNER, Declaration(OWNER, 0, 0, {}))
    (gateway,) = account.left()["nats"]
    assert [(row["target"], row["detail"]) for row in table if row["check"] == "NAT gateway"] == [
        (gateway, "Available, billed by the hour and by traffic")
    ]
    assert table[0]["detail"].endswith("without traffic, public addresses and the NAT gateway")
    assert next(row["detail"] for row in table if row["check"] == "public address") == gateway
    planned = down(account, dry_run=True).changes
    assert f"remove NAT gateway {gateway}" in planned
    removed = down(account)
    assert (removed.changes, removed.remains) == (planned, [])
    assert account.left() == {}


def test_every_host_with_an_address_of_its_own_needs_no_gateway(account: Account) -> None:
    with pytest.raises(RefusedError, match="every host has a public address, so none would use a NAT gateway"):
        up(account, replace(WITH_NAT, eip="all"))
    assert account.left() == {}


@pytest.mark.parametrize("source", ["10.20.0.0/16", "0.0.0.0/0"])
def test_a_gateway_of_another_owner_that_serves_our_hosts_is_used_and_left(account: Account, source: str) -> None:
    vpc, gateway = theirs(account, source=source)
    inside = replace(WITH_NAT, vpc_id=vpc)
    outcome = up(account, inside)
    assert outcome.warnings == [f"hosts use NAT gateway {gateway}, not owned by this cluster and left unchanged"]
    assert not [change for change in outcome.changes if "NAT" in change]
    assert up(account, inside).changes == []
    down(account)
    assert (account.left()["nats"], len(account.left()["snats"])) == ([gateway], 1)
    assert up(account, replace(THREE, vpc_id=vpc, remove_surplus=True)).warnings == []


def test_a_gateway_of_another_owner_that_serves_others_is_refused_and_untouched(account: Account) -> None:
    vpc, gateway = theirs(account)
    before = account.left()
    with pytest.raises(RefusedError) as refused:
        up(account, replace(WITH_NAT, vpc_id=vpc, zones=("cn-hangzhou-b",)))
    assert str(refused.value) == (
        f"nat: NAT gateway {gateway}, not owned by this cluster, is the way out of {vpc}, but not for the vSwitch for "
        "cn-hangzhou-b; add SNAT entries for them there, or set nat to false"
    )
    assert account.left() == before
    (switch,) = before["vswitches"]
    outcome = up(account, replace(WITH_NAT, vpc_id=vpc, vswitch_ids=(switch,)))  # which it does serve
    assert outcome.warnings == [f"hosts use NAT gateway {gateway}, not owned by this cluster and left unchanged"]


def test_a_gateway_of_ours_in_a_network_that_is_there_goes_and_the_network_stays(account: Account) -> None:
    up(account, replace(THREE, owner=BASE, zones=("cn-hangzhou-k",)))
    before = account.left()
    (vpc,), (switch,) = before["vpcs"], before["vswitches"]
    up(account, replace(WITH_NAT, vpc_id=vpc, vswitch_ids=(switch,)))
    assert (counts(account)["nats"], counts(account)["snats"]) == (1, 1)
    assert down(account).remains == []
    assert account.left() == before


def test_entries_of_another_owner_keep_our_gateway_and_are_named(account: Account) -> None:
    up(account, WITH_NAT)
    (gateway,) = account.state["nats"].values()
    entry = next(iter(account.state["snats"].values()))
    account.state["snats"]["snat-hand"] = {**entry, "SnatEntryId": "snat-hand", "SnatEntryName": "by-hand"}
    removed = down(account)
    words = f"NAT gateway {gateway['NatGatewayId']}: its SNAT entry snat-hand is not this cluster's: delete it"
    assert removed.remains[0].startswith(words)
    assert "snat-hand" in account.left()["snats"]
    assert counts(account)["snats"] == 4
    del account.state["snats"]["snat-hand"]
    assert down(account).remains == []
    assert account.left() == {}


@pytest.mark.parametrize(
    ("action", "permission"),
    [
        ("DescribeNatGateways", "vpc:DescribeNatGateways"),
        ("CreateNatGateway", "vpc:CreateNatGateway"),
        ("AllocateEipAddress", "vpc:AllocateEipAddress"),
        ("AssociateEipAddress", "vpc:AssociateEipAddress"),
        ("CreateSnatEntry", "vpc:CreateSnatEntry"),
    ],
)
def test_a_denied_action_is_named_and_the_next_run_goes_on(account: Account, action: str, permission: str) -> None:
    account.denied = {action}
    with pytest.raises(CloudError, match=f"allow {permission} to this user in RAM"):
        up(account, WITH_NAT)
    account.denied = set()
    assert len(up(account, WITH_NAT).hosts) == 3
    assert counts(account) == WHOLE


@pytest.mark.parametrize("action", ["CreateNatGateway", "AllocateEipAddress", "AssociateEipAddress", "CreateSnatEntry"])
def test_an_answer_that_is_lost_makes_nothing_twice(account: Account, action: str) -> None:
    account.lost = [action] * 5  # the SDK gives up after four
    up(account, WITH_NAT)
    assert account.lost == []
    assert counts(account) == WHOLE
    assert down(account).remains == []
    assert account.left() == {}


def test_transient_errors_are_retried(account: Account) -> None:
    for action in ("CreateNatGateway", "CreateSnatEntry", "DeleteSnatEntry", "DeleteNatGateway"):
        account.failing[action] = [Refusal(400, "Throttling.User"), Refusal(400, "IncorrectStatus.NatGateway")]
    up(account, WITH_NAT)
    assert counts(account) == WHOLE
    assert down(account).remains == []
    assert account.left() == {}
    assert not any(account.failing.values())


def test_a_gateway_that_is_never_ready_is_named_and_made_once(account: Account) -> None:
    up(account)  # so that all before it is there
    client = client_of(account)

    def never(action: str) -> None:
        if action == "CreateNatGateway":
            next(iter(account.state["nats"].values()))["ready_at"] = account.clock + 10**6

    client.after = never
    with pytest.raises(
        HostsError, match=r"^NAT gateway ngw-\d+ is not Available after 300 s: see it in the VPC console"
    ):
        up(account, WITH_NAT, client=client)
    next(iter(account.state["nats"].values()))["ready_at"] = 0.0
    up(account, WITH_NAT)
    assert counts(account) == WHOLE


def test_a_quota_that_is_reached_says_so(account: Account) -> None:
    account.quota = {"nats": 0}
    with pytest.raises(CloudError, match="raise the quota at https://quotas"):
        up(account, WITH_NAT)
    account.quota = {}
    up(account, WITH_NAT)
    assert counts(account) == WHOLE


def ends_after(account: Account, number: int) -> object:
    """Return a client with which a run ends after so many calls that change something."""
    client, left = client_of(account), [None] * number

    def end(_action: str) -> None:
        left.pop()
        if not left:
            raise Interrupted

    client.after = end
    return client


def test_a_run_that_was_killed_is_finished_or_taken_back(account: Account) -> None:
    up(account)
    before = len(writes(account))
    up(account, WITH_NAT)
    count = len(writes(account)) - before
    allowed = replace(THREE, remove_surplus=True)
    up(account, allowed)
    for number in range(1, count + 1):
        with pytest.raises(Interrupted):
            up(account, WITH_NAT, client=ends_after(account, number))  # type: ignore[arg-type]
        if number % 2:
            up(account, WITH_NAT)
            assert counts(account) == WHOLE, number
            assert up(account, WITH_NAT).changes == []
        up(account, allowed)
        assert not {"nats", "snats", "eips"} & set(account.left()), number


def test_a_removal_that_was_killed_is_finished_by_the_next(account: Account) -> None:
    up(account, WITH_NAT)
    made = len(writes(account))
    down(account)
    for number in range(1, len(writes(account)) - made + 1, SAMPLE):
        up(account, WITH_NAT)
        with pytest.raises(Interrupted):
            down(account, client=ends_after(account, number))  # type: ignore[arg-type]
        assert down(account).remains == []
        assert account.left() == {}, number


def test_two_control_machines_at_once_make_one_gateway(account: Account) -> None:
    """The second one makes its whole run between two calls of the first, wherever that is."""
    up(account)
    before = len(writes(account))
    up(account, WITH_NAT)
    count = len(writes(account)) - before
    for number in range(1, count + 1):
        up(account, replace(THREE, remove_surplus=True))
        client, left = client_of(account), [None] * number

        def meanwhile(_action: str, left: list[None] = left) -> None:
            left.pop()
            if not left:
                up(account, WITH_NAT)
                left += [None] * 10**4

        client.after = meanwhile
        up(account, WITH_NAT, client=client)
        assert counts(account) == WHOLE, number
        assert up(account, WITH_NAT).changes == []
