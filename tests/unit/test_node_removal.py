"""Which hosts may leave."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.etcd import Member
from node_removal import faults

NODE = {"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.9"}]}}
MASTER = {**NODE, "metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}


def judged(
    *hosts: str,
    masters: tuple[str, ...] = ("m1", "m2"),
    dead: bool = False,
    up: bool = False,
    holder: str = "m1",
    endpoint: str = "lb:6443",
    members: tuple[str, ...] = (),
) -> list[str]:
    """Return the faults of a removal from a cluster of masters and three nodes, one of them not in the inventory."""
    options = {
        "hosts": hosts, "addresses": {"m1": "", "m2": "", "n1": "10.0.0.1", "n2": ""}, "ports": {"n1": 2222},
        "control_plane_host": holder, "dead": dead, "cluster": "ours", "endpoint": endpoint,
    }  # fmt: skip
    nodes: dict[str, dict[str, t.Any]] = {**dict.fromkeys(masters, MASTER), **dict.fromkeys(("n1", "n2", "gone"), NODE)}
    theirs = {name: Member("1", name, ("10.0.0.1",), ()) for name in members}
    found = faults(options, nodes, lambda address, port: up and (address, port) == ("10.0.0.1", 2222), theirs)
    return [f"{fault['host']}: {fault['check']}" for fault in found]


def test_a_node_and_a_further_master_may_leave() -> None:
    assert judged("n1", "m2") == []


def test_all_that_must_not_leave_is_told_at_once() -> None:
    assert judged("m1", "typo", "gone") == ["m1: control plane host", "typo: no node", "gone: inventory"]
    assert judged("m1", masters=("m1",)) == ["m1: last master"]


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


def test_the_host_of_the_endpoint_stays_whoever_is_asked() -> None:
    assert judged("m2", endpoint="10.0.0.9:6443") == ["m2: endpoint"]  # as the API says of all hosts here
    assert judged("m2", endpoint="m2:6443") == ["m2: endpoint"]
    assert judged("m1", holder="m2") == []
