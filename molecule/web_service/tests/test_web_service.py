# SPDX-License-Identifier: Apache-2.0
"""Two web services from short declarations, one by each controller."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from scenario import Cluster

testinfra_hosts = ["local://"]

BOTH = pytest.mark.parametrize(
    ("name", "namespace", "kind", "port"),
    [("first", "default", "deployment", 31111), ("second", "shop", "replicationcontroller", 31112)],
)


def pods_of(cluster: Cluster, name: str, namespace: str) -> list[Any]:
    """Return the pods of a service, without those on their way out."""
    pods = cluster.get("pods", f"--namespace={namespace}")["items"]
    return [
        pod
        for pod in pods
        if pod["metadata"]["name"].startswith(f"{name}-") and "deletionTimestamp" not in pod["metadata"]
    ]


@BOTH
def test_it_answers_at_its_node_port(cluster: Cluster, name: str, namespace: str, kind: str, port: int) -> None:
    del namespace, kind
    with urllib.request.urlopen(f"http://{cluster.hosts['master1']}:{port}/who", timeout=10) as answer:
        assert json.load(answer)["version"] == name


@BOTH
def test_its_controller_is_the_declared_one(cluster: Cluster, name: str, namespace: str, kind: str, port: int) -> None:
    del port
    status = cluster.get(kind, name, f"--namespace={namespace}")["status"]
    assert (status["replicas"], status["readyReplicas"]) == (2, 2)


@BOTH
def test_its_pods_are_as_declared(cluster: Cluster, name: str, namespace: str, kind: str, port: int) -> None:
    del kind, port
    pods = pods_of(cluster, name, namespace)
    assert len(pods) == 2
    for pod in pods:
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert [volume["name"] for volume in pod["spec"].get("volumes", []) if "api-access" in volume["name"]] == []
        (container,) = pod["spec"]["containers"]
        assert container["resources"]["requests"] == {"cpu": "10m", "memory": "16Mi"}
        assert container["resources"]["limits"]["memory"] == "16Mi"
        assert container["readinessProbe"]["tcpSocket"]
