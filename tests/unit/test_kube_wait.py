"""What keeps a cluster from being healthy, in words."""

from __future__ import annotations

import threading
import typing as t
from pathlib import Path

import kube_wait
import pytest
from ansible.module_utils.yunkube.kube_api import Json, KubeApi, parse_kubeconfig
from ansible.module_utils.yunkube.kube_health import Wanted, node_problem, pod_problem, wait, workload_problem
from fake_kube_api import FakeKubeApi

READY = [{"type": "Ready", "status": "True"}]
NODE: Json = {"status": {"conditions": READY, "nodeInfo": {"kubeletVersion": "v1.37.2"}}}
DAEMONSET = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy"
WANTED = Wanted(("node1",), "1.37.2", ("DaemonSet kube-system/kube-proxy",), ("kube-system",))


def pod(**status: t.Any) -> Json:
    return {"metadata": {"name": "p", "namespace": "n"}, "status": status}


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (None, "not in the cluster"),
        ({"status": {}}, "not ready: its kubelet has not reported yet"),
        (
            {
                "status": {
                    "conditions": [
                        {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "no CNI"}
                    ]
                }
            },
            "not ready: KubeletNotReady: no CNI",
        ),
        (
            {"status": {"conditions": READY, "nodeInfo": {"kubeletVersion": "v1.36.4"}}},
            "runs kubelet 1.36.4, not 1.37.2",
        ),
        (NODE, ""),
    ],
)
def test_a_node(node: Json | None, problem: str) -> None:
    assert node_problem(node, "1.37.2") == problem


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (None, "not there"),
        ({"kind": "DaemonSet", "metadata": {"generation": 2}}, "not looked at yet by kube-controller-manager"),
        (
            {
                "kind": "DaemonSet",
                "metadata": {"generation": 1},
                "status": {
                    "observedGeneration": 1,
                    "desiredNumberScheduled": 2,
                    "updatedNumberScheduled": 2,
                    "numberReady": 1,
                },
            },
            "1 of 2 pods are ready",
        ),
        (
            {"kind": "Deployment", "metadata": {}, "spec": {"replicas": 2}, "status": {"observedGeneration": 1}},
            "0 of 2 pods are of the current version",
        ),
    ],
)
def test_a_workload(found: Json | None, problem: str) -> None:
    assert workload_problem(found) == problem


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (pod(phase="Running", conditions=READY), ""),
        (pod(phase="Succeeded"), ""),
        (
            pod(
                conditions=[
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
                ]
            ),
            "not placed on a node: Unschedulable: 0/1 nodes",
        ),
        (
            pod(
                containerStatuses=[
                    {
                        "name": "c",
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"exitCode": 2}},
                    }
                ]
            ),
            "container c waits: CrashLoopBackOff; ended before with code 2",
        ),
        (pod(phase="Pending"), "not ready: Pending"),
    ],
)
def test_a_pod(found: Json, problem: str) -> None:
    assert pod_problem(found) == problem


@pytest.fixture
def fake(tmp_path: Path) -> t.Iterator[FakeKubeApi]:
    server = FakeKubeApi(tmp_path)
    rolled_out = {"desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1, "observedGeneration": 1}
    server.put(DAEMONSET, status=rolled_out)
    yield server
    server.close()


def test_waiting_ends_when_all_is_well(fake: FakeKubeApi) -> None:
    threading.Timer(0.4, lambda: fake.put("/api/v1/nodes/node1", **NODE)).start()
    api = KubeApi(parse_kubeconfig(fake.kubeconfig))
    seen, problems = wait(api, WANTED, 20)
    api.close()
    assert problems == []
    assert [node["metadata"]["name"] for node in seen.nodes] == ["node1"]


def test_when_the_time_is_over_the_clusters_own_warning_is_told(fake: FakeKubeApi) -> None:
    fake.put("/api/v1/nodes/node1", **NODE)
    fake.put("/api/v1/namespaces/kube-system/pods/kube-proxy-x", status={"phase": "Pending"})
    warning = {"type": "Warning", "reason": "FailedMount", "message": "no such volume", "lastTimestamp": "2026"}
    fake.put("/api/v1/namespaces/kube-system/events/e", **warning)
    api = KubeApi(parse_kubeconfig(fake.kubeconfig))
    problems = wait(api, WANTED, 0)[1]
    api.close()
    assert [problem.target for problem in problems] == ["kube-system/kube-proxy-x"]
    assert problems[0].detail == "not ready: Pending (FailedMount: no such volume)"


def test_an_api_that_starts_is_waited_for(fake: FakeKubeApi) -> None:
    fake.refuse["GET /api/v1/nodes"] = (403, "RBAC: clusterrole not found")
    api = KubeApi(parse_kubeconfig(fake.kubeconfig))
    problems = wait(api, WANTED, 0.3)[1]
    api.close()
    assert problems[0].check == "api"


def test_a_workload_must_be_named_whole() -> None:
    options: dict[str, object] = {"nodes": [], "version": "", "workloads": ["kube-proxy"], "namespaces": []}
    with pytest.raises(ValueError, match="write DaemonSet or Deployment"):
        kube_wait.wanted_of(options)
