# SPDX-License-Identifier: Apache-2.0
"""Node ports of services, of the dashboard and of the firewall are those of kube-apiserver's configured range."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.yunkube.control import spec_check
from ansible.module_utils.yunkube.control.cluster_rules import Cluster
from ansible.module_utils.yunkube.control.inventory_files import read, role_options
from role_values import ROLES, Derived, variables_of

OPTIONS = role_options(ROLES)
HOSTS = "masters: {hosts: {master1: {ansible_host: 10.77.0.11}}}\n"
NODE_PORT = "  - {port: 80, nodePort: 32000}\n"
SERVICE = f"apiVersion: v1\nkind: Service\nmetadata: {{name: shop}}\nspec:\n  ports:\n{NODE_PORT}"


def configuration(text: str) -> dict[str, Any]:
    """Return what an inventory says of the API server."""
    return {"apiServer": {"extraArgs": [{"name": "service-node-port-range", "value": text}]}}


def said(tmp_path: Path, text: str) -> list[str]:
    """Return what is said of node ports 80 and 32000."""
    (tmp_path / "hosts.yml").write_text(HOSTS)
    (tmp_path / "shop.yaml").write_text(SERVICE)
    services = [{"name": "web", "image": "web:1", "node_port": 80}, {"name": "shop", "manifests": ["shop.yaml"]}]
    values = {"web_services": services, "master_cluster_configuration": configuration(text)}
    cluster = Cluster(values={**values, "cluster_control_plane_host": "master1"})
    faults = spec_check.in_order(spec_check.faults_of(read([tmp_path]), OPTIONS, cluster, tmp_path))
    return [line for line in map(str, faults) if "port" in line.lower()]


def test_services_and_manifests_follow_the_range(tmp_path: Path) -> None:
    assert said(tmp_path, "80-32767") == []
    assert said(tmp_path, "30000-31999") == [
        "shop.yaml:6: web_services[1].manifests: nodePort 32000 is out of range; choose one from 30000 to 31999",
        "web_services: default/web: node_port 80 is out of range; choose one from 30000 to 31999",
    ]


@pytest.mark.parametrize("text", ["32000+767", "0-100", "200-100", "80-70000", "", "all"])
def test_a_range_is_two_ports(tmp_path: Path, text: str) -> None:
    [fault] = [line for line in said(tmp_path, text) if "service-node-port-range" in line]
    assert f'service-node-port-range "{text}" is not FIRST-LAST' in fault


@pytest.mark.parametrize(
    ("given", "ports"),
    [(configuration("80-32767"), "80-32767"), ({"apiServer": {"extraArgs": []}}, "30000-32767"), ({}, "30000-32767")],
)
def test_firewalls_are_opened_for_it(given: dict[str, Any], ports: str) -> None:
    derived = Derived({"master_cluster_configuration": given}, cluster=("cluster_node_ports", "__cluster_api_server"))
    assert derived.text(variables_of("cluster")["cluster_node_ports"]).strip() == ports
    firewall = variables_of("prepare_host")["__prepare_host_firewall"]
    assert "cluster_node_ports" in json.dumps(firewall["node_ports"])
