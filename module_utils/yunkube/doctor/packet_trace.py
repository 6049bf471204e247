# SPDX-License-Identifier: Apache-2.0
"""Follow a packet through the rules of a host's packet filter, and say which rule drops it.

A rule with a condition that cannot be judged here (a mark, a rate) matches nothing; where it might have let the packet
pass, what is found behind it is not certain.
"""

from __future__ import annotations

import ipaddress
import typing as t

Json = dict[str, t.Any]
IN, OUT, FORWARD = (
    ("ingress", "prerouting", "input"),
    ("output", "postrouting"),
    ("prerouting", "forward", "postrouting"),
)
DEEPEST = 16  # jumps; the kernel has such a limit, too


class Packet(t.NamedTuple):
    """One packet at one host, and the way that it takes there."""

    flow: str
    hooks: tuple[str, ...]
    protocol: str
    source: str
    target: str
    port: int
    from_port: int = 0  # 0: any
    iif: str = ""
    oif: str = ""
    state: str = "new"

    def reply(self) -> Packet:
        """Return the packet that answers this one on its way through a host that forwards both."""
        turned = self._replace(source=self.target, target=self.source, port=0, from_port=self.port)
        return turned._replace(iif=self.oif, oif=self.iif, state="established")


class Verdict(t.NamedTuple):
    """What a rule does with a packet that it matches."""

    name: str  # accept, drop, return, jump or goto; maybe: what the rule does cannot be judged
    goal: str = ""  # the chain, where it goes on elsewhere


class Rule(t.NamedTuple):
    """One rule, of whichever program."""

    judge: t.Callable[[Packet], Verdict | None]
    text: str
    undo: str  # the command that deletes it
    packets: int | None = None  # that it counted


class End(t.NamedTuple):
    """Where a packet's way through a table ends."""

    verdict: str
    chain: Chain
    rule: Rule


class Chain:
    """A chain; one with a hook is where packets come in."""

    def __init__(self, name: str, hook: str = "", policy: str = "accept", undo: str = "") -> None:
        """Begin a chain without rules."""
        self.name, self.hook, self.policy, self.undo = name, hook, policy, undo
        self.rules: list[Rule] = []


class Table(t.NamedTuple):
    """A table with its chains by their names."""

    name: str
    chains: dict[str, Chain]


def dropped_by(tables: t.Iterable[Table], packet: Packet, own: tuple[str, ...]) -> list[Json]:
    """Return the first rule of each table that drops a packet, but for those in chains that begin with `own`."""
    found = []
    for table in tables:
        for chain in table.chains.values():
            if chain.hook not in packet.hooks:
                continue
            doubts: list[str] = []
            end = _walk(table, chain, packet, doubts)
            if end is None and chain.policy == "drop":
                end = End("drop", chain, Rule(lambda _: None, "policy drop", chain.undo))
            if end and end.verdict == "drop" and not end.chain.name.startswith(own):
                rule = {"table": table.name, "chain": end.chain.name, "rule": end.rule.text, "undo": end.rule.undo}
                certain = all(name.startswith(own) for name in doubts)
                found.append({"flow": packet.flow, **rule, "packets": end.rule.packets, "certain": certain})
    return found


def _walk(table: Table, chain: Chain, packet: Packet, doubts: list[str], depth: int = 0) -> End | None:
    """Return how a packet's way through a chain ends, None where no rule decides; note chains with rules in doubt."""
    for rule in chain.rules if depth < DEEPEST else ():
        verdict = rule.judge(packet)
        if verdict is None:
            continue
        if verdict.name in ("accept", "drop"):
            return End(verdict.name, chain, rule)
        if verdict.name == "return":
            return None
        if verdict.name == "maybe":
            doubts.append(chain.name)
            continue
        goal = table.chains.get(verdict.goal)
        end = _walk(table, goal, packet, doubts, depth + 1) if goal else None
        if end or verdict.name == "goto":
            return end
    return None


def is_in(address: str, range_: str) -> bool:
    """Say whether an address lies in a range."""
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(range_, strict=False)
    except ValueError:
        return False
