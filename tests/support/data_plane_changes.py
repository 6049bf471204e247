# SPDX-License-Identifier: Apache-2.0
"""For every fault of the data plane, how the paths of a healthy cluster's hosts look when it is there."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts, HostFacts, Json
from doctor_changes import CHANGES
from doctor_record import changes, master, node

__all__ = ["CHANGES"]  # those of the other areas, too

TIMEOUT = "Connection timed out"


def lose(host: HostFacts, kinds: t.Container[str], to: str = "", start: str | None = None) -> None:
    """Let nothing come back from what a host tries: at a node, from the host itself ("") or from its pod."""
    for path in host.paths:
        if path["kind"] in kinds and path["node"] == to and start in (None, path["from"]):
            path["outcome"] = TIMEOUT


def blocked(flow: str, table: str, chain: str, rule: str, undo: str, **more: t.Any) -> Json:
    """Return a rule that drops packets."""
    return {
        "flow": flow,
        "table": table,
        "chain": chain,
        "rule": rule,
        "undo": undo,
        "packets": 3,
        "certain": True,
        **more,
    }


DROP_ALL = blocked("pods-in", "iptables filter", "FORWARD", "-A FORWARD -j DROP", "iptables -D FORWARD -j DROP")


@changes("overlay-dropped")
def _overlay(facts: Facts) -> None:
    undo = "nft delete rule inet user input handle 4"
    node(facts).blocked = [blocked("overlay-in", "inet user", "input", "udp dport 8472 drop", undo)]
    lose(master(facts), ("overlay", "pod", "dns-pod"), "node1")
    lose(node(facts), ("overlay", "pod", "dns-pod"), "master1")
    lose(node(facts), ("dns-udp",))


@changes("pod-packets-dropped")
def _forward(facts: Facts) -> None:
    node(facts).blocked = [DROP_ALL, {**DROP_ALL, "flow": "pods-out"}, {**DROP_ALL, "flow": "dns"}]
    lose(master(facts), ("pod", "dns-pod"), "node1")
    lose(node(facts), ("pod", "dns-pod"), "master1", "kube-system/coredns-6df484f77-8vdns")
    lose(node(facts), ("dns-udp",))


@changes("service-packets-dropped")
def _dns_port(facts: Facts) -> None:
    undo = "nft delete rule inet user output handle 3"
    node(facts).blocked = [blocked("dns", "inet user", "output", "udp dport 53 drop", undo)]
    lose(node(facts), ("dns-udp",), start="")


@changes("services-unreachable")
def _proxy_rules(facts: Facts) -> None:
    lose(node(facts), ("api", "dns-tcp", "dns-udp"))


@changes("cluster-dns-unreachable")
def _dns(facts: Facts) -> None:
    lose(node(facts), ("dns-udp",))


@changes("api-service-unreachable")
def _api(facts: Facts) -> None:
    lose(node(facts), ("api",))
