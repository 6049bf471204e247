# SPDX-License-Identifier: Apache-2.0
"""Which repair comes next, and when the doctor stops."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.finding import Finding
from ansible.module_utils.yunkube.doctor.next_repair import HOLD, SETTLE, Options, next_repair

FIX = Options(fix=True)


def finding(name: str, *, safe: bool = True, weight: int = 1, severity: str = "error", **more: t.Any) -> Finding:
    """Return a finding with a repair."""
    repair = {"name": "start_unit", "host": "node1", "target": "", "arguments": {}, "weight": weight}
    standard: dict[str, t.Any] = {
        "title": name, "host": "node1", "target": "", "evidence": [], "chain": [], "implied": [], "remedy": "",
        "command": "", "page": "",
    }  # fmt: skip
    return Finding(**{**standard, "id": name, "severity": severity, "safe": safe, "repair": repair, **more})


def test_nothing_is_repaired_unasked() -> None:
    now = next_repair([finding("a")], Options(), {}, 100)
    assert (now.next, now.again, now.stopped) == ({}, False, "")


def test_the_lightest_repair_goes_first_and_then_the_worst_fault() -> None:
    found = [finding("heavy", weight=3, severity="critical"), finding("light"), finding("grave", severity="critical")]
    assert next_repair(found, FIX, {}, 100).next["id"] == "grave"


def test_what_is_not_safe_needs_to_be_allowed() -> None:
    found = [finding("rule", safe=False)]
    assert next_repair(found, FIX, {}, 100).next == {}
    assert next_repair(found, Options(fix=True, allow=("rule",)), {}, 100).next["id"] == "rule"


def test_only_what_was_named_is_repaired() -> None:
    found = [finding("a"), finding("b")]
    assert next_repair(found, Options(fix=True, only=("b",)), {}, 100).next["id"] == "b"


def test_a_workload_of_the_users_is_left_alone() -> None:
    assert next_repair([finding("a", severity="workload")], FIX, {}, 100).next == {}


def test_one_after_the_other_until_nothing_is_left() -> None:
    first = next_repair([finding("a"), finding("b")], FIX, {}, 100)
    second = next_repair([finding("b")], FIX, first.state, 110)
    last = next_repair([], FIX, second.state, 120)
    assert (first.next["id"], second.next["id"]) == ("a", "b")
    assert (last.again, last.stopped, last.state["tried"]) == (False, "", ["a node1", "b node1"])


def test_a_repair_that_did_not_help_ends_it() -> None:
    first = next_repair([finding("a"), finding("b")], FIX, {}, 100)
    held = next_repair([finding("a"), finding("b")], FIX, first.state, 101)
    assert (held.next, held.again) == ({}, True)
    over = next_repair([finding("a"), finding("b")], FIX, first.state, 101 + HOLD)
    assert (over.next, over.again) == ({}, False)
    assert "did not help" in over.stopped


def test_what_comes_back_ends_it() -> None:
    first = next_repair([finding("a"), finding("b")], FIX, {}, 100)
    second = next_repair([finding("b")], FIX, first.state, 110)
    third = next_repair([finding("a")], FIX, second.state, 120)
    assert (third.next, third.again) == ({}, False)
    assert "came back" in third.stopped


def test_what_followed_from_it_is_waited_for_but_not_for_ever() -> None:
    first = next_repair([finding("a")], FIX, {}, 100)
    rest = [finding("unknown", safe=False, repair={})]
    assert next_repair(rest, FIX, first.state, 110).again
    assert not next_repair(rest, FIX, first.state, 101 + SETTLE).again


def test_what_may_not_be_repaired_is_not_waited_for() -> None:
    other = finding("unknown", safe=False, repair={})
    first = next_repair([finding("a"), other], FIX, {}, 100)
    assert not next_repair([other], FIX, first.state, 110).again


def test_a_dry_run_names_every_repair_once() -> None:
    wish = Options(fix=True, dry_run=True)
    found = [finding("a"), finding("b")]
    first = next_repair(found, wish, {}, 100)
    second = next_repair(found, wish, first.state, 101)
    last = next_repair(found, wish, second.state, 102)
    assert [first.next["id"], second.next["id"]] == ["a", "b"]
    assert (last.next, last.again, last.stopped) == ({}, False, "")


def test_a_run_does_no_more_repairs_than_it_may() -> None:
    found = [finding("a"), finding("b")]
    now = next_repair(found, Options(fix=True, most=1), {"tried": ["before host"], "last": 100}, 100)
    assert (now.next, now.again) == ({}, False)
    assert now.stopped == "1 repairs were done, as many as troubleshoot_repairs_max allows"
    assert next_repair(found, Options(fix=True, most=2), {"tried": ["before host"], "last": 100}, 100).next["id"] == "a"
