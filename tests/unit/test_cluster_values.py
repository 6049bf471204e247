# SPDX-License-Identifier: Apache-2.0
"""A host that has joined reports the values its cluster was created with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube.api import KubeApi
from ansible.module_utils.yunkube.kube.cluster_values import CONFIGMAPS, values_of
from ansible.module_utils.yunkube.kube.node_marks import ANNOTATION
from kube_api_server import ApiServer

CLUSTER = "networking:\n  podSubnet: 10.244.0.0/16\n"


@pytest.fixture
def host(tmp_path: Path, server: ApiServer) -> Path:
    """A master whose API has what kubeadm keeps."""
    (tmp_path / "etc/kubernetes").mkdir(parents=True)
    (tmp_path / "var/lib/kubelet").mkdir(parents=True)
    (tmp_path / "etc/kubernetes/admin.conf").write_text(server.kubeconfig)
    (tmp_path / "var/lib/kubelet/config.yaml").write_text("maxPods: 110\n")
    server.put(f"{CONFIGMAPS}/kubeadm-config", data={"ClusterConfiguration": CLUSTER})
    server.put(f"{CONFIGMAPS}/kubelet-config", data={"kubelet": "maxPods: 110\n"})
    return tmp_path


def test_a_host_returns_the_texts(host: Path) -> None:
    values = values_of(host)
    assert (values["state"], values["cluster"], values["proxy"]) == ("found", CLUSTER, "")
    assert (values["kubelet"], values["kubelet_file"], values["kubelet_declared"]) == ("maxPods: 110\n",) * 2 + ("",)


def test_a_host_says_which_cluster_the_api_is_of(host: Path, server: ApiServer) -> None:
    assert values_of(host)["identity"] == {"name": "", "id": ""}
    server.put(f"{CONFIGMAPS}/yunkube", data={"name": "lab", "id": "00112233445566aa"})
    assert values_of(host)["identity"] == {"name": "lab", "id": "00112233445566aa"}


def test_a_host_that_is_asked_to_lists_the_nodes(host: Path, server: ApiServer) -> None:
    for name in ("master1", "node1"):
        server.put(f"/api/v1/nodes/{name}")
    assert values_of(host)["nodes"] == []
    assert values_of(host, nodes=True)["nodes"] == ["master1", "node1"]


def test_a_host_returns_the_marks_of_its_node(host: Path, server: ApiServer) -> None:
    assert values_of(host, node="node1")["node"] == {}
    server.put("/api/v1/nodes/node1", metadata={"labels": {"a": "b"}}, status={"images": []})
    assert values_of(host, node="node1")["node"] == {
        "metadata": {"labels": {"a": "b"}, "annotations": {ANNOTATION: ""}},
        "spec": {"taints": []},
    }


def test_a_host_of_no_cluster_says_so(tmp_path: Path) -> None:
    assert values_of(tmp_path) == {"state": "absent"}


def test_a_silent_api_is_no_answer(host: Path) -> None:
    admin = host / "etc/kubernetes/admin.conf"
    admin.write_text(re.sub("127.0.0.1:[0-9]+", "127.0.0.1:1", admin.read_text()))
    assert values_of(host)["state"] == "silent"


def test_one_connection_serves_all_questions(host: Path) -> None:
    made = []

    def connect(path: str, timeout: float) -> KubeApi:
        made.append(path)
        return KubeApi.from_file(path, timeout)

    assert values_of(host, connect)["state"] == "found"
    assert len(made) == 1
