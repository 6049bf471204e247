# SPDX-License-Identifier: Apache-2.0
"""What a rule of the doctor is, what its proof finds, and the order in which rules are applied."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts

# The worst first; `workload` is a user's own, and no fault of the cluster.
SEVERITIES = ("critical", "error", "warning", "workload")

# How kubeadm is called by hand: without its configuration it may silently use its own defaults.
BY_HAND = "--config cluster.yaml (docs/kubeadm.md says how to get it)"


class Hit(t.NamedTuple):
    """One place where a fault was proved."""

    host: str  # its name in the inventory; empty for the cluster as a whole
    evidence: list[str]
    target: str = ""  # a pod, a file, a unit
    arguments: t.Mapping[str, t.Any] = {}  # of the repair
    severity: str = ""  # where it is another than the rule's
    at: tuple[str, ...] = ()  # the hosts and targets of all that it explains; empty: as the rule's scope says


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one fault is proved, reported and repaired: data, except for the proof."""

    id: str
    _: dataclasses.KW_ONLY
    title: str
    looks: str  # its symptom
    proof: t.Callable[[Facts], t.Iterable[Hit]]
    remedy: str  # what to do by hand; {host}, {target}, {command} and the repair's arguments stand in braces
    call: str = ""  # what deploy.py is called with for {command}: a verb and its arguments
    severity: str = "error"
    before: tuple[str, ...] = ()  # the rules of what follows from it: they come later, and it explains what they find
    scope: str = "host"  # what it explains: what is found on the same `host`, at the same `target`, or on `all` hosts
    repair: str = ""  # in repairs.py; empty where there is none
    safe: bool = False  # whether `--fix` may do it without --allow
    weight: int = 1  # of repairs, the lightest goes first; one that waits for pods is heavier than those of hosts
    on_master: bool = False  # where the repair runs
    symptom: bool = False  # where nothing explains it, the cause is unknown
    link: str = ""


class RulesError(ValueError):
    """Rules that name each other in a way that has no order."""


def in_order(rules: t.Iterable[Rule]) -> tuple[Rule, ...]:
    """Return every rule after all whose consequence it is, otherwise in the order that they were given in."""
    given = list(rules)
    by_id = {rule.id: rule for rule in given}
    if len(by_id) < len(given):
        doubled = sorted({rule.id for rule in given if sum(other.id == rule.id for other in given) > 1})
        raise RulesError(f"two rules are called {', '.join(doubled)}")
    causes: dict[str, list[Rule]] = {name: [] for name in by_id}
    for rule in given:
        for name in dict.fromkeys(rule.before):
            if name not in by_id:
                raise RulesError(f"{rule.id}: `before` names {name}, which is no rule")
            causes[name].append(rule)
    ordered: dict[str, Rule] = {}

    def place(rule: Rule, path: tuple[str, ...]) -> None:
        if rule.id in path:
            raise RulesError(f"each is before the next: {' <- '.join((*path, rule.id))}")
        if rule.id not in ordered:
            for cause in causes[rule.id]:
                place(cause, (*path, rule.id))
            ordered[rule.id] = rule

    for rule in given:
        place(rule, ())
    return tuple(ordered.values())
