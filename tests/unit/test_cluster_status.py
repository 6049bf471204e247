# SPDX-License-Identifier: Apache-2.0
"""What status reports of a healthy, an unhealthy and an unreachable cluster."""

from __future__ import annotations

import datetime as dt
import socket
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import status as kube_status
from ansible.module_utils.yunkube.kube.health import Wanted
from ansible.module_utils.yunkube.kube.kubeadm import COMPONENTS
from kube_api_server import ApiServer

NOW = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)  # the API server dates what a test puts by the clock
WANTED = Wanted(("master1", "node1"), "1.37.2", ("Deployment kube-system/coredns",))
READY = [{"type": "Ready", "status": "True"}]


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> ApiServer:
    """A cluster of one master, and the files of that on which status runs."""
    labels = {"node-role.kubernetes.io/control-plane": ""}
    status = {
        "conditions": READY,
        "nodeInfo": {"kubeletVersion": "v1.37.2"},
        "addresses": [{"type": "InternalIP", "address": "10.0.0.11"}],
    }
    server.put("/api/v1/nodes/master1", metadata={"labels": labels}, status=status)
    coredns = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
    rolled_out = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
    selected = {"k8s-app": "kube-dns"}
    template = {"metadata": {"labels": selected}, "spec": {"containers": [{"name": "coredns", "image": "none"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": selected}, "template": template}
    server.put(coredns, spec=spec, status=rolled_out)
    folder = tmp_path / "etc/kubernetes"
    (folder / "pki").mkdir(parents=True)
    (folder / "admin.conf").write_text(server.kubeconfig)
    (folder / "pki/ca.crt").write_text((server.folder / "ca.crt").read_text())
    return server


def test_a_healthy_cluster_is_reported_with_its_facts(cluster: ApiServer, tmp_path: Path) -> None:
    cluster.put("/api/v1/nodes/node1", status={"conditions": READY, "nodeInfo": {"kubeletVersion": "v1.37.2"}})
    status = kube_status.read_status(tmp_path, WANTED, NOW)
    assert kube_status.is_healthy(status)
    assert status["nodes"][0] == {
        "name": "master1",
        "ready": True,
        "cordoned": False,
        "roles": ["control-plane"],
        "version": "1.37.2",
        "address": "10.0.0.11",
        "age_days": 1.0,
        "problem": "",
    }
    assert [entry["name"] for entry in status["certificates"]] == [
        "etc/kubernetes/admin.conf",
        "etc/kubernetes/pki/ca.crt",
    ]


def test_what_is_missing_or_does_not_run_is_named(cluster: ApiServer, tmp_path: Path) -> None:
    cluster.put("/api/v1/namespaces/default/pods/web", status={"phase": "Pending"})
    status = kube_status.read_status(tmp_path, WANTED, NOW)
    assert not kube_status.is_healthy(status)
    lines = kube_status.as_lines(status)
    assert "node  node1 not in the cluster" in lines
    assert "pod   default/web not ready: Pending" in lines


def test_a_certificate_that_expires_soon_is_reported(cluster: ApiServer, tmp_path: Path) -> None:
    cluster.put("/api/v1/nodes/node1", status={"conditions": READY, "nodeInfo": {"kubeletVersion": "v1.37.2"}})
    end = kube_status.certificates(tmp_path, NOW)[0]["days"]
    status = kube_status.read_status(tmp_path, WANTED, NOW + dt.timedelta(days=end - 10))
    assert not kube_status.is_healthy(status)
    assert "cert  /etc/kubernetes/admin.conf expires in 10 days" in kube_status.as_lines(status)


def test_certificates_that_cannot_be_read_are_not_healthy(cluster: ApiServer, tmp_path: Path) -> None:
    cluster.put("/api/v1/nodes/node1", status={"conditions": READY, "nodeInfo": {"kubeletVersion": "v1.37.2"}})
    assert kube_status.is_healthy(kube_status.read_status(tmp_path, WANTED, NOW))
    (tmp_path / "etc/kubernetes/pki/ca.crt").write_text("no certificate")
    status = kube_status.read_status(tmp_path, WANTED, NOW)
    assert not kube_status.is_healthy(status)
    assert kube_status.as_lines(status)[-1] == f"cert  {status['certificates_problem']}"


def test_an_unreachable_api_is_reported_with_what_the_host_knows(
    cluster: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = tmp_path / "etc/kubernetes/admin.conf"
    with socket.socket() as unused:  # bound, and nobody listens
        unused.bind(("127.0.0.1", 0))
        admin.write_text(cluster.kubeconfig.replace(cluster.address, f"127.0.0.1:{unused.getsockname()[1]}"))
        status = kube_status.read_status(tmp_path, WANTED, NOW)
    assert not kube_status.is_healthy(status)
    assert "no static pod of kube-apiserver" in status["api"]["detail"]
    manifests = tmp_path / "etc/kubernetes/manifests"
    manifests.mkdir()
    for name in COMPONENTS:
        (manifests / f"{name}.yaml").touch()
    monkeypatch.setattr(kube_status, "kubelet_active", lambda: False)
    assert "kubelet is not running" in kube_status.what_the_host_knows(tmp_path)


def test_a_damaged_kubeconfig_is_named_and_not_called_a_silent_api(cluster: ApiServer, tmp_path: Path) -> None:
    admin = tmp_path / "etc/kubernetes/admin.conf"
    admin.write_text(cluster.kubeconfig.partition("    client-key-data")[0])
    status = kube_status.read_status(tmp_path, WANTED, NOW)
    assert not kube_status.is_healthy(status)
    detail = status["api"]["detail"]
    assert detail == f"{admin} cannot be used: the kubeconfig has no client-key; restore it from a backup"


def test_a_bare_host_has_no_control_plane(tmp_path: Path) -> None:
    status = kube_status.read_status(tmp_path, WANTED, NOW)
    assert "there is no control plane on this host yet" in status["api"]["detail"]
    assert kube_status.as_lines(status)[0].startswith("API   does not answer")
