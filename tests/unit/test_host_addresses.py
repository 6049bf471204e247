# SPDX-License-Identifier: Apache-2.0
"""At which addresses hosts may be reached."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.control import spec_check
from ansible.module_utils.yunkube.control.cluster_rules import Cluster, findings
from ansible.module_utils.yunkube.control.inventory_files import read
from sound_values import VALUES


def cluster(hosts: dict[str, str], *nodes: str) -> Cluster:
    """Return a cluster that is right but for its addresses."""
    return Cluster(VALUES, hosts, {"masters": ["master1"], "nodes": nodes}, releases=["1.37.2"])


@pytest.mark.parametrize("address", ["127.0.0.1", "gw.example.com", "2001:db8::1"])
def test_hosts_behind_forwarded_ports_may_share_an_address(address: str) -> None:
    hosts = {"master1": address, "node1": address, "node2": "192.0.2.1"}
    given = cluster(hosts, "node1", "node2")
    ports: dict[str, int | str] = {"master1": 2201, "node1": "2202"}
    ips = {"master1": "10.1.0.11", "node1": "10.1.0.21"}
    assert list(findings(replace(given, ports=ports, node_ips=ips))) == []
    [(key, message, remedy)] = findings(replace(given, ports=ports, node_ips={"master1": "10.1.0.11"}))
    assert (key, "another port" in message, "cluster_node_ip" in remedy) == ("host node1", True, True)
    [(key, message, _)] = findings(replace(given, node_ips=ips))
    assert (key, message) == ("host node1", f"has the address of host master1, {address}")


def test_a_host_outside_of_the_cluster_may_share_a_machine_with_one_in_it() -> None:
    hosts = {"master1": "192.0.2.1", "node1": "192.0.2.2", "nfs": "192.0.2.2"}
    assert list(findings(cluster(hosts, "node1"))) == []


def test_a_host_that_is_reached_by_ipv6_needs_an_ipv4_address() -> None:
    hosts = {"master1": "2001:db8::11", "node1": "192.0.2.2"}
    given = replace(cluster(hosts, "node1"), written=())
    endpoint = {"cluster_control_plane_endpoint": "2001:db8::11:6443"}
    [(key, message, remedy)] = findings(replace(given, values={**given.values, **endpoint}))
    assert (key, "IPv6" in message, "cluster_node_ip" in remedy) == ("host master1", True, True)
    assert list(findings(replace(given, node_ips={"master1": "192.0.2.1"}))) == []


@pytest.mark.parametrize(
    ("ips", "complaints"),
    [
        ({"master1": "10.1.0.11", "node1": "10.1.0.21"}, []),
        ({"master1": "{{ x }}", "node1": "{{ x }}"}, []),
        ({"node1": "10.0.0.300"}, [("node1", "10.0.0.300 is not an IPv4 address")]),
        ({"node1": "2001:db8::1"}, [("node1", "2001:db8::1 is not an IPv4 address")]),
        ({"master1": "127.0.0.1", "node1": "224.0.0.1"}, [("master1", "127.0.0.1 is no"), ("node1", "224.0.0.1 is")]),
        ({"master1": "10.1.0.11", "node1": "10.1.0.11"}, [("node1", "10.1.0.11 is also that of host master1")]),
        ({"nfs": "nowhere"}, []),
    ],
)
def test_each_node_has_an_address_of_its_own(ips: dict[str, str], complaints: list[tuple[str, str]]) -> None:
    hosts = {"master1": "192.0.2.1", "node1": "192.0.2.2", "nfs": "192.0.2.3"}
    found = list(findings(replace(cluster(hosts, "node1"), node_ips=ips)))
    assert [(key, message[: len(text)]) for (key, message, _), (_, text) in zip(found, complaints, strict=True)] == [
        (f"cluster_node_ip of {host}", text) for host, text in complaints
    ]


def test_names_that_are_proposed_are_free() -> None:
    hosts = {"节点": "192.0.2.1", "node1": "192.0.2.2", "Node2": "192.0.2.3", "node2": "192.0.2.4"}
    given = Cluster(VALUES, hosts, {"masters": ["节点"], "nodes": ["node1", "Node2", "node2"]}, releases=["1.37.2"])
    proposed = [remedy for key, _, remedy in findings(given) if key in ("host 节点", "host Node2")]
    assert proposed == ["call it node3", "call it node4"]


@pytest.mark.parametrize("key", ["cluster_pod_cidr", "cluster_service_cidr"])
def test_a_range_without_a_prefix_has_one_fault(key: str) -> None:
    given = cluster({"master1": "192.0.2.1"})
    given = replace(given, values={**given.values, key: "10.200.0.0"})
    assert [(name, message) for name, message, _ in findings(given)] == [(key, "10.200.0.0 has no prefix")]


def test_the_place_of_a_nodes_address_is_its_line(tmp_path: Path) -> None:
    lines = "all:\n  hosts:\n    a:\n      cluster_node_ip: 1\n    b:\n      cluster_node_ip: 2\n"
    (tmp_path / "hosts.yml").write_text(lines)
    inventory = read([tmp_path])
    assert spec_check.place("cluster_node_ip of a", inventory, tmp_path) == ("hosts.yml", 4)
    inventory.extra = {"cluster_node_ip": "1"}
    assert spec_check.place("cluster_node_ip of a", inventory, tmp_path) == ("-e", 0)
