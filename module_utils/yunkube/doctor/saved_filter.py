# SPDX-License-Identifier: Apache-2.0
"""What iptables-save prints, as tables through which a packet can be followed."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible.module_utils.yunkube.doctor.packet_trace import Chain, Packet, Rule, Table, Verdict, is_in

HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
NO_CONDITION = ("-m", "--comment", "--reject-with", "-A", "-j", "-g")
VERDICTS = {"DROP": "drop", "REJECT": "drop", "ACCEPT": "accept", "RETURN": "return"}
MAYBE = Verdict("maybe")
GOES_ON = ("LOG", "MARK", "CONNMARK", "NFLOG", "TRACE", "NOTRACK", "CT", "TCPMSS", "SET", "AUDIT", "DSCP")


def tables_of(saved: str, program: str) -> list[Table]:
    """Return the tables out of iptables-save's text, which may have counters; those of NAT drop nothing."""
    found: dict[str, Table] = {}
    table = Table("", {})
    for line in saved.splitlines():
        if line.startswith("*"):
            table = found.setdefault(line[1:], Table(f"{program} {line[1:]}", {}))
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            undo = f"{_command(program, table)} -P {name} ACCEPT"
            hook = name.lower() if name in HOOKS else ""
            table.chains[name] = Chain(name, hook, VERDICTS.get(policy, "accept"), undo)
        elif counted := re.match(r"(?:\[(\d+):\d+\] )?(-A (\S+).*)", line):
            packets, text, name = counted.groups()
            rule = _rule(text, int(packets) if packets else None, _command(program, table))
            table.chains.setdefault(name, Chain(name)).rules.append(rule)
    return [table for name, table in found.items() if name != "nat"]


def _command(program: str, table: Table) -> str:
    name = table.name.rpartition(" ")[2]
    return program if name == "filter" else f"{program} -t {name}"


def _rule(text: str, packets: int | None, command: str) -> Rule:
    words = shlex.split(text)
    target = next((words[at + 1] for at, word in enumerate(words[:-1]) if word in ("-j", "-g")), "")
    verdict = VERDICTS.get(target)
    if verdict:
        does: Verdict | None = Verdict(verdict)
    elif not target or target in GOES_ON:
        does = None
    else:
        does = Verdict("goto" if "-g" in words else "jump", target)
    conditions = list(_conditions(words))

    def judge(packet: Packet) -> Verdict | None:
        held = [_holds(*one, packet) for one in conditions]
        if does is None or False in held:
            return None
        if None in held:
            return None if does.name == "drop" else MAYBE
        return does

    return Rule(judge, text, f"{command} {text.replace('-A', '-D', 1)}", packets)


def _conditions(words: list[str]) -> t.Iterator[tuple[str, str, bool]]:
    """Return option, value, and whether it is negated, for all that a packet must fulfil."""
    for at, word in enumerate(words):
        if word.startswith("-") and word not in NO_CONDITION and words[at - 1] != "--comment":
            yield word, words[at + 1] if at + 1 < len(words) else "", words[at - 1] == "!"


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
        known = any(_in_range(port, part) for part in value.split(",")) if port else None
    elif option in ("--ctstate", "--state"):
        known = packet.state.upper() in value.split(",")
    return None if known is None else known != negated


def _in_range(port: int, part: str) -> bool:
    first, _, last = part.partition(":")
    return int(first or 0) <= port <= int(last or (65535 if ":" in part else first))
