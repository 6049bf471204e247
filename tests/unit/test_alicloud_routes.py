# SPDX-License-Identifier: Apache-2.0
"""Routes of a VPC to the nodes' pods, by the real footmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import alicloud_routes
import pytest
from ansible.module_utils.yunkube.cloud import client as cloud_client
from ansible.module_utils.yunkube.cloud import routes
from ansible.module_utils.yunkube.cloud.routes import Node, RoutesError
from cloud_inventory import KEYS, REGION, running
from cloud_routes import ID, OTHER, SYSTEM, add_switch, add_table, open_vpc, place
from fake_alicloud import SECRET, Json, RefusedError
from fake_alicloud_account import Account
from fake_alicloud_routes import add_route, hops_of
from real_module import run

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:ssl\\.:DeprecationWarning")
MINE = f"yunkube-id={ID} pods of some node"
Module = Callable[..., Json]


def nodes(count: int) -> dict[str, Json]:
    """Return that many nodes, as the API server knows them."""
    return {f"node-{n}": {"cidr": f"10.244.{n}.0/24", "address": f"10.0.0.{n}"} for n in range(1, count + 1)}


def hops(count: int) -> dict[str, str]:
    """Return the routes that these nodes need."""
    return {f"10.244.{n}.0/24": f"i-{n}" for n in range(1, count + 1)}


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """Open an account with five instances in one VPC."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ALIBABA_CLOUD_CA_BUNDLE", "")
    with running(tmp_path) as fake:
        yield open_vpc(fake, tmp_path)


@pytest.fixture
def module(account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Module:
    """Run the module, which waits for a moment only where it would for a while."""
    monkeypatch.setattr(cloud_client, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(routes, "POLL", 0.01)

    def call(given: dict[str, Json], *, check: bool = False, **more: Any) -> Json:
        arguments = {
            "nodes": given, "cluster": "prod", "cluster_id": ID, "region": REGION, "ca": str(account.cloud.ca),
            "endpoints": dict.fromkeys(("ecs", "vpc"), account.cloud.address), "_ansible_check_mode": check, **more,
        }  # fmt: skip
        journal, result = run(alicloud_routes.main, arguments, monkeypatch, capsys)
        assert SECRET not in f"{journal} {result}"
        return result

    return call


def written(account: Account) -> list[str]:
    """Return the calls that change something."""
    return [one["Action"] for one in account.cloud.log if not one["Action"].startswith("Describe")]


def test_each_node_gets_a_route_and_a_second_run_changes_nothing(account: Account, module: Module) -> None:
    add_route(account, SYSTEM, "100.64.0.0/10", "", kind="System")
    add_route(account, SYSTEM, "0.0.0.0/0", "ngw-1")
    first = module(nodes(3))
    assert (first["changed"], len(first["changes"])) == (True, 3)
    assert first["changes"][0] == "create the route 10.244.1.0/24 to node-1 (i-1) in vtb-system"
    assert hops_of(account, SYSTEM) == {"100.64.0.0/10": "", "0.0.0.0/0": "ngw-1", **hops(3)}
    assert {one["Status"] for one in account.state["routes"].values()} == {"Available"}
    made = next(one for one in account.state["routes"].values() if one["DestinationCidrBlock"] == "10.244.1.0/24")
    assert (made["RouteEntryName"], made["Description"]) == (
        "prod-node-1",
        f"yunkube-id={ID} pods of node-1 in the cluster prod",
    )
    account.cloud.log.clear()
    again = module(nodes(3))
    assert (again["changed"], again["changes"], again["calls"]) == (False, [], 3)
    assert written(account) == []


def test_writes_follow_each_other_and_conflicts_are_waited_for(account: Account, module: Module) -> None:
    account.route_seconds = 0.1
    assert len(module(nodes(4))["changes"]) == 4
    assert len(written(account)) > 4  # some were refused: TaskConflict
    assert hops_of(account, SYSTEM) == hops(4)


def test_check_mode_says_what_would_be_done(account: Account, module: Module) -> None:
    add_route(account, SYSTEM, "10.244.9.0/24", "i-9", MINE)
    planned = module(nodes(1), check=True)
    assert written(account) == []
    assert planned["changes"] == [
        "delete the route 10.244.9.0/24 to i-9 (i-9) in vtb-system",
        "create the route 10.244.1.0/24 to node-1 (i-1) in vtb-system",
    ]
    assert planned["diff"] == {
        "before": "10.244.9.0/24 to i-9 (i-9) in vtb-system\n",
        "after": "10.244.1.0/24 to node-1 (i-1) in vtb-system\n",
    }
    assert module(nodes(1))["changes"] == planned["changes"]


def test_the_route_of_a_node_that_is_gone_goes(account: Account, module: Module) -> None:
    module(nodes(3))
    assert module(nodes(2))["changes"] == ["delete the route 10.244.3.0/24 to prod-node-3 (i-3) in vtb-system"]
    assert hops_of(account, SYSTEM) == hops(2)


def test_a_node_on_another_instance_gets_its_route_there(account: Account, module: Module) -> None:
    add_route(account, SYSTEM, "10.244.1.0/24", "i-old", MINE)
    assert [words.split()[0] for words in module(nodes(1))["changes"]] == ["delete", "create"]
    assert hops_of(account, SYSTEM) == hops(1)


@pytest.mark.parametrize("description", ["", "by hand", f"yunkube-id={OTHER} pods of node-1", f"yunkube-id={ID}0"])
@pytest.mark.parametrize("cidr", ["10.244.1.0/24", "10.244.1.128/25"])
def test_a_route_of_others_for_the_same_addresses_is_a_fault_before_the_first_write(
    account: Account, module: Module, description: str, cidr: str
) -> None:
    identity = add_route(account, SYSTEM, cidr, "i-1", description)
    for check in (True, False):
        failed = module(nodes(3), check=check)
        assert (failed["failed"], failed["kind"], failed["changes"]) == (True, "preflight", [])
        [fault] = failed["faults"]
        assert fault["host"] == "node-1"
        assert failed["msg"] == (
            f"node-1: routes: the route {cidr} to i-1 (i-1) in vtb-system is not the cluster's and takes the traffic "
            f"to its pods in 10.244.1.0/24; delete it ({identity}), or find out what creates it"
        )
    assert written(account) == []


def test_routes_of_others_stay(account: Account, module: Module) -> None:
    kept = {"10.244.77.0/24": "i-77", "pl-list": "i-1", "10.244.0.0/16": "i-5"}
    for number, (cidr, hop) in enumerate(kept.items()):
        add_route(account, SYSTEM, cidr, hop, f"yunkube-id={OTHER}" if number else "")
    module(nodes(2))
    assert hops_of(account, SYSTEM) == {**kept, **hops(2)}
    module({}, state="absent")
    assert hops_of(account, SYSTEM) == kept


def test_without_the_cluster_its_routes_go(account: Account, module: Module) -> None:
    module(nodes(3))
    assert len(module({}, state="absent", check=True)["changes"]) == 3
    assert len(module({}, state="absent")["changes"]) == 3
    assert hops_of(account, SYSTEM) == {}
    assert module({}, state="absent")["changed"] is False


def test_routes_go_also_where_the_cloud_released_all_instances(account: Account, module: Module) -> None:
    add_route(account, SYSTEM, "10.250.0.0/24", "i-5", f"yunkube-id={OTHER} pods of some node")
    kept = hops_of(account, SYSTEM)
    module(nodes(3))
    account.state["instances"].clear()  # spot instances, or those with an hour of release
    assert len(module({}, state="absent")["changes"]) == 3
    assert hops_of(account, SYSTEM) == kept


def test_no_nodes_are_no_reason_to_delete_all(account: Account, module: Module) -> None:
    module(nodes(2))
    assert "use state absent for that" in module({})["msg"]
    assert hops_of(account, SYSTEM) == hops(2)


def test_the_quota_is_counted_before_the_first_write(account: Account, module: Module) -> None:
    for number in range(3):
        add_route(account, SYSTEM, f"172.16.{number}.0/24", "i-5")
    add_route(account, SYSTEM, "10.244.99.0/24", "i-9", MINE)  # goes, and makes room
    account.quota["routes"] = 4
    failed = module(nodes(2), quota=4)
    assert failed["msg"].startswith("vtb-system: routes: would have 5 custom routes, and 4 are allowed; raise")
    assert written(account) == []
    assert len(module(nodes(1), quota=4)["changes"]) == 2


def test_all_pages_of_a_table_are_read(account: Account, module: Module) -> None:
    for number in range(150):
        add_route(account, SYSTEM, f"172.16.{number}.0/24", "i-5")
    module(nodes(2))
    again = module(nodes(2))
    assert (again["changed"], again["calls"]) == (False, 4)


def test_every_table_that_the_instances_use_gets_the_routes(account: Account, module: Module) -> None:
    add_table(account, "vtb-own", "vsw-2")
    add_table(account, "vtb-other", "vsw-9")
    add_switch(account, "vsw-2", "10.0.2.0/24")
    account.state["instances"].clear()
    place(account, 1)
    place(account, 2, switch="vsw-2")
    module(nodes(2))
    assert hops_of(account, SYSTEM) == hops_of(account, "vtb-own") == hops(2)
    assert hops_of(account, "vtb-other") == {}
    del account.state["instances"]["i-1"]
    assert len(module({"node-2": nodes(2)["node-2"]})["changes"]) == 3  # no instance uses the first table any more
    assert (hops_of(account, SYSTEM), hops_of(account, "vtb-own")) == ({}, {"10.244.2.0/24": "i-2"})


def test_what_keeps_routes_from_being_made_is_said_at_once(account: Account, module: Module) -> None:
    given = nodes(3)
    given["node-1"]["cidr"] = ""
    given["node-2"]["address"] = "10.0.0.99"
    given["node-3"]["cidr"] = "100.64.3.0/24"
    failed = module(given)
    assert [fault["host"] for fault in failed["faults"]] == ["node-1", "node-2", "node-3"]
    assert "no instance of the cluster has its address 10.0.0.99" in failed["msg"]
    add_switch(account, "vsw-7", "10.244.0.0/20")
    failed = module(nodes(1))
    assert failed["msg"].startswith(
        "node-1: routes: its pod range 10.244.1.0/24 overlaps the vSwitch vsw-7, 10.244.0.0/20; "
    )
    assert written(account) == []


def test_instances_of_a_cluster_of_the_same_name_are_not_taken(account: Account, module: Module) -> None:
    place(account, 1, cluster_id=OTHER)
    assert "no instance of the cluster has its address 10.0.0.1" in module(nodes(1))["msg"]
    assert hops_of(account, SYSTEM) == {}


def test_instances_in_two_networks_are_a_fault(account: Account, module: Module) -> None:
    add_switch(account, "vsw-2", "10.0.0.0/24", "vpc-2")
    place(account, 2, switch="vsw-2")
    assert "its instances are in 2 VPCs, vpc-1 and vpc-2" in module(nodes(2))["msg"]
    assert hops_of(account, SYSTEM) == {}


def test_two_control_machines_at_once_end_with_the_same_routes(account: Account, module: Module) -> None:
    create, times = account.cloud.actions["CreateRouteEntry"], []

    def late(given: Json) -> Json:
        times.append(given)
        if len(times) == 2:  # meanwhile the other one has made it
            add_route(account, SYSTEM, "10.244.2.0/24", "i-2", MINE)
        return create(given)

    account.cloud.actions["CreateRouteEntry"] = late
    assert len(module(nodes(3))["changes"]) == 2
    assert hops_of(account, SYSTEM) == hops(3)


@pytest.mark.parametrize("action", ["CreateRouteEntry", "DeleteRouteEntry"])
def test_a_lost_answer_is_no_second_route_and_no_error(account: Account, module: Module, action: str) -> None:
    add_route(account, SYSTEM, "10.244.9.0/24", "i-9", MINE)
    account.lost.append(action)
    module(nodes(1))
    assert hops_of(account, SYSTEM) == hops(1)
    assert len(account.calls(action)) > 1
    assert account.lost == []


def test_what_was_done_before_an_error_is_said(account: Account, module: Module) -> None:
    create, times = account.cloud.actions["CreateRouteEntry"], []

    def denied(given: Json) -> Json:
        times.append(given)
        if "10.244.3" in given["DestinationCidrBlock"]:
            raise RefusedError(403, "Forbidden.RAM")
        return create(given)

    account.cloud.actions["CreateRouteEntry"] = denied
    failed = module(nodes(3))
    assert (failed["failed"], failed["changed"], len(failed["changes"])) == (True, True, 2)
    assert "allow vpc:CreateRouteEntry to this user in RAM" in failed["msg"]
    account.cloud.actions["CreateRouteEntry"] = create
    assert len(module(nodes(3))["changes"]) == 1


def test_a_route_that_is_accepted_and_never_appears_is_reported(
    account: Account, module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "PATIENCE", 2)
    account.route_seconds = 10**6
    failed = module(nodes(1))
    assert failed["failed"]
    assert "the route 10.244.1.0/24 to prod-node-1 (i-1) in vtb-system has been Creating for more" in failed["msg"]


def test_a_hundred_hosts_with_nothing_to_do_are_few_calls(account: Account, module: Module) -> None:
    place(account, *range(6, 101))
    for number in range(1, 101):
        add_route(account, SYSTEM, f"10.244.{number}.0/24", f"i-{number}", MINE)
    done = module(nodes(100))
    assert (done["changed"], done["calls"]) == (False, 3)


def test_a_plan_is_made_of_what_there_is_alone() -> None:
    found = routes.Found(["vtb-1"], [], "vpc-1", {"10.0.0.1": "i-1"})
    assert routes.plan([Node("a", "10.244.0.0/24", "10.0.0.1")], found, ID).words == [
        "create the route 10.244.0.0/24 to a (i-1) in vtb-1"
    ]
    with pytest.raises(RoutesError, match="would have 1 custom routes, and 0 are allowed"):
        routes.plan([Node("a", "10.244.0.0/24", "10.0.0.1")], found, ID, quota=0)
