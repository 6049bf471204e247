# SPDX-License-Identifier: Apache-2.0
"""From facts to findings: every rule is applied, and a consequence of another becomes a link of its chain."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts, Json
from ansible.module_utils.yunkube.doctor.finding import Finding
from ansible.module_utils.yunkube.doctor.rule import SEVERITIES, Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.pods import WAIT
from ansible.module_utils.yunkube.doctor.table import TABLE, UNKNOWN

DOCTOR = "doctor --fix"
NOT_COMPARED = "kube-proxy and CoreDNS are not compared with what kubeadm declares: {problem}"
NOT_YET = f"pods' network of {{hosts}}: kube-proxy or flanneld started less than {WAIT} s ago; run doctor again"

# Returns the command line for a verb and its arguments: on the control machine, where the inventory is known.
Typed = t.Callable[[str], str]


class Proved(t.NamedTuple):
    """What one rule of the table found, at one place."""

    rule: Rule
    hit: Hit


def for_any_inventory(words: str) -> str:
    """Return a verb and its arguments as a command line."""
    return f"./scripts/deploy.py {words}"


def diagnose(facts: Facts, table: t.Sequence[Rule] = TABLE, typed: Typed = for_any_inventory) -> list[Finding]:
    """Return what is wrong, causes alone, the worst first."""
    proved = [Proved(rule, hit) for rule in table for hit in rule.proof(facts)]
    causes: dict[int, int] = {}  # of each that is explained, the first that explains it
    for number, one in enumerate(proved):
        for before in range(number):
            if explains(proved[before], one):
                causes[number] = before
                break
    follows: dict[int, list[Proved]] = {number: [] for number in range(len(proved)) if number not in causes}
    for number, one in enumerate(proved):
        if number in causes:
            root = number
            while root in causes:
                root = causes[root]
            follows[root].append(one)
    ranked = [(proved[root], chain) for root, chain in follows.items()]
    findings = [finding(facts, root, chain, typed) for root, chain in ranked if not root.rule.symptom]
    findings += unknown(facts, [pair for pair in ranked if pair[0].rule.symptom], typed)
    return sorted(findings, key=lambda one: SEVERITIES.index(one.severity))


def explains(cause: Proved, effect: Proved) -> bool:
    """Say whether one thing follows from another."""
    if effect.rule.id not in cause.rule.before:
        return False
    if cause.hit.at:
        return effect.hit.target in cause.hit.at or effect.hit.host in cause.hit.at
    if cause.rule.scope == "all":
        return True
    if cause.rule.scope == "target":
        return cause.hit.target == effect.hit.target
    return effect.hit.host in ("", cause.hit.host) or cause.hit.host == ""


def finding(facts: Facts, root: Proved, chain: list[Proved], typed: Typed) -> Finding:
    """Return the finding for a cause, with its consequences."""
    rule, hit = root.rule, root.hit
    master = next((host.host for host in facts.masters), "")
    repair: Json = {}
    if rule.repair and (hit.host or master) and hit.arguments.get("undo") != "":
        where = master if rule.on_master or not hit.host else hit.host
        repair = {"name": rule.repair, "host": where, "target": hit.target, "arguments": dict(hit.arguments)}
        repair["weight"] = rule.weight
    places = _Blank({"host": hit.host or "the cluster", "target": hit.target, **hit.arguments})
    places["command"] = typed(rule.call.format_map(places))
    words = rule.remedy.format_map(places)
    option = f"--only {rule.id}" if rule.safe else f"--allow {rule.id}"
    return Finding(
        rule.id,
        rule.title,
        hit.severity or rule.severity,
        hit.host,
        hit.target,
        hit.evidence,
        [in_words(one) for one in chain],
        [one.rule.id for one in chain],
        words,
        typed(f"{DOCTOR} {option}") if repair else "",
        f"docs/faults/{rule.id}.md",
        rule.safe and bool(repair),
        repair,
    )


class _Blank(dict[str, t.Any]):
    def __missing__(self, key: str) -> str:
        return key.upper()


def in_words(one: Proved) -> str:
    """Return a link of a chain."""
    place = " of ".join(part for part in dict.fromkeys((one.hit.target, one.hit.host)) if part)
    title = one.rule.title[:1].lower() + one.rule.title[1:]
    return f"{one.rule.id}{f' ({place})' if place else ''}: {title}; {one.hit.evidence[0]}"


def unknown(facts: Facts, ranked: list[tuple[Proved, list[Proved]]], typed: Typed) -> list[Finding]:
    """Return one finding a host for what nothing explains."""
    grouped: dict[str, list[tuple[Proved, list[Proved]]]] = {}
    for root, chain in ranked:
        grouped.setdefault(root.hit.host, []).append((root, chain))
    found = []
    for host, pairs in grouped.items():
        evidence = [line for root, _ in pairs for line in root.hit.evidence]
        chain = [one for _, links in pairs for one in links]
        severity = min((root.rule.severity for root, _ in pairs), key=SEVERITIES.index)
        hit = Hit(host, evidence, severity=severity)
        one = finding(facts, Proved(UNKNOWN, hit), chain, typed)
        one.implied = [root.rule.id for root, _ in pairs] + one.implied
        found.append(one)
    return found


def as_lines(findings: list[Finding], unjudged: t.Sequence[str] = (), not_printed: str = "") -> list[str]:
    """Return the findings as a person reads them, and what could not be judged: hosts' network, kubeadm's objects."""
    lines = []
    for one in findings:
        place = ", ".join(part for part in dict.fromkeys((one.host, one.target)) if part)
        lines.append(f"{one.severity}: {one.title}{f' ({place})' if place else ''} [{one.id}]")
        lines += [f"  evidence  {line}" for line in one.evidence]
        lines += [f"  so        {line}" for line in one.chain]
        lines.append(f"  remedy    {one.command or one.remedy}")
        if one.command:
            lines.append(f"  by hand   {one.remedy}")
        lines.append(f"  page      {one.page}")
    if unjudged:
        lines.append(NOT_YET.format(hosts=", ".join(unjudged)))
    if not_printed:
        lines.append(NOT_COMPARED.format(problem=not_printed))
    return lines
