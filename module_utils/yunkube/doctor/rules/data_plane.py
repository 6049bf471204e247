# SPDX-License-Identifier: Apache-2.0
"""The data plane as hosts and their pods tried it: other nodes' pods, Services, cluster DNS.

A rule of a packet filter is a fault only where packets are lost that it drops: of themselves, rules of ufw, firewalld,
Docker or a user say nothing.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts, HostFacts, Json
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import DATA_PLANE, FLANNEL, NODE, PODS
from ansible.module_utils.yunkube.doctor.rules.pods import WAIT

PODS_PATHS = ("overlay", "pod", "dns-pod")
DNS_PATHS = ("dns-tcp", "dns-udp")
SERVICE_PATHS = ("api", "dns-tcp")
# Who makes these rules and links starts again: packets may be lost until it is done.
MAKERS = ("kube-proxy", "kube-flannel")
FILTER_REMEDY = "remove the rule where it is declared, else it comes back; until then, on {host}: {undo}"


def settled(host: HostFacts) -> bool:
    """Say whether what a host tried counts: its kube-proxy and flanneld run, and not only since a moment ago."""
    made = [one for one in host.containers or [] if one["name"] in MAKERS and one["state"] == "running"]
    return host.joined and all(host.now - one["made"] > WAIT for one in made)


def unjudged(facts: Facts) -> list[str]:
    """Return the hosts whose network is not judged yet: kube-proxy or flanneld has just started there."""
    return [host.host for host in facts.reached if host.paths and host.joined and not settled(host)]


def tried(facts: Facts, kinds: t.Container[str]) -> t.Iterator[tuple[HostFacts, Json]]:
    """Return what hosts tried, but for pods that have gone since, and nodes that are on their way."""
    hosts = {host.name: host for host in facts.reached}
    for host in facts.reached:
        for path in host.paths if settled(host) else ():
            other = hosts.get(path["node"])
            gone = other is not None and other.pod_addresses is not None and path["kind"] in ("pod", "dns-pod")
            if gone and other and path["address"] not in (other.pod_addresses or []):
                continue
            if path["kind"] in kinds and (other is None or settled(other)):
                yield host, path


def failed(facts: Facts, kinds: t.Container[str]) -> list[tuple[HostFacts, Json]]:
    """Return the paths that were broken."""
    return [(host, path) for host, path in tried(facts, kinds) if path["outcome"] != "ok"]


def told(host: HostFacts, path: Json) -> str:
    """Return what was tried, and how it ended."""
    start = f"pod {path['from']} on {host.name}" if path["from"] else host.name
    node = f" of {path['node']}" if path["node"] else ""
    protocol = "udp" if path["kind"] == "dns-udp" else "tcp"
    return f"{start} -> {path['name']}{node} ({path['address']}:{path['port']}/{protocol}): {path['outcome']}"


def in_words(rule: Json) -> str:
    """Return a rule of a packet filter, and what it counted."""
    counted = f"; packets dropped so far: {rule['packets']}" if rule["packets"] else ""
    return f"{rule['table']}, chain {rule['chain']}: {rule['rule']}{counted}"


def rule_hits(
    facts: Facts, flows: t.Container[str], lost: list[tuple[HostFacts, Json]], *, anywhere: bool = False
) -> t.Iterator[Hit]:
    """Return the rules that drop packets of these flows on hosts at either end of a broken path, or on any host."""
    for host in facts.reached:
        concerned = [told(one, path) for one, path in lost if anywhere or host in (one, _end(facts, path))]
        rules = {rule["undo"]: rule for rule in host.blocked if concerned and rule["flow"] in flows}
        for rule in rules.values():
            yield Hit(
                host.host, [in_words(rule), *concerned[:3]], f"{rule['table']} {rule['chain']}", {"undo": rule["undo"]}
            )


def _end(facts: Facts, path: Json) -> HostFacts | None:
    return next((host for host in facts.reached if host.name == path["node"]), None)


def untried(host: HostFacts) -> t.Iterator[Hit]:
    """Return the rules that drop every packet of pods for certain, on a host that has no pod yet to try it."""
    chosen = [rule for rule in host.blocked if rule["flow"] in ("pods-in", "pods-out") and rule["certain"]]
    for rule in {rule["undo"]: rule for rule in chosen}.values():
        evidence = [in_words(rule), f"{host.name} has no pod to try it: a pod's packet would end at this rule"]
        yield Hit(host.host, evidence, f"{rule['table']} {rule['chain']}", {"undo": rule["undo"]})


def overlay_dropped(facts: Facts) -> t.Iterator[Hit]:
    """Rules that drop the packets in which flannel carries those of pods."""
    return rule_hits(facts, ("overlay-in", "overlay-out"), failed(facts, ("overlay",)))


OVERLAY_DROPPED = Rule(
    "overlay-dropped",
    title="A packet filter's rule drops the overlay's packets",
    looks="Pods on different nodes cannot reach each other; pods on the same node can.",
    proof=overlay_dropped,
    remedy=FILTER_REMEDY,
    severity="critical",
    before=(*DATA_PLANE, *PODS),
    scope="all",
)


def pod_packets_dropped(facts: Facts) -> t.Iterator[Hit]:
    """Rules that drop packets from and to a node's pods."""
    hits = list(rule_hits(facts, ("pods-in", "pods-out", "host-out"), failed(facts, ("pod", "dns-pod"))))
    yield from hits
    for host in facts.reached:
        if host.pod_addresses == [] and host.host not in {hit.host for hit in hits}:
            yield from untried(host)


POD_PACKETS_DROPPED = Rule(
    "pod-packets-dropped",
    title="A packet filter's rule drops the packets of pods",
    looks="Pods of one node reach no other node, and are not reached; the node itself is Ready.",
    proof=pod_packets_dropped,
    remedy=FILTER_REMEDY,
    severity="critical",
    before=("service-packets-dropped", *DATA_PLANE, *PODS),
    scope="all",
)


def service_packets_dropped(facts: Facts) -> t.Iterator[Hit]:
    """Rules that drop packets to the cluster's name server, or to the API by its Service."""
    yield from rule_hits(facts, ("dns",), failed(facts, DNS_PATHS))
    yield from rule_hits(facts, ("api",), failed(facts, ("api",)))
    yield from rule_hits(facts, ("dns-in",), failed(facts, DNS_PATHS), anywhere=True)


SERVICE_PACKETS_DROPPED = Rule(
    "service-packets-dropped",
    title="A packet filter's rule drops packets to a Service",
    looks="Names of the cluster do not resolve on a node, or its pods do not reach the API, though all pods run.",
    proof=service_packets_dropped,
    remedy=FILTER_REMEDY,
    severity="critical",
    before=(*FLANNEL, *DATA_PLANE, *PODS),
    scope="all",
)


def beside(facts: Facts, host: HostFacts, start: str, kinds: t.Container[str]) -> list[Json]:
    """Return what was tried from one place."""
    return [path for one, path in tried(facts, kinds) if one is host and path["from"] == start]


def reached(paths: list[Json]) -> bool:
    """Say whether there are paths, and all of them are open."""
    return bool(paths) and all(path["outcome"] == "ok" for path in paths)


def services_unreachable(facts: Facts) -> t.Iterator[Hit]:
    """Hosts that reach pods and the API at their own addresses, and no Service."""
    for host in facts.reached:
        for start in dict.fromkeys(path["from"] for path in host.paths):
            services = beside(facts, host, start, SERVICE_PATHS)
            behind = beside(facts, host, start, ("api-host", "dns-pod"))
            if len(services) > 1 and not any(path["outcome"] == "ok" for path in services) and reached(behind):
                evidence = [told(host, path) for path in [*services[:2], *behind[:2]]]
                ends = {"address": services[0]["address"], "port": services[0]["port"]}
                yield Hit(host.host, evidence, "", ends)
                break


SERVICES_UNREACHABLE = Rule(
    "services-unreachable",
    title="No Service answers on a host, though the pods behind them do",
    looks="Connections to ClusterIPs and node ports time out on one node; kube-proxy runs, but its rules are missing.",
    proof=services_unreachable,
    remedy="delete {host}'s pod of kube-proxy: it writes its rules at start",
    severity="critical",
    before=(*FLANNEL, "cluster-dns-unreachable", "api-service-unreachable", *NODE),
    repair="restart_kube_proxy",
    safe=True,
    link="https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
)


def dns_unreachable(facts: Facts) -> t.Iterator[Hit]:
    """Hosts on which the name server does not answer, though its pods are reached."""
    yield from _one_service(facts, DNS_PATHS, "dns-pod", "kube-system/kube-dns")


CLUSTER_DNS_UNREACHABLE = Rule(
    "cluster-dns-unreachable",
    title="The cluster's name server does not answer on a host",
    looks="Names of the cluster do not resolve in pods of one node.",
    proof=dns_unreachable,
    remedy="check {host}'s packet filter rules for UDP and TCP port 53, and kube-proxy's log there: {command}",
    call="kubectl -- logs -n kube-system ds/kube-proxy --all-pods",
    link="https://kubernetes.io/docs/tasks/administer-cluster/dns-debugging-resolution/",
)


def api_service_unreachable(facts: Facts) -> t.Iterator[Hit]:
    """Hosts that reach the API at its own address, and not by its Service."""
    yield from _one_service(facts, ("api",), "api-host", "default/kubernetes")


API_SERVICE_UNREACHABLE = Rule(
    "api-service-unreachable",
    title="The API's Service address does not answer on a host",
    looks="flanneld, CoreDNS and operators on one node lose the API; the kubelet does not.",
    proof=api_service_unreachable,
    remedy="check {host}'s packet filter rules for that address, and kube-proxy's log there: {command}",
    call="kubectl -- logs -n kube-system ds/kube-proxy --all-pods",
    before=FLANNEL,
)


def _one_service(facts: Facts, kinds: tuple[str, ...], behind: str, name: str) -> t.Iterator[Hit]:
    for host in facts.reached:
        for start in dict.fromkeys(path["from"] for path in host.paths):
            lost = [path for path in beside(facts, host, start, kinds) if path["outcome"] != "ok"]
            direct = beside(facts, host, start, (behind,))
            if lost and reached(direct):
                yield Hit(host.host, [told(host, path) for path in [*lost, *direct[:1]]], name)
                break


def pod_path_broken(facts: Facts) -> t.Iterator[Hit]:
    """Paths between nodes' pods that nobody answers on, and no rule of the table says why."""
    # The overlay's proof is a kubelet's port, which a firewall may close to pods' range: pods that are reached count.
    opened = [(host, path) for host, path in tried(facts, ("pod", "dns-pod")) if path["outcome"] == "ok"]
    through = {(host.host, path["node"]) for host, path in opened if not path["from"]}
    lost = [
        (host, path)
        for host, path in failed(facts, PODS_PATHS)
        if path["kind"] != "overlay" or (host.host, path["node"]) not in through
    ]
    if lost:
        yield Hit("", [told(*one) for one in lost[:6]])


POD_PATH_BROKEN = Rule(
    "pod-path-broken",
    title="Packets between pods of two nodes are lost",
    looks="Pods on these two nodes cannot reach each other, and no known fault explains it.",
    proof=pod_path_broken,
    remedy="check both hosts' packet filters, routes and, in a cloud, security groups",
    symptom=True,
)
