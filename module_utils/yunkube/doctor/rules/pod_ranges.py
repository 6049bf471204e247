# SPDX-License-Identifier: Apache-2.0
"""The ranges that pods' addresses come from, and what flannel tells the others of a node."""

from __future__ import annotations

import collections
import ipaddress
import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import NODE, PODS
from ansible.module_utils.yunkube.doctor.rules.flannel import FLANNEL_RESTART, truth
from ansible.module_utils.yunkube.doctor.rules.pod_network import healthy_flannel

OWN_LINKS = ("flannel", "cni", "veth", "wg")
FEW = 3  # addresses of a range that are left
CALLS_FLANNEL = {"flannel", "multus", "multus-shim"}  # Multus is first by design, and calls what comes after it


def foreign_cni(facts: Facts) -> t.Iterator[Hit]:
    """Hosts whose first CNI configuration is another network's."""
    for host in facts.reached:
        first, found = next(iter(host.cni.items()), ("", {}))
        ours = any("flannel" in one["plugins"] for name, one in host.cni.items() if name != first)
        if found and not found["problem"] and not CALLS_FLANNEL & {*found["plugins"]} and ours:
            path = f"/etc/cni/net.d/{first}"
            yield Hit(
                host.host,
                [f"{path} comes before flannel's: it uses {', '.join(found['plugins'][1:])}"],
                path,
                {"path": path},
            )


CNI_CONFIG_FOREIGN = Rule(
    "cni-config-foreign",
    title="Another network's CNI configuration comes first",
    looks="New pods of the node get addresses that no other node knows; usually left over from another cluster.",
    proof=foreign_cni,
    remedy="move {target} of {host} away, then delete the pods that were started with it",
    before=("cni-plugin-missing", *NODE),
    repair="take_away",
    link="https://github.com/containernetworking/cni",
)


def exhausted(facts: Facts) -> t.Iterator[Hit]:
    """Nodes whose range has no address left, most of them taken by pods that are gone."""
    for host in facts.reached:
        range_ = facts.cluster.node(host.name).get("pod_cidr")
        if not range_ or not host.addresses.get("taken"):
            continue
        usable = ipaddress.ip_network(range_).num_addresses - 3  # the network's, the bridge's, the broadcast's
        taken = int(host.addresses["taken"])
        if taken >= usable - FEW:
            evidence = f"{host.addresses['folder']} has {taken} of {usable} addresses"
            yield Hit(host.host, [evidence], range_, {"folder": host.addresses["folder"]})


POD_ADDRESSES_EXHAUSTED = Rule(
    "pod-addresses-exhausted",
    title="The node has no addresses for pods left",
    looks="Pods stay in ContainerCreating: `no IP addresses available in range set`, after crashes that left notes.",
    proof=exhausted,
    remedy="on {host}, delete the files of {folder} whose first line is no sandbox of `crictl pods -q --no-trunc`",
    before=NODE,
    repair="free_addresses",
    safe=True,
    link="https://www.cni.dev/plugins/current/ipam/host-local/",
)


def overlaps(facts: Facts) -> t.Iterator[Hit]:
    """Routes of a host that lead packets for pods elsewhere."""
    if "Network" not in facts.cluster.net_conf:
        return
    network = ipaddress.ip_network(facts.cluster.net_conf["Network"], strict=False)
    nodes = {node["pod_cidr"] for node in facts.cluster.nodes}
    for host in facts.reached:
        for route in host.routes:
            device = str(route.get("dev", ""))
            if route["dst"] == "default" or route["dst"] in nodes or device.startswith(OWN_LINKS):
                continue
            there = ipaddress.ip_network(route["dst"], strict=False)
            # A wider route loses to flannel's own.
            if there.version == network.version and there.subnet_of(network):  # type: ignore[arg-type]
                way = " ".join(part for part in (route.get("gateway", ""), f"dev {device}") if part)
                yield Hit(host.host, [f"route {route['dst']} ({way})", f"the pods' network is {network}"], route["dst"])


POD_NETWORK_OVERLAPS = Rule(
    "pod-network-overlaps",
    title="A route of the host overlaps the pods' network",
    looks="Some pods cannot be reached from this host: a VPN, another bridge or a static route takes their packets.",
    proof=overlaps,
    remedy="remove the route {target} of {host}, or build the cluster with another cluster_pod_cidr",
    before=("pod-route-missing", *PODS),
    link="https://kubernetes.io/docs/concepts/cluster-administration/networking/",
)


def doubled(facts: Facts) -> t.Iterator[Hit]:
    """Nodes that have one range."""
    holders = collections.defaultdict(list)
    for node in facts.cluster.nodes:
        if node["pod_cidr"]:
            holders[node["pod_cidr"]].append(node["name"])
    for range_, names in holders.items():
        for second in names[1:]:
            evidence = [f"podCIDR {range_} of {second} is also that of {names[0]}"]
            yield Hit(facts.host_of(second), evidence, second)


POD_CIDR_DOUBLED = Rule(
    "pod-cidr-doubled",
    title="Two nodes have the same pod range",
    looks="Two pods have one address, and packets reach the wrong one; after a node was registered by hand.",
    proof=doubled,
    remedy="{command}, then add it again: it gets a free range",
    call="remove {host}",
    severity="critical",
    before=("subnet-env-wrong", "bridge-address-wrong", "flannel-lease-missing", "pod-route-missing", *NODE),
    scope="all",
)


def wrong_address(facts: Facts) -> t.Iterator[Hit]:
    """Nodes that flannel says to be at another address than theirs."""
    for host in facts.reached:
        node = facts.cluster.node(host.name)
        said = node.get("public_ip", "")
        if said and node["address"] and said != node["address"] and healthy_flannel(facts, host):
            evidence = [f"flannel's annotation of node {node['name']} says {said}", f"its address is {node['address']}"]
            yield Hit(host.host, evidence, node["name"], {"truth": truth(facts, host)})


FLANNEL_ADDRESS_WRONG = Rule(
    "flannel-address-wrong",
    title="flannel announces a wrong address of the node",
    looks="Pods of the node cannot be reached from others: their packets go to another host.",
    proof=wrong_address,
    remedy=FLANNEL_RESTART,
    before=PODS,
    scope="all",
    repair="restart_flannel",
    safe=True,
    link="https://github.com/flannel-io/flannel/blob/master/Documentation/kubernetes.md",
)


def wrong_link(facts: Facts) -> t.Iterator[Hit]:
    """Nodes whose flannel link has another hardware address than the others send to."""
    if facts.cluster.net_conf.get("Backend", {}).get("Type") != "vxlan":
        return
    name = f"flannel.{facts.cluster.net_conf['Backend'].get('VNI', 1)}"
    for host in facts.reached:
        said = facts.cluster.node(host.name).get("vtep", "")
        mac = str(host.links.get(name, {}).get("mac", "")).lower()
        if said and mac and said != mac and healthy_flannel(facts, host):
            evidence = [f"{name} of {host.host} is {mac}", f"flannel's annotation says {said}"]
            yield Hit(host.host, evidence, name, {"truth": truth(facts, host)})


FLANNEL_MAC_WRONG = Rule(
    "flannel-mac-wrong",
    title="flannel announces a wrong hardware address of its link",
    looks="Packets to the node's pods arrive and are dropped: the link was made again behind flannel's back.",
    proof=wrong_link,
    remedy=FLANNEL_RESTART,
    before=PODS,
    scope="all",
    repair="restart_flannel",
    safe=True,
)
