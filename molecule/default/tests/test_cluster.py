# SPDX-License-Identifier: Apache-2.0
"""What a user has on the control machine, and what the cluster says of itself."""

from __future__ import annotations

import stat
import subprocess
from typing import Any

from scenario import PROJECT, Cluster

testinfra_hosts = ["local://"]


def test_the_kubeconfig_is_its_owners_alone(cluster: Cluster) -> None:
    assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600


def test_every_host_is_a_ready_node_of_the_wanted_version(cluster: Cluster, manifest: Any) -> None:
    nodes = {node["metadata"]["name"]: node["status"] for node in cluster.get("nodes")["items"]}
    assert set(nodes) == set(cluster.hosts)
    for name, status in nodes.items():
        assert {"type": "InternalIP", "address": cluster.hosts[name]} in status["addresses"]
        assert status["nodeInfo"]["kubeletVersion"] == f"v{manifest['kubernetes']}"
        conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
        assert conditions["Ready"] == "True", conditions


def test_every_pod_of_the_system_runs_an_image_of_the_bundle(cluster: Cluster, manifest: Any) -> None:
    pods = cluster.get("pods", "--all-namespaces")["items"]
    images = {entry["reference"] for entry in manifest["files"] if entry["kind"] == "image"}
    assert len(pods) >= 4 + 2 + 2 * len(cluster.hosts)  # control plane, CoreDNS, proxy and network of each host
    for pod in pods:
        assert all(status["ready"] for status in pod["status"]["containerStatuses"]), pod["metadata"]["name"]
        assert {container["image"] for container in pod["spec"]["containers"]} <= images


def test_what_was_proved_by_verify_left_nothing_behind(cluster: Cluster) -> None:
    namespaces = {item["metadata"]["name"] for item in cluster.get("namespaces")["items"]}
    assert namespaces == {
        "dashboard", "default", "kube-flannel", "kube-node-lease", "kube-public", "kube-system", "registry",
    }  # fmt: skip


def test_deploy_py_works_with_the_same_inventory(cluster: Cluster) -> None:
    argv = [str(PROJECT / "scripts/deploy.py"), "kubectl", "-i", str(PROJECT / "molecule/default/inventory")]
    done = subprocess.run(
        [*argv, "--", "get", "nodes", "-o", "name"], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(done.stdout.split()) == {f"node/{name}" for name in cluster.hosts}
