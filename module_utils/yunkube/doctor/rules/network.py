# SPDX-License-Identifier: Apache-2.0
"""The network between hosts: firewalls and MTU."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts, HostFacts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import NODE, PODS


def concerns(facts: Facts, host: HostFacts, source: str) -> bool:
    """Say whether a rule for packets from `source` concerns another node."""
    others = [node["address"] for node in facts.cluster.nodes if node["name"] != host.name and node["address"]]
    if not source or not others:
        return True
    network = ipaddress.ip_network(source.removeprefix("!"), strict=False)
    return any((ipaddress.ip_address(other) in network) != source.startswith("!") for other in others)


def firewall(facts: Facts) -> t.Iterator[Hit]:
    """Rules that block ports of the cluster."""
    for host in facts.reached:
        for drop in host.drops if host.joined else []:
            place = f"{drop['port']}/{drop['protocol']}"
            backend = facts.cluster.net_conf.get("Backend", {}).get("Type", "vxlan")
            if (drop["protocol"] == "udp" and backend != "vxlan") or not concerns(facts, host, drop.get("source", "")):
                continue
            yield Hit(host.host, [f"{place} is blocked by: {drop['rule']}"], place, {"undo": drop["undo"]})


FIREWALL_DROPS = Rule(
    "firewall-drops",
    title="A firewall blocks a port of the cluster",
    looks="Nodes turn NotReady (6443), logs and exec time out (10250), pods of two nodes are cut off (8472/udp).",
    proof=firewall,
    remedy="on {host}: {undo}",
    before=("api-unreachable", "overlay-dropped", "pod-path-broken", *NODE),
    scope="all",
    repair="delete_rule",
    link="https://kubernetes.io/docs/reference/networking/ports-and-protocols/",
)


def link_of(facts: Facts, host: HostFacts) -> tuple[str, int]:
    """Return the link over which a host reaches the others, and its MTU."""
    address = facts.cluster.node(host.name).get("address")
    for name, link in host.links.items():
        if any(address == one.partition("/")[0] for one in link["addresses"]):
            return name, int(link["mtu"])
    device = next((str(route["dev"]) for route in host.routes if route["dst"] == "default"), "")
    return device, int(host.links.get(device, {}).get("mtu", 0))


def mtu_differs(facts: Facts) -> t.Iterator[Hit]:
    """Hosts whose link has a smaller MTU than that of the others."""
    found = {host.host: link_of(facts, host) for host in facts.reached}
    largest = max((mtu for _, mtu in found.values()), default=0)
    most = next((name for name, (_, mtu) in found.items() if mtu == largest), "")
    for name, (device, mtu) in found.items():
        if device and 0 < mtu < largest:
            evidence = [f"{device} of {name} carries {mtu} bytes", f"that of {most} {largest}"]
            yield Hit(name, evidence, device, {"link": device, "mtu": largest})


MTU_DIFFERS = Rule(
    "mtu-differs",
    title="The host's MTU is smaller than that of the other hosts",
    looks="Small packets pass, large ones are dropped: TLS and downloads hang.",
    proof=mtu_differs,
    remedy="ip link set dev {link} mtu {mtu} on {host}, and in its network configuration; or flannel_mtu for all",
    severity="warning",
    before=("subnet-env-wrong", *PODS),
    repair="set_mtu",
)
