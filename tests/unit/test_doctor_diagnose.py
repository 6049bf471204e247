# SPDX-License-Identifier: Apache-2.0
"""The reasoning on the control machine, unreachable hosts and all."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.doctor.diagnose import diagnose
from cloud_inventory import KEYS, REGION, running
from cloud_routes import ID, SYSTEM, open_vpc
from doctor_record import RECORD, healthy
from fake_alicloud_account import Account
from fake_alicloud_routes import add_route
from load_plugin import load_plugin

CLOUD = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:ssl\\.:DeprecationWarning")
plugin = load_plugin("action/doctor_diagnose")
GOOD = {host["host"]: {"facts": host} for host in RECORD["hosts"]}
CLUSTER = {"facts": RECORD["cluster"]}


@pytest.mark.parametrize(
    ("typed", "sources", "inventory"),
    [
        ("inventory/mine", ["/elsewhere"], "inventory/mine"),
        ("", [str(plugin.PROJECT / "inventory/mine")], "inventory/mine"),
        ("", ["/etc/clusters/mine"], "/etc/clusters/mine"),
        ("", [], "inventory/docker"),
    ],
)
def test_commands_are_for_the_inventory_of_the_run(
    monkeypatch: pytest.MonkeyPatch, typed: str, sources: list[str], inventory: str
) -> None:
    monkeypatch.setenv("YUNKUBE_INVENTORY", typed)
    assert plugin.inventory_of(sources) == inventory


def collect(hosts: dict[str, t.Any], clusters: list[t.Any]) -> t.Any:
    """Return the facts of what modules said."""
    return plugin.collect(hosts, clusters, ["master1"])


def test_what_modules_said_becomes_facts() -> None:
    facts = collect(GOOD, [CLUSTER])
    assert [host.host for host in facts.reached] == ["master1", "node1"]
    assert facts.cluster.answers


def test_a_host_that_did_not_answer_says_why() -> None:
    said = {"unreachable": True, "msg": "Failed to connect to the host via ssh:\nssh: No route to host\n"}
    facts = collect(GOOD | {"node1": said}, [CLUSTER])
    assert [(host.host, host.unreachable) for host in facts.hosts if host.unreachable] == [
        ("node1", "ssh: No route to host")
    ]


def test_a_master_that_could_not_be_asked_for_the_api_says_why() -> None:
    said = {"unreachable": True, "msg": "ssh: No route to host"}
    facts = collect(GOOD | {"master1": {"skipped": True}}, [said])
    assert [host.unreachable for host in facts.hosts if host.unreachable] == ["ssh: No route to host"]


def test_the_first_master_that_is_answered_counts() -> None:
    silent = {"facts": {"asked": "master1", "answers": False, "detail": "refused"}}
    assert collect(GOOD, [silent, {}, CLUSTER]).cluster.answers
    assert collect(GOOD, [silent, {"skipped": True}]).cluster.detail == "refused"
    assert not collect({"master1": {}}, []).cluster.answers


def cloud_of(account: Account, **more: t.Any) -> dict[str, t.Any]:
    """Return what the role says of a cloud."""
    endpoints = dict.fromkeys(("ecs", "vpc"), account.cloud.address)
    known = {"cluster": "prod", "cluster_id": ID, "region": REGION, "endpoints": endpoints, "quota": 200}
    return {**known, "ca": str(account.cloud.ca), **more}


def api_node(number: int, **more: t.Any) -> dict[str, t.Any]:
    """Return a node as the doctor knows it."""
    ranges = {"pod_cidr": f"10.244.{number}.0/24", "address": f"10.0.0.{number}"}
    return {"name": f"node-{number}", "removing": False, **ranges, **more}


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Account]:
    """Open an account whose VPC has a route to the first of two nodes."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ALIBABA_CLOUD_CA_BUNDLE", "")
    with running(tmp_path) as fake:
        made = open_vpc(fake, tmp_path)
        add_route(made, SYSTEM, "10.244.1.0/24", "i-1", f"yunkube-id={ID}")
        yield made


@CLOUD
def test_a_route_that_the_vpc_lacks_is_found_and_nothing_is_written(account: Account) -> None:
    nodes = [api_node(1), api_node(2), api_node(3, pod_cidr=""), api_node(4, removing=True)]
    line = "there is no route 10.244.2.0/24 to node-2 (i-2) in vtb-system"
    assert plugin.ask_cloud(cloud_of(account), nodes) == {"missing": {"node-2": [line]}}
    assert all(given["Action"].startswith("Describe") for given in account.cloud.log)


@CLOUD
def test_a_route_that_leads_to_an_instance_that_is_gone_is_none(account: Account) -> None:
    add_route(account, SYSTEM, "10.244.2.0/24", "i-gone", f"yunkube-id={ID}")
    assert list(plugin.ask_cloud(cloud_of(account), [api_node(1), api_node(2)])["missing"]) == ["node-2"]


@CLOUD
def test_a_cloud_that_does_not_say_is_no_missing_route(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.denied = {"DescribeRouteTableList"}
    denied = plugin.ask_cloud(cloud_of(account), [api_node(1)])
    assert list(denied) == ["problem"]
    assert "allow vpc:DescribeRouteTableList to this user in RAM" in denied["problem"]
    for name in KEYS:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", str(account.cloud.ca.parent))
    assert "no credentials for Alibaba Cloud" in plugin.ask_cloud(cloud_of(account), [api_node(1)])["problem"]


@CLOUD
def test_a_conflicting_route_of_another_owner_is_reported_as_such(account: Account) -> None:
    add_route(account, SYSTEM, "10.244.2.0/24", "i-9", "by hand")
    found = plugin.ask_cloud(cloud_of(account), [api_node(1), api_node(2)])
    assert found["severity"] == "error"
    assert found["problem"].startswith(
        "node-2: routes: the route 10.244.2.0/24 to i-9 (i-9) in vtb-system is not the cluster's"
    )


def test_no_cloud_is_asked_for_a_network_of_flannels_own_or_without_nodes() -> None:
    assert plugin.ask_cloud({}, [api_node(1)]) == {}
    assert plugin.ask_cloud({"region": "none"}, []) == {}


def test_what_others_route_is_not_ours_to_make() -> None:
    facts = healthy()
    facts.cluster.node("node1")["network"] = "NoRouteCreated"
    (found,) = diagnose(facts)
    assert (found.id, found.safe, found.command) == ("cloud-route-missing", False, "")
