# SPDX-License-Identifier: Apache-2.0
"""Which hosts may leave, and in which order etcd's members do."""

from __future__ import annotations

import types
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import etcd
from ansible.module_utils.yunkube.kube.etcd import Member
from ansible.module_utils.yunkube.kube.removal import Removal, faults, holds_endpoint

NODE = {"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.9"}]}}
MASTER = {**NODE, "metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}


def judged(
    *hosts: str,
    masters: tuple[str, ...] = ("m1", "m2"),
    dead: bool = False,
    gone: bool = False,
    up: bool = False,
    holder: str = "m1",
    endpoint: str = "lb:6443",
    members: tuple[str, ...] = (),
    healthy: tuple[str, ...] = (),
    open_ports: tuple[tuple[str, int], ...] = (("10.0.0.1", 2222),),
) -> list[str]:
    """Return the faults of a removal from a cluster of masters and three nodes, one of them not in the inventory."""
    options = {
        "hosts": hosts, "addresses": {"m1": "", "m2": "", "n1": "10.0.0.1", "n2": ""}, "ports": {"n1": 2222},
        "control_plane_host": holder, "dead": dead, "gone": gone, "cluster": "ours", "endpoint": endpoint,
    }  # fmt: skip
    nodes: dict[str, dict[str, t.Any]] = {**dict.fromkeys(masters, MASTER), **dict.fromkeys(("n1", "n2", "gone"), NODE)}
    theirs = {name: Member("1", name, ("10.0.0.7",), (f"https://{name}:2379",)) for name in members}
    well = [f"https://{name}:2379" for name in healthy]
    found = faults(options, nodes, lambda *place: up and place in open_ports, theirs, well)
    return [f"{fault.host}: {fault.check}" for fault in found]


def test_a_node_and_a_further_master_may_leave() -> None:
    assert judged("n1", "m2") == []


def test_all_that_must_not_leave_is_reported_at_once() -> None:
    assert judged("m1", "typo", "gone") == ["m1: control plane host", "typo: no node", "gone: inventory"]
    assert judged("m1", masters=("m1",)) == ["m1: last master"]


def test_a_replacement_goes_on_where_the_node_is_gone() -> None:
    assert judged("n3", "n1", gone=True) == []
    assert judged("m1", "n3", gone=True) == ["m1: control plane host"]


def test_a_member_of_etcd_may_leave_without_a_node() -> None:
    assert judged("m2", masters=("m1",), members=("m2",)) == []
    assert judged("m2", masters=("m1",)) == ["m2: no node"]
    assert judged("m2", masters=(), members=("m2",)) == ["m2: last master"]
    assert judged("m9", masters=("m1",), members=("m9",)) == ["m9: inventory"]
    assert judged("m9", masters=("m1",), members=("m9",), dead=True) == []
    assert judged("m2", members=("m2",), holder="m2", masters=("m1",)) == ["m2: control plane host"]


def test_a_dead_host_may_have_left_the_inventory_and_a_live_one_is_not_dead() -> None:
    assert judged("gone", dead=True) == []
    assert judged("n1", dead=True, up=True) == ["n1: alive"]


@pytest.mark.parametrize("port", [22, 2380])
def test_a_member_of_etcd_without_a_node_is_not_dead_where_its_host_answers(port: int) -> None:
    gone = {"masters": ("m1",), "members": ("m9",), "dead": True}
    assert judged("m9", **gone, up=True, open_ports=(("10.0.0.7", port),)) == ["m9: alive"]  # type: ignore[arg-type]
    assert judged("m9", **gone, up=True, open_ports=(("10.0.0.8", port),)) == []  # type: ignore[arg-type]


def test_a_member_of_etcd_that_is_healthy_is_not_dead() -> None:
    assert judged("m9", masters=("m1",), members=("m9",), dead=True, healthy=("m9",)) == ["m9: alive"]
    assert judged("m2", members=("m2",), dead=True, healthy=("m2",)) == ["m2: alive"]
    assert judged("m2", members=("m2",), dead=True, healthy=("m1",)) == []
    assert judged("m2", members=("m2",), healthy=("m2",)) == []


def test_the_host_of_the_endpoint_stays_whoever_is_asked() -> None:
    assert judged("m2", endpoint="10.0.0.9:6443") == ["m2: endpoint"]  # as the API says of all hosts here
    assert judged("m2", endpoint="m2:6443") == ["m2: endpoint"]
    assert judged("m1", holder="m2") == []


def test_the_host_of_the_endpoint_is_known_in_capitals_too() -> None:
    options = {"endpoint": "api.example.org:6443", "addresses": {"M2": "API.example.org"}}
    assert holds_endpoint("M2", options, {})


class Etcd:
    """The etcd of three masters, which says what is asked of it."""

    def __init__(self, *unhealthy: str) -> None:
        """Make these members unhealthy."""
        self.unhealthy = unhealthy
        self.asked: list[str] = []

    def members(self) -> list[Member]:
        """Return all three."""
        return [Member(name, name, (), (name,)) for name in ("m1", "m2", "m3")]

    def healthy(self, members: list[Member]) -> set[str]:
        """Return the endpoints that answer."""
        return {one.name for one in members if one.name not in self.unhealthy}

    def snapshot(self, why: str) -> Path:
        """Save nothing."""
        self.asked.append(f"snapshot {why}")
        return Path("/snapshot")

    def remove(self, member: Member, _healthy: set[str]) -> None:
        """Remove nothing."""
        self.asked.append(f"remove {member.name}")


def leaving(
    monkeypatch: pytest.MonkeyPatch, there: Etcd, *names: str, check_mode: bool = False, dead: bool = False
) -> list[str]:
    """Return what is done before masters are reset, which have no pods left."""
    monkeypatch.setattr(etcd, "MANIFEST", Path(__file__))  # etcd runs on this host
    monkeypatch.setattr(Removal, "_drain", lambda *_: [])
    removal = Removal.__new__(Removal)
    removal.module = t.cast("t.Any", types.SimpleNamespace(check_mode=check_mode, fail_json=refuse))
    removal.etcd, removal.result = t.cast("t.Any", there), {}
    removal.nodes = dict.fromkeys(("m1", "m2", "m3"), MASTER)
    removal.options = {
        "hosts": names, "state": "drained", "addresses": dict.fromkeys(("m1", "m2", "m3"), ""), "ports": {},
        "control_plane_host": "m1", "dead": dead, "cluster": "ours", "endpoint": "lb:6443",
    }  # fmt: skip
    monkeypatch.setattr("ansible.module_utils.yunkube.kube.removal.answers", lambda *_: False)
    return removal.run()


def refuse(**result: t.Any) -> t.NoReturn:
    """End the module."""
    raise ValueError(result["msg"])


def test_members_leave_one_after_the_other_and_a_snapshot_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Etcd("m3")
    told = leaving(monkeypatch, there, "m2", "m3")
    assert there.asked == ["snapshot before-removal-of-m3-m2", "remove m3", "remove m2"]
    assert told == ["save a snapshot of etcd in /snapshot", "remove the etcd member m3", "remove the etcd member m2"]


def test_a_plan_removes_no_member(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Etcd()
    assert "remove the etcd member m2" in leaving(monkeypatch, there, "m2", check_mode=True)
    assert there.asked == []


def test_a_dead_master_is_not_removed_while_its_etcd_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Etcd()
    with pytest.raises(ValueError, match=r"m2: alive: is not dead: its member of etcd is healthy; remove it without"):
        leaving(monkeypatch, there, "m2", dead=True)
    assert there.asked == []
    assert "remove the etcd member m2" in leaving(monkeypatch, Etcd("m2"), "m2", dead=True)


def test_a_master_that_etcd_needs_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Etcd("m3")
    with pytest.raises(ValueError, match="without m2 etcd would have 2 members, 1 of them healthy"):
        leaving(monkeypatch, there, "m2")
    assert there.asked == []
