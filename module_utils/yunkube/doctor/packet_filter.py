# SPDX-License-Identifier: Apache-2.0
"""Which rules of a host's packet filter block ports of the cluster, and where those of the cluster stand."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor.saved_filter import Line, Saved, in_range

Json = dict[str, t.Any]

# What hosts of a cluster say to each other; the last two only between masters and to them.
PORTS = {
    ("udp", constants.VXLAN_PORT): False,
    ("tcp", constants.KUBELET_PORT): False,
    ("tcp", constants.API_PORT): True,
}
OWN = ("KUBE-", "FLANNEL-", "CNI-")  # chains of the cluster itself
CHAINS = ("KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-FORWARD")  # that every node has


def closed_ports(saved: t.Mapping[str, Saved], program: str, *, master: bool) -> list[Json]:
    """Return the rules that drop a port of the cluster, and for whom."""
    policy = saved["filter"].policies.get("INPUT", "ACCEPT") if "filter" in saved else "ACCEPT"
    rules = [line for name in ("filter", "raw") if name in saved for line in saved[name].lines if _comes_in(line)]
    shut = [line for line in rules if line.target in ("DROP", "REJECT")]
    catch_all = next((line for line in shut if line.chain == "INPUT" and not line.conditions), None)
    found: list[Json] = []
    for (protocol, port), masters_only in PORTS.items():
        if masters_only and not master:
            continue
        found += [
            _closed(protocol, port, line.text, f"{program} {line.text.replace('-A', '-D', 1)}", _source(line))
            for line in shut
            if _value(line, "-p") == protocol and _names(line, port)
        ]
        if (policy in ("DROP", "REJECT") or catch_all) and not any(_lets_in(line, protocol, port) for line in rules):
            found.append(_closed(protocol, port, catch_all.text if catch_all else f"-P INPUT {policy}", ""))
    return found


def _closed(protocol: str, port: int, rule: str, undo: str, source: str = "") -> Json:
    return {"protocol": protocol, "port": port, "rule": rule, "undo": undo, "source": source}


def _comes_in(line: Line) -> bool:
    """Say whether a rule of somebody else's may judge what comes to this host."""
    return (
        line.chain not in ("OUTPUT", "FORWARD")
        and not line.chain.startswith(OWN)
        and ("-i", "lo", False) not in line.conditions
    )


def _value(line: Line, option: str) -> str:
    return next((value for name, value, _ in line.conditions if name == option), "")


def _source(line: Line) -> str:
    return next((f"{'!' * negated}{value}" for name, value, negated in line.conditions if name == "-s"), "")


def _ports(line: Line) -> str:
    return next((value for name, value, no in line.conditions if name in ("--dport", "--dports") and not no), "")


def _names(line: Line, port: int) -> bool:
    return any(in_range(port, part) for part in _ports(line).split(",") if part)


def _lets_in(line: Line, protocol: str, port: int) -> bool:
    if line.target != "ACCEPT":
        return False
    if _ports(line):
        return _names(line, port) and _value(line, "-p") in (protocol, "")
    source = _source(line)
    return bool(source) and not source.startswith(("127.", "!"))


def kube_chains(saved: t.Mapping[str, t.Mapping[str, Saved]]) -> dict[str, int]:
    """Return how many chains of kube-proxy and the kubelet each of the kernel's two packet filters has."""
    kinds = {"iptables-nft": "iptables-nft", "iptables-legacy": "iptables-legacy"}
    kinds["iptables"] = "iptables-legacy" if "iptables-nft" in saved else "iptables-nft"
    return {
        kinds[program]: sum(name in CHAINS for table in tables.values() for name in table.policies)
        for program, tables in saved.items()
    }
