# SPDX-License-Identifier: Apache-2.0
"""What status reports of a healthy, an unhealthy and an unreachable cluster."""

from __future__ import annotations

import datetime as dt
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import status as kube_status
from ansible.module_utils.yunkube.kube.health import Wanted
from ansible.module_utils.yunkube.kube.kubeadm import COMPONENTS
from fake_kube_api import FakeKubeApi

NOW = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
WANTED = Wanted(("master1", "node1"), "1.37.2", ("Deployment kube-system/coredns",))
READY = [{"type": "Ready", "status": "True"}]


@pytest.fixture
def fake(tmp_path: Path) -> t.Iterator[FakeKubeApi]:
    server = FakeKubeApi(tmp_path)
    labels = {"node-role.kubernetes.io/control-plane": ""}
    status = {
        "conditions": READY,
        "nodeInfo": {"kubeletVersion": "v1.37.2"},
        "addresses": [{"type": "InternalIP", "address": "10.0.0.11"}],
    }
    server.put("/api/v1/nodes/master1", metadata={"labels": labels}, status=status)
    coredns = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
    rolled_out = {"observedGeneration": 1, "updatedReplicas": 1, "readyReplicas": 1}
    server.put(coredns, spec={"replicas": 1}, status=rolled_out)
    folder = tmp_path / "etc/kubernetes"
    (folder / "pki").mkdir(parents=True)
    (folder / "admin.conf").write_text(server.kubeconfig)
    (folder / "pki/ca.crt").write_text((tmp_path / "ca.crt").read_text())
    yield server
    server.close()


def test_a_well_cluster_is_told_with_its_facts(fake: FakeKubeApi, tmp_path: Path) -> None:
    fake.put("/api/v1/nodes/node1", status={"conditions": READY, "nodeInfo": {"kubeletVersion": "v1.37.2"}})
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


def test_what_is_missing_or_does_not_run_is_named(fake: FakeKubeApi, tmp_path: Path) -> None:
    fake.put("/api/v1/namespaces/default/pods/web", status={"phase": "Pending"})
    status = kube_status.read_status(tmp_path, WANTED, NOW)
    assert not kube_status.is_healthy(status)
    lines = kube_status.as_lines(status)
    assert "node  node1 not in the cluster" in lines
    assert "pod   default/web not ready: Pending" in lines


def test_a_certificate_that_ends_soon_is_told(fake: FakeKubeApi, tmp_path: Path) -> None:
    fake.put("/api/v1/nodes/node1", status={"conditions": READY, "nodeInfo": {"kubeletVersion": "v1.37.2"}})
    end = kube_status.certificates(tmp_path, NOW)[0]["days"]
    status = kube_status.read_status(tmp_path, WANTED, NOW + dt.timedelta(days=end - 10))
    assert not kube_status.is_healthy(status)
    assert "cert  /etc/kubernetes/admin.conf expires in 10 days" in kube_status.as_lines(status)


def test_a_silent_api_is_told_with_what_the_host_knows(
    fake: FakeKubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.close()
    status = kube_status.read_status(tmp_path, WANTED, NOW)
    assert not kube_status.is_healthy(status)
    assert "no static pod of kube-apiserver" in status["api"]["detail"]
    manifests = tmp_path / "etc/kubernetes/manifests"
    manifests.mkdir()
    for name in COMPONENTS:
        (manifests / f"{name}.yaml").touch()
    monkeypatch.setattr(kube_status, "kubelet_active", lambda: False)
    assert "kubelet is not running" in kube_status.what_the_host_knows(tmp_path)


def test_a_bare_host_has_no_control_plane(tmp_path: Path) -> None:
    status = kube_status.read_status(tmp_path, WANTED, NOW)
    assert "there is no control plane on this host yet" in status["api"]["detail"]
    assert kube_status.as_lines(status)[0].startswith("API   does not answer")
