# SPDX-License-Identifier: Apache-2.0
"""Hosts on Alibaba Cloud when things go wrong: each fault is reported in one line, and a second run succeeds."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable
from dataclasses import replace

import pytest
from ansible.module_utils.yunkube.cloud.declaration import Declaration, Owner
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.work import HostsError
from cloud_hosts import THREE, Interrupted, client_of, down, up, writes
from fake_alicloud import KEY_ID, SECRET, RefusedError
from fake_alicloud_account import Account

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:ssl\\.:DeprecationWarning")
# Of the calls at which a run is cut off or another begins, a third of those that YUNKUBE_FULL takes.
SAMPLE = 1 if "YUNKUBE_FULL" in os.environ else 3
WITH_EIP = replace(THREE, eip="masters")


def is_whole(account: Account) -> bool:
    """Say whether there is one of everything, and three hosts."""
    counts = {kind: len(ids) for kind, ids in account.left().items()}
    return counts in (
        {"vpcs": 1, "vswitches": 3, "groups": 2, "keys": 1, "instances": 3},
        {"vpcs": 1, "vswitches": 3, "groups": 2, "keys": 1, "instances": 3, "eips": 1},
    )


def test_transient_errors_are_retried(account: Account) -> None:
    conflict = "TaskConflict.AssociateGlobalAccelerationInstance"  # of ReleaseEipAddress
    for action in ("CreateVpc", "CreateVSwitch", "AuthorizeSecurityGroup", "RunInstances", "DescribeInstances"):
        account.failing[action] = [RefusedError(400, one) for one in ("Throttling.User", conflict)]
        account.failing[action].append(RefusedError(500, "InternalError"))
    account.failing["DescribeSecurityGroups"] = [RefusedError(503, "ServiceUnavailable")]
    assert len(up(account).hosts) == 3
    assert not any(account.failing.values())
    assert is_whole(account)


@pytest.mark.parametrize(
    "action", ["CreateVpc", "CreateVSwitch", "CreateSecurityGroup", "ImportKeyPair", "RunInstances"]
)
def test_an_answer_that_is_lost_makes_nothing_twice(account: Account, action: str) -> None:
    account.lost = [action]
    assert len(up(account).hosts) == 3
    assert account.lost == []
    assert is_whole(account)


def test_answers_that_are_lost_for_longer_than_the_sdk_tries_make_no_second_host(account: Account) -> None:
    account.lost = ["RunInstances"] * 5  # the SDK gives up after four
    outcome = up(account)
    assert len(outcome.hosts) == 3
    assert not [change for change in outcome.changes if change.startswith("release")]
    assert len({given["ClientToken"] for given in account.calls("RunInstances")}) == 3
    assert account.lost == []
    assert is_whole(account)


def test_an_expired_token_and_a_wrong_secret_say_so(account: Account) -> None:
    account.failing["DescribeInstances"] = [RefusedError(400, "InvalidSecurityToken.Expired")]
    with pytest.raises(CloudError, match="the STS token has expired: get new credentials"):
        up(account)
    with pytest.raises(CloudError, match="the secret does not belong to the access key"):
        up(account, client=client_of(account, secret="wrong"))
    account.cloud.keys = {KEY_ID: (SECRET, "canary-token")}
    with pytest.raises(CloudError) as failed:
        up(account, client=client_of(account, secret="wrong", token="canary-token"))
    assert "canary" not in str(failed.value)
    assert account.left() == {}


@pytest.mark.parametrize(
    ("action", "permission"),
    [
        ("DescribeInstances", "ecs:DescribeInstances"),
        ("DescribeVpcs", "vpc:DescribeVpcs"),
        ("CreateVpc", "vpc:CreateVpc"),
        ("AuthorizeSecurityGroup", "ecs:AuthorizeSecurityGroup"),
        ("ImportKeyPair", "ecs:ImportKeyPair"),
        ("RunInstances", "ecs:RunInstances"),
        ("AssociateEipAddress", "vpc:AssociateEipAddress"),
    ],
)
def test_a_denied_action_is_named_and_the_next_run_goes_on(account: Account, action: str, permission: str) -> None:
    account.denied = {action}
    with pytest.raises((CloudError, HostsError), match=f"allow {permission} to this user in RAM"):
        up(account, WITH_EIP)
    account.denied = set()
    assert len(up(account, WITH_EIP).hosts) == 3
    assert is_whole(account)
    assert up(account, WITH_EIP).changes == []


def test_without_permission_to_list_no_host_is_made_twice(account: Account) -> None:
    up(account)
    account.denied = {"DescribeInstances"}
    done = len(writes(account))
    with pytest.raises(CloudError, match="allow ecs:DescribeInstances"):
        up(account)
    with pytest.raises(CloudError, match="allow ecs:DescribeInstances"):
        down(account)
    assert len(writes(account)) == done


def test_a_quota_that_is_reached_says_what_there_is(account: Account) -> None:
    account.quota = {"instances": 2}
    with pytest.raises(HostsError) as failed:
        up(account)
    text = str(failed.value)
    assert text.startswith("RunInstances: QuotaExceed.ElasticQuota")
    assert "raise the quota at https://quotas.console.aliyun.com" in text
    assert text.endswith(
        "2 of 3 hosts exist and cost money: run the same command again to create the rest, or remove them all"
    )
    account.quota = {}
    assert [change[:18] for change in up(account).changes] == ["create host node-2"]
    assert is_whole(account)


def test_where_a_zone_is_sold_out_the_next_one_is_tried(account: Account) -> None:
    account.sold_out = {("cn-hangzhou-b", "ecs.g7.large")}
    outcome = up(account, replace(THREE, nodes=4))
    assert [host.zone[-1] for host in outcome.hosts] == ["h", "h", "h", "k", "h"]
    refused = [one for one in account.calls("RunInstances") if one["VSwitchId"] not in used_vswitches(account)]
    assert len(refused) == 1  # it is not asked again


def used_vswitches(account: Account) -> set[str]:
    """Return the vSwitches with hosts in them."""
    return {one["VSwitchId"] for one in account.state["instances"].values()}


def test_a_zone_that_is_known_to_be_sold_out_is_left_out(account: Account) -> None:
    account.without_stock = {("cn-hangzhou-h", "ecs.g7.large")}
    outcome = up(account)
    assert {host.zone[-1] for host in outcome.hosts} == {"b", "k"}
    with_all = replace(THREE, nodes=3, zones=("cn-hangzhou-b", "cn-hangzhou-h", "cn-hangzhou-k"))
    assert "cn-hangzhou-h" not in {host.zone for host in up(account, with_all).hosts}


def test_all_zones_sold_out_is_one_line_and_no_orphan(account: Account) -> None:
    account.sold_out = {(zone, "ecs.g7.large") for zone in account.zones}
    with pytest.raises(HostsError, match=r"ecs\.g7\.large is sold out in cn-hangzhou-b, cn-hangzhou-h, cn-hangzhou-k"):
        up(account)
    account.sold_out = set()
    assert len(up(account).hosts) == 3
    assert is_whole(account)


def test_a_spot_price_that_is_too_low_says_so(account: Account) -> None:
    with pytest.raises(HostsError, match="raise the price limit of spot instances, or leave it out"):
        up(account, replace(THREE, spot=True, spot_price_limit=0.1))
    assert "instances" not in account.left()


def test_a_host_that_never_runs_is_named_and_not_made_twice(account: Account) -> None:
    account.boot_seconds = {"prod-node-2": 10**6}
    with pytest.raises(HostsError, match=r"^node-2 \(i-\d+\) is Pending, not Running after 300 s"):
        up(account)
    instance = next(one for one in account.state["instances"].values() if one["InstanceName"] == "prod-node-2")
    instance["running_at"] = account.clock
    assert up(account).changes == []
    assert is_whole(account)


def test_a_locked_host_is_refused(account: Account) -> None:
    up(account)
    for instance in account.state["instances"].values():
        instance["OperationLocks"] = {"LockReason": [{"LockReason": "financial"}]}
    with pytest.raises(Exception, match=r"master-1 \(i-\d+\) is locked by Alibaba Cloud: financial"):
        up(account)


def test_two_hosts_of_one_name_are_refused_and_neither_is_touched(account: Account) -> None:
    up(account)
    (like, *_) = list(account.state["instances"].values())
    account.state["instances"]["i-copy"] = {**like, "InstanceId": "i-copy"}
    with pytest.raises(
        Exception, match=r"several instances are called master-1 in this cluster: i-\S+, i-\S+; release all but"
    ):
        up(account)
    assert len(account.left()["instances"]) == 4


def test_what_is_listed_late_is_waited_for(account: Account) -> None:
    account.listing_delay = 9
    assert len(up(account).hosts) == 3
    assert is_whole(account)
    assert up(account).changes == []


def test_a_host_of_a_killed_run_that_is_listed_late_is_not_kept_twice(account: Account) -> None:
    client = client_of(account)

    def end(action: str) -> None:
        if action == "RunInstances":
            raise Interrupted

    client.after = end
    with pytest.raises(Interrupted):
        up(account, client=client)
    (first,) = account.left()["instances"]
    account.listing_delay = 5
    outcome = up(account)
    assert outcome.hosts[0].id == first
    assert outcome.changes[-1].startswith("release master-1 (i-")
    assert outcome.changes[-1].endswith("which another run created too")
    account.advance(60)
    assert is_whole(account)
    assert up(account).changes == []


@pytest.mark.parametrize("begin", ["scale down", "unbound by hand", "released by hand"])
def test_a_public_address_on_its_way_is_waited_for(account: Account, begin: str) -> None:
    up(account, replace(THREE, eip="all"))
    wanted = replace(THREE, nodes=1, eip="all", remove_surplus=True)
    if begin != "scale down":
        up(account, wanted)
        eip = next(one for one in account.state["eips"].values() if one["InstanceId"] != first_of(account))
        state = "Unassociating" if begin == "unbound by hand" else "Releasing"
        eip.update(Status=state, settled_at=account.clock + 20)
        eip["InstanceId"] = "" if state == "Releasing" else eip["InstanceId"]
    assert all(host.public for host in up(account, wanted).hosts)
    assert len(account.left()["eips"]) == 2
    assert {one["Status"] for one in account.state["eips"].values()} == {"InUse"}
    assert up(account, wanted).changes == []


def first_of(account: Account) -> str:
    """Return the id of the master."""
    return next(str(key) for key, one in account.state["instances"].items() if one["InstanceName"] == "prod-master-1")


def test_a_public_address_that_stays_on_its_way_is_one_line(account: Account) -> None:
    up(account, WITH_EIP)
    (eip,) = account.state["eips"].values()
    eip.update(Status="Unassociating", InstanceId="", settled_at=account.clock + 10**6)
    with pytest.raises(HostsError) as failed:
        up(account)
    address = eip["IpAddress"]
    assert str(failed.value).startswith(f"public addresses still cost money: {address} is Unassociating after 90 s")
    (left,) = down(account).remains
    assert left.startswith(f"public address {address}: ReleaseEipAddress: IncorrectEipStatus")
    eip["settled_at"] = account.clock
    assert down(account).remains == []
    assert account.left() == {}


def counted(account: Account) -> int:
    """Return how many calls of a run change something, and take all away again."""
    up(account, WITH_EIP)
    count = len(writes(account))
    assert down(account).remains == []
    return count


def new_cluster(number: int) -> Declaration:
    """Return the declaration of another cluster: every one has an id of its own."""
    return replace(WITH_EIP, owner=Owner("prod", f"{number:016x}"))


def test_a_run_that_was_killed_is_finished_by_the_next(account: Account) -> None:
    for number in range(1, counted(account) + 1, 2 * SAMPLE):
        client, left = client_of(account), [None] * number

        def end(_action: str, left: list[None] = left) -> None:
            left.pop()
            if not left:
                raise Interrupted

        client.after = end
        with pytest.raises(Interrupted):
            up(account, WITH_EIP, client=client)
        if number % 4 == 1:  # either finished, or taken back
            assert len(up(account, WITH_EIP).hosts) == 3
            assert is_whole(account), number
            assert up(account, WITH_EIP).changes == []
        assert down(account).remains == []
        assert account.left() == {}, number


def test_a_removal_that_was_killed_is_finished_by_the_next(account: Account) -> None:
    up(account, WITH_EIP)
    made = len(writes(account))
    down(account)
    for number in range(1, len(writes(account)) - made + 1, 3 * SAMPLE):
        up(account, WITH_EIP)
        client, left = client_of(account), [None] * number

        def end(_action: str, left: list[None] = left) -> None:
            left.pop()
            if not left:
                raise Interrupted

        client.after = end
        with pytest.raises(Interrupted):
            down(account, client=client)
        assert down(account).remains == []
        assert account.left() == {}, number


def test_two_control_machines_at_once_make_one_cluster(account: Account) -> None:
    """The second one makes its whole run between two calls of the first, wherever that is."""
    for number in range(0, counted(account) + 1, 3 * SAMPLE):
        wanted = new_cluster(number)
        client, left = client_of(account), [None] * (number + 1)

        def meanwhile(_action: str, left: list[None] = left, wanted: Declaration = wanted) -> None:
            left.pop()
            if not left:
                up(account, wanted)
                left += [None] * 10**4

        if number == 0:
            seen = present_after_look(account, wanted)
        else:
            left.pop()
            client.after = meanwhile
            seen = len(up(account, wanted, client=client).hosts)
        assert seen == 3
        last = up(account, wanted)
        assert is_whole(account), (number, account.left(), last.changes)
        assert up(account, wanted).changes == []
        down(account, wanted.owner)


def present_after_look(account: Account, wanted: Declaration) -> int:
    """Make hosts by a run that looked before another one made them."""
    client = client_of(account)
    pages = client.pages
    looked: list[int] = []

    def late(product: str, action: str, outer: str, inner: str, **more: object):  # type: ignore[no-untyped-def]
        yield from pages(product, action, outer, inner, **more)
        if action == "DescribeEipAddresses" and not looked:
            looked.append(1)
            up(account, wanted)

    client.pages = late  # type: ignore[method-assign]
    return len(up(account, wanted, client=client).hosts)


def test_no_secret_is_logged_by_the_sdk(account: Account) -> None:
    account.cloud.keys = {KEY_ID: (SECRET, "canary-token")}
    written, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(written)  # as a program that logs everything; pytest's own hears more than that
    root.addHandler(handler)
    logging.getLogger("aliyunsdkcore").setLevel(logging.DEBUG)
    try:
        with pytest.raises(CloudError):
            up(account, client=client_of(account, secret="wrong", token="canary-token"))
    finally:
        root.removeHandler(handler)
        logging.getLogger("aliyunsdkcore").setLevel(logging.NOTSET)
    assert written.getvalue() == ""


def sold_out(account: Account) -> None:
    account.sold_out = {(zone, "ecs.g7.large") for zone in account.zones}


def never_running(account: Account) -> None:
    account.boot_seconds = {"": 10**6}


def refused(code: str, status: int = 400) -> Callable[[Account], None]:
    """Return what makes RunInstances end with a code, for good."""

    def fail(account: Account) -> None:
        account.failing["RunInstances"] = [RefusedError(status, code)] * 100

    return fail


def lost(account: Account) -> None:
    account.lost = ["RunInstances"] * 100


def repair(account: Account) -> None:
    account.denied, account.quota, account.sold_out, account.boot_seconds = set(), {}, set(), {}
    account.failing, account.lost, account.cloud.silent = {}, [], 0
    for instance in account.state["instances"].values():
        instance["running_at"] = min(instance["running_at"], account.clock)


SPOT = replace(THREE, spot=True, spot_price_limit=0.1)
ENDS = {
    "throttled": (refused("Throttling.User"), THREE, "too many calls at once for this account: wait a minute"),
    "500s": (refused("InternalError", 500), THREE, "RunInstances: InternalError"),
    "lost answers": (lost, THREE, "RunInstances: SDK.HttpError"),
    "expired token": (refused("InvalidSecurityToken.Expired"), THREE, "the STS token has expired: get new"),
    "wrong secret": (refused("SignatureDoesNotMatch"), THREE, "the secret does not belong to the access key"),
    "denied action": (refused("Forbidden.RAM", 403), THREE, "allow ecs:RunInstances to this user in RAM"),
    "quota": (refused("QuotaExceed.ElasticQuota", 403), THREE, "raise the quota at https://quotas"),
    "sold out": (sold_out, THREE, "ecs.g7.large is sold out in cn-hangzhou-b, cn-hangzhou-h, cn-hangzhou-k"),
    "spot price too low": (lambda _: None, SPOT, "raise the price limit of spot instances, or leave it out"),
    "never Running": (never_running, THREE, "not Running after 300 s"),
}


@pytest.mark.parametrize("removed_at_once", [False, True], ids=["finished", "removed"])
@pytest.mark.parametrize("fault", ENDS)
def test_each_fault_is_one_line_and_leaves_nothing_behind(
    account: Account, monkeypatch: pytest.MonkeyPatch, fault: str, *, removed_at_once: bool
) -> None:
    monkeypatch.setattr("ansible.module_utils.yunkube.cloud.client.PATIENCE", 0)
    break_it, wanted, words = ENDS[fault]
    break_it(account)
    with pytest.raises((CloudError, HostsError)) as failed:
        up(account, wanted)
    assert words in str(failed.value)
    assert "\n" not in str(failed.value)
    repair(account)
    if not removed_at_once:
        assert len(up(account).hosts) == 3
        assert is_whole(account)
        assert up(account).changes == []
    assert down(account).remains == []
    assert account.left() == {}
