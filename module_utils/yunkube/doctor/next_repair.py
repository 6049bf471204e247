# SPDX-License-Identifier: Apache-2.0
"""Which repair comes next, and when to stop: a pure step from one diagnosis to the next."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Json
from ansible.module_utils.yunkube.doctor.finding import Finding
from ansible.module_utils.yunkube.doctor.rule import SEVERITIES

HOLD = 30.0  # seconds in which what was repaired may still be reported by an API that lags behind
SETTLE = 150.0  # seconds for its consequences to recover: a pod that failed waits before its next try


class Options(t.NamedTuple):
    """What the user allows the doctor to do."""

    fix: bool = False
    only: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    dry_run: bool = False
    most: int = 20  # repairs in a run


class Step(t.NamedTuple):
    """What to do now."""

    next: Json  # a repair, or nothing
    again: bool  # look again afterwards
    stopped: str  # why no more is repaired although more is wrong
    state: Json  # for the next step


def unhealthy(findings: t.Iterable[Finding]) -> list[Finding]:
    """Return the faults of the cluster, without what is a user's own."""
    return [one for one in findings if one.severity != "workload"]


def may_repair(one: Finding, options: Options) -> bool:
    """Say whether a finding may be repaired."""
    allowed = one.safe or one.id in options.allow
    chosen = not options.only or one.id in options.only
    return bool(one.repair) and allowed and chosen and one.severity != "workload"


def next_repair(findings: list[Finding], options: Options, state: t.Mapping[str, t.Any], now: float) -> Step:
    """Choose the lightest repair; go on only while the last one has helped."""
    tried: list[str] = list(state.get("tried", []))
    last = float(state.get("last", now))
    keys = [one.key for one in findings]
    left = sorted((one for one in findings if may_repair(one, options)), key=_least_first)
    # What nobody may repair is there from the first look on, and is not waited for.
    alone: list[str] = list(state.get("alone", [one.key for one in findings if one not in left]))
    kept: Json = {"tried": tried, "last": last, "alone": alone}
    if not options.fix:
        return Step({}, again=False, stopped="", state=kept)
    if tried and tried[-1] in keys and not options.dry_run:
        if now - last < HOLD:
            return Step({}, again=True, stopped="", state=kept)
        return Step({}, again=False, stopped=f"the repair of {tried[-1]} did not help", state=kept)
    fresh = [one for one in left if one.key not in tried]
    if fresh and len(tried) >= options.most:
        return Step(
            {},
            again=False,
            stopped=f"{options.most} repairs were done, as many as troubleshoot_repairs_max allows",
            state=kept,
        )
    if fresh:
        chosen = fresh[0]
        kept.update(tried=[*tried, chosen.key], last=now)
        return Step({"id": chosen.id, "key": chosen.key, **chosen.repair}, again=True, stopped="", state=kept)
    if left and not options.dry_run:
        return Step({}, again=False, stopped=f"{left[0].key} came back after its repair", state=kept)
    waits = tried and not options.dry_run and any(one.key not in alone for one in unhealthy(findings))
    return Step({}, again=bool(waits and now - last < SETTLE), stopped="", state=kept)


def _least_first(one: Finding) -> tuple[int, int]:
    return int(one.repair["weight"]), SEVERITIES.index(one.severity)
