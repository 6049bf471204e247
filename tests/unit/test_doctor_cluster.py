# SPDX-License-Identifier: Apache-2.0
"""What the doctor learns from the API, and what it says when there is none."""

from __future__ import annotations

import base64
import datetime as dt
import socket
import typing as t
from pathlib import Path

import doctor_cluster
import pytest
from ansible.module_utils.yunkube.doctor import collect_cluster
from kube_api_server import ApiServer

TOKEN = "bootstrap.kubernetes.io/token"
READY = [{"type": "Ready", "status": "True"}]


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> ApiServer:
    """A small cluster, and the kubeconfig of a master."""
    (tmp_path / "etc/kubernetes").mkdir(parents=True)
    (tmp_path / "etc/kubernetes/admin.conf").write_text(server.kubeconfig)
    cordoned = {"podCIDR": "10.244.1.0/24", "unschedulable": True}
    server.put("/api/v1/nodes/node1", spec=cordoned, status={"conditions": READY}, metadata={"annotations": {}})
    spec = {"nodeName": "node1", "containers": [{"name": "x", "image": "shop/web:1"}]}
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}
    states = [{"name": "x", "state": waiting, "restartCount": 2, "ready": False, "image": "", "imageID": ""}]
    server.put("/api/v1/namespaces/shop/pods/web", spec=spec, status={"containerStatuses": states})
    fine = {"conditions": READY, "phase": "Running"}
    server.put("/api/v1/namespaces/shop/pods/fine", spec=spec, status=fine)
    server.put("/api/v1/namespaces/kube-system/pods/kube-proxy-1", spec=spec, status=fine)
    about = {"kind": "Pod", "namespace": "shop", "name": "web"}
    failed = {"involvedObject": about, "type": "Warning", "reason": "Failed", "message": "pull it\nnot"}
    server.put("/api/v1/namespaces/shop/events/e", **failed)
    configuration = {"net-conf.json": '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}'}
    server.put("/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg", data=configuration)
    ports = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 31111}]}
    server.put("/api/v1/namespaces/shop/services/web", spec=ports)
    values = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "expiration": "2026-11-25T00:00:00Z"}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    server.put("/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef", type=TOKEN, data=data)
    return server


def test_an_addon_is_missing_only_where_the_inventory_has_chosen_it(cluster: ApiServer, tmp_path: Path) -> None:
    names = ["Deployment dashboard/dashboard", "Deployment registry/registry"]
    chosen = collect_cluster.Declared(addons=names)
    assert collect_cluster.collect_cluster("master1", tmp_path).addons == []
    assert collect_cluster.collect_cluster("master1", tmp_path, chosen).addons == names
    labels = {"app": "registry"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    cluster.put("/apis/apps/v1/namespaces/registry/deployments/registry", spec=spec)
    assert collect_cluster.collect_cluster("master1", tmp_path, chosen).addons == names[:1]


@pytest.mark.usefixtures("cluster")
def test_the_api_reports_nodes_pods_and_network(tmp_path: Path) -> None:
    facts = collect_cluster.collect_cluster("master1", tmp_path)
    assert facts.answers, facts.detail
    assert facts.node("node1")["pod_cidr"] == "10.244.1.0/24"
    assert facts.node("node1")["cordoned"]
    assert {pod["name"] for pod in facts.pods} == {"web", "kube-proxy-1"}
    (web,) = [pod for pod in facts.pods if pod["name"] == "web"]
    assert (web["system"], web["reason"], web["restarts"]) == (False, "ErrImagePull", 2)
    assert web["warnings"] == ["Failed: pull it not"]
    assert facts.net_conf == {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
    assert facts.node_ports == [{"service": "shop/web", "port": 31111, "protocol": "TCP"}]
    assert facts.workloads["coredns"]["there"] is False
    assert facts.paths["node1"]["first"] == "10.244.1.2"


@pytest.mark.usefixtures("cluster")
def test_of_tokens_only_name_and_end_leave_the_host(tmp_path: Path) -> None:
    facts = collect_cluster.collect_cluster("master1", tmp_path)
    assert facts.tokens == {"abcdef": "2026-11-25T00:00:00Z"}
    assert "0123456789abcdef" not in str(facts)


def test_a_silent_api_says_why(cluster: ApiServer, tmp_path: Path) -> None:
    with socket.socket() as unused:  # bound, and nothing listens
        unused.bind(("127.0.0.1", 0))
        elsewhere = cluster.kubeconfig.replace(cluster.address, f"127.0.0.1:{unused.getsockname()[1]}")
        (tmp_path / "etc/kubernetes/admin.conf").write_text(elsewhere)
        facts = collect_cluster.collect_cluster("master1", tmp_path)
    assert not facts.answers
    assert "does not answer" in facts.detail


def test_without_a_kubeconfig_that_is_said(tmp_path: Path) -> None:
    assert "no kubeconfig" in collect_cluster.collect_cluster("master1", tmp_path).detail


BAD_NETWORK = '{"Network": "10.244.0.0/99"}'
BAD_BACKEND = '{"Network": "10.244.0.0/16", "Backend": "vxlan"}'


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Backend": {}}', BAD_NETWORK, BAD_BACKEND])
def test_a_network_that_does_not_parse_is_a_problem(text: str) -> None:
    assert "does not parse" in collect_cluster.net_conf({"data": {"net-conf.json": text}})["problem"]


def test_the_module_queries_the_api_as_the_host_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        params: t.ClassVar[dict[str, t.Any]] = {
            "host": "master1",
            "declared": [],
            "addons": [],
            "proxy": {},
            "patches": [],
            "address": "",
        }

        def __init__(self, **_settings: t.Any) -> None:
            """Take any settings."""

        def exit_json(self, **result: t.Any) -> None:
            """Keep the result."""
            told.update(result)

    told: dict[str, t.Any] = {}
    monkeypatch.setattr(doctor_cluster, "AnsibleModule", Module)
    doctor_cluster.main()
    assert told["facts"]["asked"] == "master1"


@pytest.mark.parametrize(
    ("last", "lasted", "running", "probe", "crashes"),
    [
        ({"exitCode": 1}, 1, 1, {}, True),
        ({"exitCode": 1}, 20, 15, {}, True),
        ({"exitCode": 1}, 1, 20, {}, False),  # has run for longer than before
        ({"exitCode": 1}, 3000, 1, {}, False),  # was no crash at its start
        ({"exitCode": 0}, 1, 1, {}, False),  # has ended well
        ({"exitCode": 255, "reason": "Unknown"}, 9, 1, {}, False),  # a restart of the host
        ({"exitCode": 1}, 20, 15, {"readinessProbe": {}}, False),  # would not be ready
    ],
)
def test_a_pod_is_in_its_crash_loop_while_its_container_runs(
    last: t.Mapping[str, t.Any], lasted: int, running: int, probe: t.Mapping[str, t.Any], crashes: bool
) -> None:
    now = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)

    def ago(seconds: float) -> str:
        return (now - dt.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    ended = {**last, "startedAt": ago(running + 10 + lasted), "finishedAt": ago(running + 10)}
    state = {"name": "main", "state": {"running": {"startedAt": ago(running)}}, "lastState": {"terminated": ended}}
    ready = [{"type": "Ready", "status": "True", "lastTransitionTime": ago(running)}]
    pod = {
        "metadata": {"namespace": "kube-system", "name": "kube-proxy-x", "creationTimestamp": ago(4000)},
        "spec": {"containers": [{"name": "main", "image": "proxy", **probe}]},
        "status": {"phase": "Running", "conditions": ready, "containerStatuses": [state]},
    }
    facts = collect_cluster.pod_facts(pod, {}, now.timestamp())
    assert (facts["reason"] == "CrashLoopBackOff") == crashes
    assert facts["problem"] == ("container main has just been restarted; last exit code 1" if crashes else "")
