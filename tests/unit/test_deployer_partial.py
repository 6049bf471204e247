# SPDX-License-Identifier: Apache-2.0
"""The summary reports the result of every host, whatever happened to the others."""

from __future__ import annotations

import json

import pytest
from checkout import Deploy, Result
from deployer.fates import DONE, Stage, fates

DELEGATED = "stopped (far is unreachable)"


def summary_of(result: Result) -> dict[str, dict[str, dict[str, str]]]:
    """Return the closing event."""
    return dict(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("case", "code", "a", "c"),
    [
        ("none", 0, "", ""),
        ("delegate", 4, DELEGATED, DELEGATED),
        ("delegate and fail", 3, DELEGATED, "failed"),
        ("once", 3, "failed", "stopped (First)"),
        ("serial", 3, "failed", "not tried (One at a time)"),
        ("end", 3, "failed", DONE),
    ],
)
def test_every_host_is_named_with_what_became_of_it(deploy: Deploy, case: str, code: int, a: str, c: str) -> None:
    result = deploy("partial", "up", "--json", "-e", f"x_case={case}")
    hosts = summary_of(result)["hosts"]
    assert result.returncode == code
    assert (hosts["a"]["fate"], hosts["c"]["fate"]) == (a, c)
    assert ("far" in hosts) == case.startswith("delegate")


def test_a_delegate_that_is_unreachable_is_named_once_and_not_the_hosts_that_asked_it(deploy: Deploy) -> None:
    result = deploy("partial", "up", "-e", "x_case=delegate")
    assert result.stderr.count("is unreachable\n") == 1
    assert "far is unreachable\n  for     a, c: Ask another host\n" in result.stderr
    assert "nothing listens on 127.0.0.1 port 1" in result.stderr
    assert f"The others: a {DELEGATED}, c {DELEGATED}." in result.stderr
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("far ")]
    assert row.split()[-2:] == ["1", "unreachable"]


def test_a_host_that_no_task_reached_is_named_too(deploy: Deploy) -> None:
    result = deploy("partial", "up", "-e", "x_case=serial")
    assert "The others: a failed, c not tried (One at a time)." in result.stderr


def test_a_stage_that_one_host_does_for_all_was_missed_by_none() -> None:
    failed = Stage("Nodes", ("m1", "n1"), {"m1", "n1"}, {"n1"})
    once = Stage("Verify", ("m1", "m2"), {"m1"})
    assert fates([Stage("Masters", ("m1", "m2"), {"m1", "m2"}), failed, once], {}, {}) == {
        "m1": DONE,
        "m2": DONE,
        "n1": "failed",
    }
    assert fates([once], {}, {}) == {}


def test_hosts_that_a_stage_after_the_failure_did_not_reach_are_not_tried() -> None:
    before = Stage("Prepare", ("a", "b"), answered={"a", "b"}, failed={"a"})
    after = Stage("Nodes", ("a", "b"))
    assert fates([before, after], {}, {}) == {"a": "failed", "b": "not tried (Nodes)"}
    assert fates([Stage("Nodes", ("a", "b"))], {}, {}) == {}  # no host failed
