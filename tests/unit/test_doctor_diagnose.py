"""The reasoning on the control machine, unreachable hosts and all."""

from __future__ import annotations

import typing as t

import pytest
from doctor_record import RECORD
from load_plugin import load_plugin

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


def test_the_first_master_that_is_answered_counts() -> None:
    silent = {"facts": {"asked": "master1", "answers": False, "detail": "refused"}}
    assert collect(GOOD, [silent, {}, CLUSTER]).cluster.answers
    assert collect(GOOD, [silent, {"skipped": True}]).cluster.detail == "refused"
    assert not collect({"master1": {}}, []).cluster.answers
