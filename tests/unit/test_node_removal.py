"""Which hosts may leave, and how their pods do."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube_api import KubeApi, KubeError, parse_kubeconfig
from fake_kube_api import FakeKubeApi
from node_removal import Drain, RemovalError, faults, member_of, to_evict

REPLICATED = {"ownerReferences": [{"kind": "ReplicaSet", "controller": True}], "labels": {"app": "web"}}
POD = "/api/v1/namespaces/default/pods/web"
NODE = {"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.9"}]}}


@pytest.fixture
def fake(tmp_path: Path) -> t.Iterator[FakeKubeApi]:
    server = FakeKubeApi(tmp_path)
    server.put("/api/v1/nodes/node1", spec={})
    server.put(POD, metadata=dict(REPLICATED), spec={"nodeName": "node1"}, status={"phase": "Running"})
    server.put("/api/v1/namespaces/default/pods/other", metadata=dict(REPLICATED), spec={"nodeName": "node2"})
    yield server
    server.close()


@pytest.fixture
def api(fake: FakeKubeApi) -> t.Iterator[KubeApi]:
    with KubeApi(parse_kubeconfig(fake.kubeconfig)) as api:
        yield api


def drain(api: KubeApi, seconds: float, *, force: bool = False) -> Drain:
    """Return the drain of node1."""
    return Drain(api, ["node1"], force=force, seconds=seconds)


MASTER = {**NODE, "metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}


def judged(*hosts: str, masters: tuple[str, ...] = ("m1", "m2"), dead: bool = False, up: bool = False) -> list[str]:
    """Return the faults of a removal from a cluster of masters and three nodes, one of them not in the inventory."""
    options = {
        "hosts": hosts, "addresses": {"m1": "", "m2": "", "n1": "10.0.0.1", "n2": ""}, "ports": {"n1": 2222},
        "control_plane_host": "m1", "dead": dead, "cluster": "ours",
    }  # fmt: skip
    nodes: dict[str, dict[str, t.Any]] = {**dict.fromkeys(masters, MASTER), **dict.fromkeys(("n1", "n2", "gone"), NODE)}
    found = faults(options, nodes, lambda address, port: up and (address, port) == ("10.0.0.1", 2222))
    return [f"{fault['host']}: {fault['check']}" for fault in found]


def test_a_node_and_a_further_master_may_leave() -> None:
    assert judged("n1", "m2") == []


def test_all_that_must_not_leave_is_told_at_once() -> None:
    assert judged("m1", "typo", "gone") == ["m1: control plane host", "typo: no node", "gone: inventory"]
    assert judged("m1", masters=("m1",)) == ["m1: last master"]


def test_a_dead_host_may_have_left_the_inventory_and_a_live_one_is_not_dead() -> None:
    assert judged("gone", dead=True) == []
    assert judged("n1", dead=True, up=True) == ["n1: alive"]


def test_static_pods_daemonsets_and_what_has_ended_stay() -> None:
    pods: list[dict[str, t.Any]] = [
        {"metadata": {"name": "a", "annotations": {"kubernetes.io/config.mirror": "x"}}},
        {"metadata": {"name": "b", "ownerReferences": [{"kind": "DaemonSet", "controller": True}]}},
        {"metadata": {"name": "c"}, "status": {"phase": "Succeeded"}},
        {"metadata": {"name": "d", **REPLICATED}, "status": {"phase": "Running"}},
    ]
    assert [pod["metadata"]["name"] for pod in to_evict(pods)] == ["d"]


def test_pods_are_evicted_and_the_node_stays_cordoned(fake: FakeKubeApi, api: KubeApi) -> None:
    drain(api, 5).run()
    assert POD not in fake.objects
    assert "/api/v1/namespaces/default/pods/other" in fake.objects
    assert fake.objects["/api/v1/nodes/node1"]["spec"]["unschedulable"] is True


def test_a_budget_is_respected_named_and_the_node_takes_pods_again(fake: FakeKubeApi, api: KubeApi) -> None:
    fake.refuse[f"POST {POD}/eviction"] = (429, "Cannot evict pod")
    budget = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web-budget"
    fake.put(budget, spec={"selector": {"matchLabels": {"app": "web"}}})
    with pytest.raises(RemovalError, match=r"default/web \(kept by the PodDisruptionBudget web-budget\).*--force"):
        drain(api, 0.1).run()
    assert POD in fake.objects
    assert not fake.objects["/api/v1/nodes/node1"]["spec"]["unschedulable"]


def test_what_several_budgets_cover_is_not_a_bug_and_the_node_takes_pods_again(fake: FakeKubeApi, api: KubeApi) -> None:
    fake.refuse[f"POST {POD}/eviction"] = (500, "This pod has more than one PodDisruptionBudget")
    with pytest.raises(RemovalError, match="more than one"):
        drain(api, 0.1).run()
    fake.refuse[f"POST {POD}/eviction"] = (503, "starting")
    with pytest.raises(KubeError):
        drain(api, 5).run()
    assert not fake.objects["/api/v1/nodes/node1"]["spec"]["unschedulable"]


def test_with_force_what_a_budget_keeps_is_deleted_when_time_is_up(fake: FakeKubeApi, api: KubeApi) -> None:
    fake.refuse[f"POST {POD}/eviction"] = (429, "Cannot evict pod")
    drain(api, 0.1, force=True).run()
    assert POD not in fake.objects


def test_a_pod_that_nothing_makes_anew_is_an_orphan(fake: FakeKubeApi, api: KubeApi) -> None:
    assert drain(api, 1).orphans() == []
    fake.put("/api/v1/namespaces/default/pods/bare", spec={"nodeName": "node1"})
    assert drain(api, 1).orphans() == ["default/bare"]


def test_etcds_member_is_found_by_its_name() -> None:
    listing = '{"members":[{"ID":255,"name":"m1"},{"ID":12345678901234567890,"name":"m2"}]}'
    assert member_of(listing, "m2") == "ab54a98ceb1f0ad2"
    assert member_of(listing, "m3") == ""
