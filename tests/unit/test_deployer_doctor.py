# SPDX-License-Identifier: Apache-2.0
"""The doctor on the command line: its options, its exit codes, and what it prints."""

from __future__ import annotations

from typing import Any

import pytest
from deployer.arguments import parse
from deployer.commands import PLAYS
from deployer.errors import DeployError, Exit
from deployer.happenings import Summary
from deployer.progress import Progress
from deployer.session import exit_code
from deployer.views.summary import print_summary

FINDING = {
    "id": "subnet-env-missing", "title": "subnet.env is missing", "severity": "error", "host": "node1",
    "target": "/run/flannel/subnet.env", "evidence": ["it is not there"], "chain": ["pod-not-ready (x): a pod"],
    "remedy": "delete the pod",
    "command": "./scripts/deploy.py doctor -i inventory/mine --fix --only subnet-env-missing",
    "page": "docs/faults/subnet-env-missing.md",
}  # fmt: skip


def test_options_become_the_roles_variables() -> None:
    words = ["doctor", "--fix", "--only", "unknown", "--only", "disk-full", "--allow", "node-cordoned", "--dry-run"]
    request = parse(words)
    assert (request.fix, request.dry_run) == (True, True)
    assert request.extra_vars == {
        "troubleshoot_fix": True,
        "troubleshoot_only": ["unknown", "disk-full"],
        "troubleshoot_allow": ["node-cordoned"],
    }
    assert parse(["doctor"]).extra_vars == {}


@pytest.mark.parametrize("words", [["--only", "disk-full"], ["--allow", "disk-full"], ["--dry-run"]])
def test_options_of_a_repair_need_one(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["doctor", *words])
    assert "requires --fix" in capsys.readouterr().err


def test_an_unknown_fault_is_refused_with_a_suggestion() -> None:
    with pytest.raises(DeployError, match="unknown fault: subnet-env-mising") as caught:
        parse(["doctor", "--fix", "--only", "subnet-env-mising"])
    assert "subnet-env-missing" in caught.value.hint


@pytest.mark.parametrize(
    ("doctor", "code"),
    [
        ({"healthy": True, "reached": 2}, Exit.OK),
        ({"healthy": False, "reached": 2}, Exit.UNHEALTHY),
        ({"healthy": False, "reached": 0}, Exit.UNREACHABLE),
    ],
)
def test_the_exit_code_is_what_was_found(doctor: dict[str, Any], code: Exit) -> None:
    progress = Progress()
    progress.doctor = doctor
    assert exit_code("successful", "", progress, PLAYS["doctor"]) == code


def printed(capsys: pytest.CaptureFixture[str], doctor: dict[str, Any], *, dry_run: bool = False) -> str:
    """Return what stands at the end."""
    summary = Summary(
        verb="doctor", exit_code=6, seconds=1.0, stages=(), hosts={}, failures=(), table=(), status={}, log="/log",
        next="", doctor=doctor, dry_run=dry_run,
    )  # fmt: skip
    print_summary(summary, stages_shown=False)
    return capsys.readouterr().out


def test_a_finding_is_printed_with_evidence_chain_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"findings": [FINDING], "reached": 2, "healthy": False}
    assert printed(capsys, found).splitlines()[1:7] == [
        "error  subnet.env is missing (node1, /run/flannel/subnet.env)",
        "  evidence  it is not there",
        "  so        pod-not-ready (x): a pod",
        "  remedy    ./scripts/deploy.py doctor -i inventory/mine --fix --only subnet-env-missing",
        "  by hand   delete the pod",
        "  page      docs/faults/subnet-env-missing.md",
    ]


def test_a_healthy_cluster_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "No cluster faults found." in printed(capsys, {"findings": [], "reached": 2, "healthy": True})


def test_a_network_that_was_not_judged_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    doctor = {"findings": [], "reached": 2, "healthy": True, "unjudged": ["node1", "node2"]}
    line = "pods' network of node1, node2: kube-proxy or flanneld started less than 30 s ago; run doctor again"
    assert f"\n{line}\n" in printed(capsys, doctor)


def test_repairs_are_reported_as_done_or_as_planned(capsys: pytest.CaptureFixture[str]) -> None:
    doctor = {"findings": [], "reached": 2, "healthy": False, "repaired": ["swap-on node1"]}
    assert "\nrepaired  swap-on node1\n" in printed(capsys, doctor)
    assert "\nwould repair  swap-on node1\n" in printed(capsys, doctor, dry_run=True)
