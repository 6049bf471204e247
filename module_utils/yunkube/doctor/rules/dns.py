# SPDX-License-Identifier: Apache-2.0
"""CoreDNS."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import PODS
from ansible.module_utils.yunkube.doctor.rules.pods import place

NO_SERVER = "no valid upstream addresses found"  # CoreDNS 1.14, plugin forward
LOOPBACK = ("127.", "::1")


def dns_loop(facts: Facts) -> t.Iterator[Hit]:
    """CoreDNS pods that forward to themselves."""
    for host in facts.reached:
        loops = [server for server in host.nameservers if server.startswith(LOOPBACK)]
        pods = [pod for pod in facts.pods_on(host.name, "kube-system", "coredns") if pod["problem"]]
        said = [line for one in host.containers or [] if one["name"] == "coredns" for line in one["last"]]
        told = [line for line in said if "Loop" in line]
        if any(not pod["leaving"] for pod in pods) and (loops or told):
            evidence = [f"{host.host}'s resolv.conf names {', '.join(loops) or 'no loopback'}"]
            yield Hit(host.host, [*evidence, *(f"{place(pod)}: {pod['problem']}" for pod in pods), *told[-1:]])


DNS_LOOP = Rule(
    "dns-loop",
    title="CoreDNS forwards to itself (loop)",
    looks="CoreDNS exits with `Loop … detected`: the host's resolv.conf names a loopback address.",
    proof=dns_loop,
    remedy=(
        "name a real server in {host}'s resolv.conf, or set resolvConf of its kubelet to one that does "
        "(/run/systemd/resolve/resolv.conf), then delete the CoreDNS pods"
    ),
    before=PODS,
    link="https://coredns.io/plugins/loop/#troubleshooting",
)


def no_server(facts: Facts) -> t.Iterator[Hit]:
    """CoreDNS pods that do not start as the host names no server to forward to."""
    for host in facts.reached:
        said = [line for one in host.containers or [] if one["name"] == "coredns" for line in one["last"]]
        told = [line for line in said if NO_SERVER in line]
        pods = [pod for pod in facts.pods_on(host.name, "kube-system", "coredns") if pod["problem"]]
        if told and not host.nameservers and any(not pod["leaving"] for pod in pods):
            path = host.kubelet.get("resolvConf", "/etc/resolv.conf")
            evidence = [f"{path} of {host.host} names no name server", f"CoreDNS says: {told[-1]}"]
            yield Hit(host.host, [*evidence, *(f"{place(pod)}: {pod['problem']}" for pod in pods)])


NAMESERVER_MISSING = Rule(
    "nameserver-missing",
    title="The host names no name server, so CoreDNS does not start",
    looks="CoreDNS exits with `no valid upstream addresses found`: it forwards to those of the host's resolv.conf.",
    proof=no_server,
    remedy=(
        "name a server in {host}'s resolv.conf (in an isolated network any address but a loopback one will do), "
        "then delete the CoreDNS pods"
    ),
    before=("corefile-broken", *PODS),
    link="https://coredns.io/plugins/forward/",
)


def dns_off(facts: Facts) -> t.Iterator[Hit]:
    """A CoreDNS that is scaled to zero."""
    found = facts.cluster.workloads.get("coredns", {})
    if found.get("there") and found["replicas"] == 0 and "coredns" not in facts.cluster.disabled:
        yield Hit("", ["Deployment kube-system/coredns has 0 replicas"], "kube-system/coredns", {"replicas": 2})


DNS_SCALED_TO_ZERO = Rule(
    "dns-scaled-to-zero",
    title="CoreDNS is scaled to zero",
    looks="No cluster name resolves.",
    proof=dns_off,
    remedy="{command}",
    call="kubectl -- -n kube-system scale deployment coredns --replicas 2",
    severity="critical",
    before=("dns-not-ready", "workload-not-rolled-out"),
    repair="scale_dns",
    safe=True,
    weight=4,
    on_master=True,
)
