# SPDX-License-Identifier: Apache-2.0
"""The pod network is what the cluster says it is."""

from __future__ import annotations

import ipaddress
import json
import re

from scenario import Cluster
from testinfra.host import Host

testinfra_hosts = ["ansible://all"]


def test_flannel_uses_the_hosts_own_part_of_the_pod_network(cluster: Cluster, host: Host, name: str) -> None:
    lease = dict(line.split("=") for line in host.file("/run/flannel/subnet.env").content_string.split())
    node = cluster.get("node", name)
    network = json.loads(
        cluster.get("configmap", "kube-flannel-cfg", "--namespace=kube-flannel")["data"]["net-conf.json"]
    )
    assert lease["FLANNEL_NETWORK"] == network["Network"]
    assert ipaddress.ip_interface(lease["FLANNEL_SUBNET"]).network == ipaddress.ip_network(node["spec"]["podCIDR"])
    links = host.check_output("ip --oneline link show")
    mtu = {found[1]: found[2] for found in re.finditer(r"^\d+: ([\w.]+)[@:].* mtu (\d+)", links, re.MULTILINE)}
    assert lease["FLANNEL_MTU"] == mtu["flannel.1"]
    assert int(mtu["flannel.1"]) == int(mtu["eth0"]) - 50  # what vxlan takes of each packet


def test_every_other_host_is_one_route_away(cluster: Cluster, host: Host, name: str) -> None:
    routes = host.check_output("ip route show dev flannel.1")
    others = [node for node in cluster.get("nodes")["items"] if node["metadata"]["name"] != name]
    assert len(others) == 2
    assert all(f"{node['spec']['podCIDR']} via " in routes for node in others)
