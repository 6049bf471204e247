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
from cloud_inventory import KEYS, REGION, instance, lists, running
from fake_alicloud import SECRET, FakeCloud, Json, RefusedError
from fake_alicloud_routes import RouteTables
from real_module import run

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:ssl\\.:DeprecationWarning")
ID, OTHER = "a" * 16, "b" * 16
MINE = f"yunkube-id={ID} pods of some node"
Module = Callable[..., Json]


def nodes(count: int) -> dict[str, Json]:
    """Return that many nodes, as the API server knows them."""
    return {f"node-{n}": {"cidr": f"10.244.{n}.0/24", "address": f"10.0.0.{n}"} for n in range(1, count + 1)}


def hops(count: int) -> dict[str, str]:
    """Return the routes that these nodes need."""
    return {f"10.244.{n}.0/24": f"i-{n}" for n in range(1, count + 1)}


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCloud]:
    """Start a cloud with five instances in one VPC."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ALIBABA_CLOUD_CA_BUNDLE", "")
    monkeypatch.setattr("time.sleep", lambda _: None)
    with running(tmp_path) as fake:
        lists(fake, [with_vswitch(instance(f"prod-node-{n}", number=n)) for n in range(1, 6)])
        yield fake


def with_vswitch(one: Json, name: str = "vsw-1") -> Json:
    """Put an instance into a vSwitch."""
    one["VpcAttributes"]["VSwitchId"] = name
    return one


@pytest.fixture
def tables(cloud: FakeCloud) -> RouteTables:
    """Return its route tables."""
    return RouteTables(cloud)


@pytest.fixture
def module(
    cloud: FakeCloud, tables: RouteTables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Module:
    """Run the module, which waits for a moment only where it would for a while."""
    assert tables.cloud is cloud
    monkeypatch.setattr(cloud_client, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(routes, "POLL", 0.01)

    def call(given: dict[str, Json], *, check: bool = False, **more: Any) -> Json:
        arguments = {
            "nodes": given, "cluster": "prod", "cluster_id": ID, "region": REGION, "ca": str(cloud.ca),
            "endpoints": dict.fromkeys(("ecs", "vpc"), cloud.address), "_ansible_check_mode": check, **more,
        }  # fmt: skip
        journal, result = run(alicloud_routes.main, arguments, monkeypatch, capsys)
        assert SECRET not in f"{journal} {result}"
        return result

    return call


def written(cloud: FakeCloud) -> list[str]:
    """Return the calls that change something."""
    return [one["Action"] for one in cloud.log if not one["Action"].startswith("Describe")]


def test_each_node_gets_a_route_and_a_second_run_changes_nothing(
    cloud: FakeCloud, tables: RouteTables, module: Module
) -> None:
    tables.add("vtb-system", "100.64.0.0/10", "", kind="System")
    tables.add("vtb-system", "0.0.0.0/0", "ngw-1")
    first = module(nodes(3))
    assert (first["changed"], len(first["changes"])) == (True, 3)
    assert first["changes"][0] == "make the route 10.244.1.0/24 to node-1 (i-1) in vtb-system"
    assert tables.hops() == {"100.64.0.0/10": "", "0.0.0.0/0": "ngw-1", **hops(3)}
    assert {one["Status"] for one in tables.entries.values()} == {"Available"}
    made = tables.entries["rte-3"]
    assert (made["RouteEntryName"], made["Description"]) == (
        "prod-node-1",
        f"yunkube-id={ID} pods of node-1 in the cluster prod",
    )
    cloud.log.clear()
    again = module(nodes(3))
    assert (again["changed"], again["changes"], again["calls"]) == (False, [], 3)
    assert written(cloud) == []


def test_writes_follow_each_other_and_conflicts_are_waited_for(tables: RouteTables, module: Module) -> None:
    tables.delay = 3
    assert len(module(nodes(4))["changes"]) == 4
    assert tables.hops() == hops(4)


def test_check_mode_says_what_would_be_done(cloud: FakeCloud, tables: RouteTables, module: Module) -> None:
    tables.add("vtb-system", "10.244.9.0/24", "i-9", MINE)
    planned = module(nodes(1), check=True)
    assert written(cloud) == []
    assert planned["changes"] == [
        "delete the route 10.244.9.0/24 to i-9 (i-9) in vtb-system",
        "make the route 10.244.1.0/24 to node-1 (i-1) in vtb-system",
    ]
    assert planned["diff"] == {
        "before": "10.244.9.0/24 to i-9 (i-9) in vtb-system\n",
        "after": "10.244.1.0/24 to node-1 (i-1) in vtb-system\n",
    }
    assert module(nodes(1))["changes"] == planned["changes"]


def test_the_route_of_a_node_that_is_gone_goes(tables: RouteTables, module: Module) -> None:
    module(nodes(3))
    assert module(nodes(2))["changes"] == ["delete the route 10.244.3.0/24 to prod-node-3 (i-3) in vtb-system"]
    assert tables.hops() == hops(2)


def test_a_node_on_another_instance_gets_its_route_there(tables: RouteTables, module: Module) -> None:
    tables.add("vtb-system", "10.244.1.0/24", "i-old", MINE)
    assert [words.split()[0] for words in module(nodes(1))["changes"]] == ["delete", "make"]
    assert tables.hops() == hops(1)


@pytest.mark.parametrize("description", ["", "by hand", f"yunkube-id={OTHER} pods of node-1", f"yunkube-id={ID}0"])
@pytest.mark.parametrize("cidr", ["10.244.1.0/24", "10.244.1.128/25"])
def test_a_route_of_others_for_the_same_addresses_is_a_fault_before_the_first_write(
    cloud: FakeCloud, tables: RouteTables, module: Module, description: str, cidr: str
) -> None:
    tables.add("vtb-system", cidr, "i-1", description)
    for check in (True, False):
        failed = module(nodes(3), check=check)
        assert (failed["failed"], failed["kind"], failed["changes"]) == (True, "preflight", [])
        [fault] = failed["faults"]
        assert fault["host"] == "node-1"
        assert failed["msg"] == (
            f"node-1: the route {cidr} to i-1 (i-1) in vtb-system is not the cluster's and takes its pods' "
            "10.244.1.0/24; delete it (rte-1), or see who writes it"
        )
    assert written(cloud) == []


def test_routes_of_others_stay(tables: RouteTables, module: Module) -> None:
    kept = {"10.244.77.0/24": "i-77", "pl-list": "i-1", "10.244.0.0/16": "i-5"}
    for number, (cidr, hop) in enumerate(kept.items()):
        tables.add("vtb-system", cidr, hop, f"yunkube-id={OTHER}" if number else "")
    module(nodes(2))
    assert tables.hops() == {**kept, **hops(2)}
    module({}, state="absent")
    assert tables.hops() == kept


def test_without_the_cluster_its_routes_go(tables: RouteTables, module: Module) -> None:
    module(nodes(3))
    assert len(module({}, state="absent", check=True)["changes"]) == 3
    assert len(module({}, state="absent")["changes"]) == 3
    assert tables.hops() == {}
    assert module({}, state="absent")["changed"] is False


def test_no_nodes_are_no_reason_to_delete_all(tables: RouteTables, module: Module) -> None:
    module(nodes(2))
    assert "state absent does that" in module({})["msg"]
    assert tables.hops() == hops(2)


def test_the_quota_is_counted_before_the_first_write(cloud: FakeCloud, tables: RouteTables, module: Module) -> None:
    for number in range(3):
        tables.add("vtb-system", f"172.16.{number}.0/24", "i-5")
    tables.add("vtb-system", "10.244.99.0/24", "i-9", MINE)  # goes, and makes room
    tables.quota = 4
    failed = module(nodes(2), quota=4)
    assert failed["msg"].startswith("vtb-system: would hold 5 custom routes, and 4 are allowed; raise that quota")
    assert written(cloud) == []
    assert len(module(nodes(1), quota=4)["changes"]) == 2


def test_all_pages_of_a_table_are_read(tables: RouteTables, module: Module) -> None:
    for number in range(150):
        tables.add("vtb-system", f"172.16.{number}.0/24", "i-5")
    module(nodes(2))
    again = module(nodes(2))
    assert (again["changed"], again["calls"]) == (False, 4)


def test_every_table_that_the_instances_use_gets_the_routes(
    cloud: FakeCloud, tables: RouteTables, module: Module
) -> None:
    tables.tables = {"vtb-system": [], "vtb-own": ["vsw-2"], "vtb-other": ["vsw-9"]}
    two = [with_vswitch(instance("prod-node-1", number=1)), with_vswitch(instance("prod-node-2", number=2), "vsw-2")]
    lists(cloud, two)
    module(nodes(2))
    assert tables.hops("vtb-system") == tables.hops("vtb-own") == hops(2)
    assert tables.hops("vtb-other") == {}
    lists(cloud, two[1:])
    assert len(module({"node-2": nodes(2)["node-2"]})["changes"]) == 3  # no instance uses the first table any more
    assert (tables.hops("vtb-system"), tables.hops("vtb-own")) == ({}, {"10.244.2.0/24": "i-2"})


def test_what_keeps_routes_from_being_made_is_said_at_once(
    cloud: FakeCloud, tables: RouteTables, module: Module
) -> None:
    given = nodes(3)
    given["node-1"]["cidr"] = ""
    given["node-2"]["address"] = "10.0.0.99"
    given["node-3"]["cidr"] = "100.64.3.0/24"
    failed = module(given)
    assert [fault["host"] for fault in failed["faults"]] == ["node-1", "node-2", "node-3"]
    assert "no instance of the cluster has its address 10.0.0.99" in failed["msg"]
    tables.vswitches["vsw-7"] = "10.244.0.0/20"
    failed = module(nodes(1))
    assert failed["msg"].startswith("node-1: its pods' 10.244.1.0/24 meets the vSwitch vsw-7, 10.244.0.0/20; choose")
    assert written(cloud) == []


def test_instances_of_a_cluster_of_the_same_name_are_not_taken(
    cloud: FakeCloud, tables: RouteTables, module: Module
) -> None:
    lists(cloud, [with_vswitch(instance("prod-node-1", number=1, cluster_id=OTHER))])
    assert "no instance of the cluster has its address 10.0.0.1" in module(nodes(1))["msg"]
    assert tables.hops() == {}


def test_instances_in_two_networks_are_a_fault(cloud: FakeCloud, tables: RouteTables, module: Module) -> None:
    other = with_vswitch(instance("prod-node-2", number=2))
    other["VpcAttributes"]["VpcId"] = "vpc-2"
    lists(cloud, [with_vswitch(instance("prod-node-1", number=1)), other])
    assert "its instances are in 2 VPCs, vpc-1 and vpc-2" in module(nodes(2))["msg"]
    assert tables.hops() == {}


def test_two_control_machines_at_once_end_with_the_same_routes(
    cloud: FakeCloud, tables: RouteTables, module: Module
) -> None:
    create, times = cloud.actions["CreateRouteEntry"], []

    def late(given: Json) -> Json:
        times.append(given)
        if len(times) == 2:  # meanwhile the other one has made it
            tables.add("vtb-system", "10.244.2.0/24", "i-2", MINE)
        return create(given)

    cloud.actions["CreateRouteEntry"] = late
    assert len(module(nodes(3))["changes"]) == 2
    assert tables.hops() == hops(3)


@pytest.mark.parametrize("action", ["CreateRouteEntry", "DeleteRouteEntry"])
def test_a_lost_answer_is_no_second_route_and_no_error(
    cloud: FakeCloud, tables: RouteTables, module: Module, action: str
) -> None:
    tables.add("vtb-system", "10.244.9.0/24", "i-9", MINE)
    do, times = cloud.actions[action], []

    def mute(given: Json) -> Json:
        times.append(given)
        cloud.silent = int(len(times) == 1)
        return do(given)

    cloud.actions[action] = mute
    module(nodes(1))
    assert tables.hops() == hops(1)
    assert len(times) > 1


def test_what_was_done_before_an_error_is_said(cloud: FakeCloud, module: Module) -> None:
    create, times = cloud.actions["CreateRouteEntry"], []

    def denied(given: Json) -> Json:
        times.append(given)
        if "10.244.3" in given["DestinationCidrBlock"]:
            raise RefusedError(403, "Forbidden.RAM")
        return create(given)

    cloud.actions["CreateRouteEntry"] = denied
    failed = module(nodes(3))
    assert (failed["failed"], failed["changed"], len(failed["changes"])) == (True, True, 2)
    assert "allow vpc:CreateRouteEntry to this user in RAM" in failed["msg"]
    cloud.actions["CreateRouteEntry"] = create
    assert len(module(nodes(3))["changes"]) == 1


def test_a_route_that_is_accepted_and_never_comes_is_told(
    tables: RouteTables, module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "PATIENCE", 2)
    tables.delay = 10**6
    failed = module(nodes(1))
    assert failed["failed"]
    assert "the route 10.244.1.0/24 to prod-node-1 (i-1) in vtb-system is Creating for more than 2 s" in failed["msg"]


def test_a_hundred_hosts_with_nothing_to_do_are_few_calls(
    cloud: FakeCloud, tables: RouteTables, module: Module
) -> None:
    lists(cloud, [with_vswitch(instance(f"prod-node-{n}", number=n)) for n in range(1, 101)])
    for number in range(1, 101):
        tables.add("vtb-system", f"10.244.{number}.0/24", f"i-{number}", MINE)
    done = module(nodes(100))
    assert (done["changed"], done["calls"]) == (False, 3)


def test_a_plan_is_made_of_what_there_is_alone() -> None:
    found = routes.Found(["vtb-1"], [], "vpc-1", {"10.0.0.1": "i-1"})
    assert routes.plan([Node("a", "10.244.0.0/24", "10.0.0.1")], found, ID).words == [
        "make the route 10.244.0.0/24 to a (i-1) in vtb-1"
    ]
    with pytest.raises(RoutesError, match="would hold 1 custom routes, and 0 are allowed"):
        routes.plan([Node("a", "10.244.0.0/24", "10.0.0.1")], found, ID, quota=0)
