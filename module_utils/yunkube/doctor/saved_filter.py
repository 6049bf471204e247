# SPDX-License-Identifier: Apache-2.0
"""What iptables-save prints: read once, and as tables through which a packet can be followed."""

from __future__ import annotations

import concurrent.futures
import re
import shlex
import typing as t

from ansible.module_utils.yunkube.doctor.packet_trace import Chain, Packet, Rule, Table, Verdict, is_in
from ansible.module_utils.yunkube.doctor.read_host import output

HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
NO_CONDITION = ("-m", "--comment", "--reject-with", "-A", "-j", "-g")
VERDICTS = {"DROP": "drop", "REJECT": "drop", "ACCEPT": "accept", "RETURN": "return"}
MAYBE = Verdict("maybe")
GOES_ON = ("LOG", "MARK", "CONNMARK", "NFLOG", "TRACE", "NOTRACK", "CT", "TCPMSS", "SET", "AUDIT", "DSCP")


class Line(t.NamedTuple):
    """One rule, as it is printed."""

    text: str  # without what it counted
    chain: str
    target: str  # a verdict, a chain or what else is done; empty where it only counts
    goes: bool  # to the target, and does not come back
    conditions: list[tuple[str, str, bool]]  # option, value, and whether it is negated: all that a packet must fulfil
    packets: int | None  # that it counted


class Saved(t.NamedTuple):
    """One table, as it is printed."""

    policies: dict[str, str]  # of each chain; "-" where it has no hook
    lines: list[Line]


def save_all() -> dict[str, dict[str, Saved]]:
    """Return the tables of the kernel's two packet filters, by program.

    The first is the one that is `iptables`; where it does not say which it is, each is asked by its own name.
    """
    version = output("iptables", "--version")
    own = "iptables" if version else "iptables-nft"
    programs = (own, "iptables-legacy" if not version or "nf_tables" in version else "iptables-nft")
    with concurrent.futures.ThreadPoolExecutor(len(programs)) as pool:
        printed = pool.map(lambda program: output(f"{program}-save", "-c"), programs)
        return dict(zip(programs, map(read, printed)))


def read(saved: str) -> dict[str, Saved]:
    """Return the tables out of iptables-save's text, with or without counters."""
    found: dict[str, Saved] = {}
    table = Saved({}, [])
    for line in saved.splitlines():
        if line.startswith("*"):
            table = found.setdefault(line[1:], Saved({}, []))
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            table.policies[name] = policy
        elif counted := re.match(r"(?:\[(\d+):\d+\] )?(-A (\S+).*)", line):
            packets, text, chain = counted.groups()
            words = shlex.split(text)
            target = next((words[at + 1] for at, word in enumerate(words[:-1]) if word in ("-j", "-g")), "")
            conditions = list(_conditions(words))
            table.lines.append(Line(text, chain, target, "-g" in words, conditions, int(packets) if packets else None))
    return found


def _conditions(words: list[str]) -> t.Iterator[tuple[str, str, bool]]:
    for at, word in enumerate(words):
        if word.startswith("-") and word not in NO_CONDITION and words[at - 1] != "--comment":
            yield word, words[at + 1] if at + 1 < len(words) else "", words[at - 1] == "!"


def tables_of(saved: t.Mapping[str, Saved], program: str) -> list[Table]:
    """Return tables through which a packet can be followed; those of NAT drop nothing."""
    found = []
    for name, there in saved.items():
        command = program if name == "filter" else f"{program} -t {name}"
        table = Table(f"{program} {name}", {})
        for chain, policy in there.policies.items():
            hook = chain.lower() if chain in HOOKS else ""
            verdict = VERDICTS.get(policy, "accept")
            table.chains[chain] = Chain(chain, hook, verdict, f"{command} -P {chain} ACCEPT")
        for line in there.lines:
            table.chains.setdefault(line.chain, Chain(line.chain)).rules.append(_rule(line, command))
        if name != "nat":
            found.append(table)
    return found


def _rule(line: Line, command: str) -> Rule:
    verdict = VERDICTS.get(line.target)
    if verdict:
        does: Verdict | None = Verdict(verdict)
    elif not line.target or line.target in GOES_ON:
        does = None
    else:
        does = Verdict("goto" if line.goes else "jump", line.target)

    def judge(packet: Packet) -> Verdict | None:
        held = [_holds(*one, packet) for one in line.conditions]
        if does is None or False in held:
            return None
        if None in held:
            return None if does.name == "drop" else MAYBE
        return does

    return Rule(judge, line.text, f"{command} {line.text.replace('-A', '-D', 1)}", line.packets)


def _holds(option: str, value: str, negated: bool, packet: Packet) -> bool | None:
    """Say whether a packet fulfils a condition; None where that cannot be said."""
    known: bool | None = None
    if option in ("-s", "-d"):
        known = any(is_in(packet.source if option == "-s" else packet.target, one) for one in value.split(","))
    elif option == "-p":
        known = value in (packet.protocol, "all")
    elif option in ("-i", "-o"):
        link = packet.iif if option == "-i" else packet.oif
        known = (link.startswith(value[:-1]) if value.endswith("+") else link == value) if link else None
    elif option in ("--dport", "--dports", "--sport", "--sports"):
        port = packet.port if option.startswith("--d") else packet.from_port
        known = any(in_range(port, part) for part in value.split(",")) if port else None
    elif option in ("--ctstate", "--state"):
        known = packet.state.upper() in value.split(",")
    return None if known is None else known != negated


def in_range(port: int, part: str) -> bool:
    """Say whether a port is one, or of a range, that a rule names."""
    first, _, last = part.partition(":")
    return int(first or 0) <= port <= int(last or (65535 if ":" in part else first))
