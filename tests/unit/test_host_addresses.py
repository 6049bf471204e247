"""At which addresses hosts may be reached."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible.module_utils.yunkube.cluster_rules import Cluster, findings
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
