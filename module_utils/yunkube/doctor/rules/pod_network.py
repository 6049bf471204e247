# SPDX-License-Identifier: Apache-2.0
"""The path to a node's pods: the links and routes that flannel makes, and the bridge of the CNI plugin."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts, HostFacts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import PODS
from ansible.module_utils.yunkube.doctor.rules.flannel import FLANNEL_RESTART, OVERHEAD, truth
from ansible.module_utils.yunkube.doctor.rules.pods import WAIT


def healthy_flannel(facts: Facts, host: HostFacts) -> bool:
    """Say whether flanneld is healthy on a host, so that what it sets up can be checked."""
    node = facts.cluster.node(host.name)
    return host.probes.get("flanneld") == "ok" and bool(node.get("pod_cidr"))


def link_missing(facts: Facts) -> t.Iterator[Hit]:
    """Hosts whose flannel.1 is gone or down."""
    if facts.cluster.net_conf.get("Backend", {}).get("Type") != "vxlan":
        return
    number = facts.cluster.net_conf["Backend"].get("VNI", 1)
    name = f"flannel.{number}"
    for host in facts.reached:
        if healthy_flannel(facts, host) and not host.links.get(name, {}).get("up"):
            state = "is down" if name in host.links else "is not there"
            yield Hit(host.host, [f"link {name} {state}, though flanneld runs"], name)


FLANNEL_LINK_MISSING = Rule(
    "flannel-link-missing",
    title="flannel's link is missing",
    looks="Pods on different nodes cannot reach each other; pods on the same node can.",
    proof=link_missing,
    remedy="delete {host}'s pod of kube-flannel: it creates the link at start",
    before=("pod-route-missing", "pod-path-broken", *PODS),
    repair="restart_flannel",
    safe=True,
)


def bridge_address(facts: Facts) -> t.Iterator[Hit]:
    """Hosts whose bridge has an address of another range than the node's."""
    for host in facts.reached:
        addresses = host.links.get("cni0", {}).get("addresses", [])
        wanted = truth(facts, host).get("FLANNEL_SUBNET")
        if addresses and wanted and wanted not in addresses:
            evidence = [f"cni0 has {', '.join(addresses)}", f"the node's range wants {wanted}"]
            yield Hit(host.host, evidence, "cni0", {"link": "cni0", "address": wanted})


BRIDGE_ADDRESS_WRONG = Rule(
    "bridge-address-wrong",
    title="The pod bridge has an address outside the node's range",
    looks="Pods stay in ContainerCreating: `cni0 already has an IP address different from …`.",
    proof=bridge_address,
    remedy="on {host}: ip address flush dev cni0; ip address add {address} dev cni0; "
    "then delete pods outside its range",
    before=("pod-path-broken", *PODS),
    repair="set_address",
)


def lease_missing(facts: Facts) -> t.Iterator[Hit]:
    """Nodes without flanneld's address, as after a node is deleted and registers again."""
    for host in facts.reached:
        node = facts.cluster.node(host.name)
        fresh = any(pod["age"] < WAIT for pod in facts.pods_on(host.name, "kube-flannel"))
        if healthy_flannel(facts, host) and not node["lease"] and not fresh:
            evidence = f"node {node['name']} has no annotation flannel.alpha.coreos.com/public-ip, though flanneld runs"
            yield Hit(host.host, [evidence], node["name"], {"truth": truth(facts, host)})


FLANNEL_LEASE_MISSING = Rule(
    "flannel-lease-missing",
    title="The other nodes have no route to the node's pods",
    looks="Pods of the node are reached from the node alone, after it was deleted and registered again.",
    proof=lease_missing,
    remedy=FLANNEL_RESTART,
    before=("pod-route-missing", "pod-path-broken", *PODS),
    scope="all",
    repair="restart_flannel",
    safe=True,
)


def route_missing(facts: Facts) -> t.Iterator[Hit]:
    """Hosts without a route to the pods of another node."""
    if facts.cluster.net_conf.get("Backend", {}).get("Type") not in OVERHEAD:
        return
    for host in facts.reached:
        ways = {route["dst"] for route in host.routes}
        for node in facts.cluster.nodes if healthy_flannel(facts, host) else []:
            other = next((one for one in facts.reached if one.name == node["name"]), None)
            steady = other is not None and other is not host and healthy_flannel(facts, other) and node["ready"]
            if steady and node["pod_cidr"] not in ways:
                yield Hit(host.host, [f"no route to {node['pod_cidr']}, the pods of {node['name']}"], node["pod_cidr"])


POD_ROUTE_MISSING = Rule(
    "pod-route-missing",
    title="The route to another node's pods is missing",
    looks="Pods on these two nodes cannot reach each other.",
    proof=route_missing,
    remedy="delete {host}'s pod of kube-flannel: it adds the route at start",
    before=("pod-path-broken", *PODS),
    repair="restart_flannel",
    safe=True,
)
