# SPDX-License-Identifier: Apache-2.0
"""Hosts on Alibaba Cloud to whose pods a VPC's routes lead: room for them, and what they keep from being removed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.result import RefusedError
from cloud_hosts import OWNER, THREE, Interrupted, client_of, down, up, writes
from fake_alicloud import RefusedError as Refused
from fake_alicloud_account import Account
from fake_alicloud_routes import add_route, hops_of

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:ssl\\.:DeprecationWarning")
ROUTED = replace(THREE, routed_pods=True)


def test_routes_without_room_are_refused_before_a_host_is_made(account: Account) -> None:
    routed = replace(THREE, routed_pods=True, route_quota=2)
    with pytest.raises(
        RefusedError, match=r"the route table: routes: would have 3 custom routes, and 2 are allowed; raise that"
    ):
        up(account, routed)
    assert writes(account) == []
    up(account, replace(routed, route_quota=3))
    (table,) = account.state["tables"]
    add_route(account, table, "172.16.0.0/16", "i-theirs", "by hand")
    add_route(account, table, "10.244.0.0/24", "i-1", f"yunkube-id={OWNER.cluster_id}")  # in place of which ours come
    before = len(writes(account))
    more = replace(routed, nodes=3, route_quota=4)
    with pytest.raises(RefusedError, match=f"{table}: routes: would have 5 custom routes"):
        up(account, more)
    assert len(writes(account)) == before
    assert len(up(account, replace(more, route_quota=5)).hosts) == 4
    before = len(account.calls("DescribeRouteEntryList"))
    assert up(account, more).changes == []  # nothing is made, and nothing asked
    assert len(account.calls("DescribeRouteEntryList")) == before


def test_instances_to_which_a_route_leads_are_not_released(account: Account) -> None:
    up(account)
    (table,) = account.state["tables"]
    instance = next(iter(account.state["instances"]))
    identity = add_route(account, table, "10.244.0.0/24", instance)
    with pytest.raises(CloudError, match=r"DependencyViolation\.RouteEntry: Specified instance is used by route entry"):
        down(account)
    del account.state["routes"][identity]
    down(account)
    assert account.left() == {}


def test_a_route_that_is_gone_and_counts_for_a_moment_is_waited_for(account: Account) -> None:
    up(account)
    account.failing["DeleteInstances"] = [Refused(400, "DependencyViolation.RouteEntry") for _ in range(3)]
    down(account)
    assert account.left() == {}


def test_a_network_with_a_route_of_others_stays_and_is_named(account: Account) -> None:
    up(account)
    (table,) = account.state["tables"]
    add_route(account, table, "172.16.0.0/16", "ngw-1")
    (left,) = down(account).remains
    assert left.startswith("VPC yunkube-prod")
    assert "DependencyViolation.RouteEntry" in left


def routed(account: Account) -> dict[str, str]:
    """Make hosts to whose pods the VPC routes, with routes of others beside ours; return those of others."""
    hosts = up(account, ROUTED).hosts
    (table,) = account.state["tables"]
    for number, host in enumerate(hosts):
        add_route(
            account, table, f"10.244.{number}.0/24", host.id, f"yunkube-id={OWNER.cluster_id} pods of {host.name}"
        )
    theirs = {"172.16.0.0/16": "ngw-1", "10.244.77.0/24": "i-theirs"}
    add_route(account, table, "172.16.0.0/16", "ngw-1", "by hand")
    add_route(account, table, "10.244.77.0/24", "i-theirs", "yunkube-id=fedcba9876543210 pods of another cluster")
    return theirs


def test_routes_go_when_the_vpc_routes_no_more_and_those_of_others_stay(account: Account) -> None:
    theirs = routed(account)
    planned = up(account, dry_run=True).changes
    assert [one.partition(" to ")[0] for one in planned[:3]] == [f"delete the route 10.244.{n}.0/24" for n in range(3)]
    assert len(hops_of(account)) == 5
    assert up(account).changes == planned
    assert hops_of(account) == theirs
    before = len(account.calls("DescribeRouteEntryList"))
    assert up(account).changes == []
    assert len(account.calls("DescribeRouteEntryList")) == before  # nothing is asked where there are none


def test_a_run_that_was_killed_leaves_no_route_behind(account: Account) -> None:
    theirs = routed(account)
    client = client_of(account)

    def end(action: str) -> None:
        if action == "DeleteRouteEntry":
            raise Interrupted

    client.after = end
    with pytest.raises(Interrupted):
        up(account, client=client)
    account.advance(1)
    assert len(hops_of(account)) == 4
    up(account)
    assert hops_of(account) == theirs
    assert up(account).changes == []


def test_a_removal_takes_routes_away_whatever_the_inventory_says_by_now(account: Account) -> None:
    theirs = routed(account)
    planned = down(account, dry_run=True).changes
    assert planned[0].startswith("delete the route 10.244.0.0/24")
    removed = down(account)
    assert hops_of(account) == theirs
    assert [left.partition(" (")[0] for left in removed.remains] == ["VPC yunkube-prod"]  # for the routes of others
    assert "instances" not in account.left()


def test_fewer_hosts_and_no_more_routes_at_once(account: Account) -> None:
    theirs = routed(account)
    up(account, replace(THREE, nodes=1, remove_surplus=True))
    assert hops_of(account) == theirs
    assert len(account.left()["instances"]) == 2
