# SPDX-License-Identifier: Apache-2.0
"""Which rules of a host's packet filter block ports of the cluster."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible.module_utils.yunkube import constants

Json = dict[str, t.Any]

# What hosts of a cluster say to each other; the last two only between masters and to them.
PORTS = {
    ("udp", constants.VXLAN_PORT): False,
    ("tcp", constants.KUBELET_PORT): False,
    ("tcp", constants.API_PORT): True,
}
OWN = ("KUBE-", "FLANNEL-", "CNI-")  # chains of the cluster itself


def closed_ports(saved: str, program: str, *, master: bool) -> list[Json]:
    """Return the rules out of iptables-save's text that drop a port of the cluster, and for whom."""
    policy, rules = _filter_table(saved)
    found: list[Json] = []
    for (protocol, port), masters_only in PORTS.items():
        if masters_only and not master:
            continue
        found += [
            _closed(protocol, port, rule["text"], f"{program} {rule['text'].replace('-A', '-D', 1)}", rule["source"])
            for rule in rules
            if rule["target"] in ("DROP", "REJECT") and rule["protocol"] == protocol and port in rule["ports"]
        ]
        catch_all = next((rule for rule in rules if rule["target"] in ("DROP", "REJECT") and rule["bare"]), None)
        if (policy in ("DROP", "REJECT") or catch_all) and not any(_lets_in(rule, protocol, port) for rule in rules):
            text = catch_all["text"] if catch_all else f"-P INPUT {policy}"
            found.append(_closed(protocol, port, text, ""))
    return found


def _closed(protocol: str, port: int, rule: str, undo: str, source: str = "") -> Json:
    return {"protocol": protocol, "port": port, "rule": rule, "undo": undo, "source": source}


def _filter_table(saved: str) -> tuple[str, list[Json]]:
    policy, table, rules = "ACCEPT", "", []
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif table == "filter" and line.startswith(":INPUT "):
            policy = line.split()[1]
        elif table in ("filter", "raw") and line.startswith("-A ") and not line.startswith("-A OUTPUT"):
            rule = _rule(line)
            if not rule["chain"].startswith(OWN) and rule["chain"] != "FORWARD" and " -i lo " not in line:
                rules.append(rule)
    return policy, rules


def _rule(line: str) -> Json:
    words = shlex.split(line)
    options = {word: words[number + 1] for number, word in enumerate(words[:-1]) if word.startswith("-")}
    ports: set[int] = set()
    for part in re.split(",", options.get("--dport", options.get("--dports", ""))):
        first, _, last = part.partition(":")
        if first.isdigit():
            ports |= set(range(int(first), int(last or first) + 1))
    conditions = [word for word in words if word.startswith("-") and word not in ("-A", "-j", "--reject-with")]
    return {
        "text": line,
        "chain": words[1],
        "target": options.get("-j", ""),
        "protocol": options.get("-p", ""),
        "ports": ports,
        "source": ("!" if f"! -s {options.get('-s')}" in line else "") + options.get("-s", ""),
        "bare": not conditions and words[1] == "INPUT",
    }


def _lets_in(rule: Json, protocol: str, port: int) -> bool:
    if rule["target"] != "ACCEPT":
        return False
    if rule["ports"]:
        return port in rule["ports"] and rule["protocol"] in (protocol, "")
    return bool(rule["source"]) and not rule["source"].startswith(("127.", "!"))
