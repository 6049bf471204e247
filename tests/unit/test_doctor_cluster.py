# SPDX-License-Identifier: Apache-2.0
"""What the doctor learns from the API, and what it says when there is none."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

import doctor_cluster
import pytest
from ansible.module_utils.yunkube.doctor import collect_cluster
from fake_kube_api import FakeKubeApi

READY = [{"type": "Ready", "status": "True"}]


@pytest.fixture
def fake(tmp_path: Path) -> t.Iterator[FakeKubeApi]:
    server = FakeKubeApi(tmp_path)
    (tmp_path / "etc/kubernetes").mkdir(parents=True)
    (tmp_path / "etc/kubernetes/admin.conf").write_text(server.kubeconfig)
    yield server
    server.close()


def fill(fake: FakeKubeApi) -> None:
    """Return a small cluster."""
    cordoned = {"podCIDR": "10.244.1.0/24", "unschedulable": True}
    fake.put("/api/v1/nodes/node1", spec=cordoned, status={"conditions": READY}, metadata={"annotations": {}})
    spec = {"nodeName": "node1", "containers": [{"name": "x", "image": "shop/web:1"}]}
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}
    states = [{"name": "x", "state": waiting, "restartCount": 2}]
    fake.put("/api/v1/namespaces/shop/pods/web", spec=spec, status={"containerStatuses": states})
    fine = {"conditions": READY, "phase": "Running"}
    fake.put("/api/v1/namespaces/shop/pods/fine", spec=spec, status=fine)
    fake.put("/api/v1/namespaces/kube-system/pods/kube-proxy-1", spec=spec, status=fine)
    about = {"kind": "Pod", "namespace": "shop", "name": "web"}
    fake.put("/api/v1/namespaces/shop/events/e", involvedObject=about, reason="Failed", message="pull it\nnot")
    configuration = {"net-conf.json": '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}'}
    fake.put("/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg", data=configuration)
    fake.put("/api/v1/namespaces/shop/services/web", spec={"ports": [{"nodePort": 31111}]})
    values = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "expiration": "2026-11-25T00:00:00Z"}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    fake.put("/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef", data=data)


def test_the_api_tells_of_nodes_pods_and_network(fake: FakeKubeApi, tmp_path: Path) -> None:
    fill(fake)
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


def test_of_tokens_only_name_and_end_leave_the_host(fake: FakeKubeApi, tmp_path: Path) -> None:
    fill(fake)
    facts = collect_cluster.collect_cluster("master1", tmp_path)
    assert facts.tokens == {"abcdef": "2026-11-25T00:00:00Z"}
    assert "0123456789abcdef" not in str(facts)


def test_a_silent_api_says_why(fake: FakeKubeApi, tmp_path: Path) -> None:
    fake.close()
    facts = collect_cluster.collect_cluster("master1", tmp_path)
    assert not facts.answers
    assert "does not answer" in facts.detail


def test_without_a_kubeconfig_that_is_said(tmp_path: Path) -> None:
    assert "no kubeconfig" in collect_cluster.collect_cluster("master1", tmp_path).detail


@pytest.mark.parametrize("text", ["", "{", '{"Backend": {}}'])
def test_a_network_that_does_not_parse_is_a_problem(text: str) -> None:
    assert "does not parse" in collect_cluster.net_conf({"data": {"net-conf.json": text}})["problem"]


def test_the_module_asks_as_the_host_that_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        params: t.ClassVar[dict[str, t.Any]] = {"host": "master1", "declared": []}

        def __init__(self, **_settings: t.Any) -> None:
            """Take any settings."""

        def exit_json(self, **result: t.Any) -> None:
            """Keep the result."""
            told.update(result)

    told: dict[str, t.Any] = {}
    monkeypatch.setattr(doctor_cluster, "AnsibleModule", Module)
    doctor_cluster.main()
    assert told["facts"]["asked"] == "master1"
