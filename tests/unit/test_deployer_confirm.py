# SPDX-License-Identifier: Apache-2.0
"""What the confirmation shows before something is removed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from deployer.arguments import parse
from deployer.cluster import Cluster
from deployer.confirm import MOST, consequences, questions, why_stopped
from deployer.inventory import Source
from deployer.progress import Progress
from deployer.stop import Reason

ROOT = Path(__file__).resolve().parents[2]
CHANGES = {
    "node1": ("remove /etc/kubernetes", *(f"remove chain {number}" for number in range(20)),
              "delete the registry's images: 3 images (12.0 MB)", "delete 2 snapshots of etcd in /var/lib/x"),
    "localhost": ("remove the kubeconfig",),
}  # fmt: skip


def test_data_that_nothing_brings_back_is_named_before_the_question() -> None:
    *texts, question = questions(parse(["down", "--force"]), CHANGES)
    assert question == "Go on?"
    assert texts[0].splitlines()[:3] == ["node1:", *(f"  {line}" for line in CHANGES["node1"][-2:])]
    assert texts[0].splitlines()[-1] == f"  and {len(CHANGES['node1']) - MOST} more"


def test_a_host_that_is_adopted_is_asked_for_by_itself_with_all_that_goes() -> None:
    asked = list(questions(parse(["down", "--adopt"]), CHANGES))
    assert asked[1] == "Remove all of this from node1?"
    assert len(asked[0].splitlines()) == len(CHANGES["node1"]) + 1
    assert asked[-1] == "Go on?"


def typed(tmp_path: Path, answer: str, *options: str) -> tuple[int, str]:
    """Run down for a cluster without hosts on a terminal of its own and answer its question."""
    (tmp_path / "hosts.yml").write_text("all: {children: {masters: {hosts: {}}, nodes: {hosts: {}}}}\n")
    variables = ("cluster_name=t", "cluster_provider=existing", f"cluster_state_dir={tmp_path}")
    argv = [sys.executable, str(ROOT / "scripts/deploy.py"), "down", "-i", str(tmp_path / "hosts.yml"), *options]
    argv += [word for variable in variables for word in ("-e", variable)]
    leader, follower = pty.openpty()
    os.write(leader, answer.encode())
    try:
        done = subprocess.run(argv, stdin=follower, capture_output=True, text=True, check=False, timeout=120)
    finally:
        os.close(leader)
        os.close(follower)
    return done.returncode, done.stdout + done.stderr


def test_it_is_said_what_goes_and_what_comes_then() -> None:
    pods = [{"metadata": {"namespace": "shop", "name": "web-1"}, "spec": {"nodeName": "node1"}}]
    removed = consequences(parse(["remove", "Node1"]), "t", [], pods)
    assert removed == [
        "This removes Node1 from the cluster t, and Kubernetes from it.",
        "Pods to be evicted or deleted: shop/web-1",
    ]
    first, then, _ = consequences(parse(["replace", "Node1"]), "t", [], pods)
    assert first == removed[0]
    assert then == "Then the machines that the inventory has under these names are added."


@pytest.mark.parametrize(("answer", "stays"), [("n\n", True), ("y\n", False)])
def test_down_looks_says_and_asks(tmp_path: Path, answer: str, stays: bool) -> None:
    (tmp_path / "kubeconfig").touch()
    code, text = typed(tmp_path, answer)
    assert "localhost:\n  remove the kubeconfig and copies of the cluster's certificates\n" in text
    assert (code == 2) == stays
    assert (tmp_path / "kubeconfig").exists() == stays


def test_a_look_that_fails_asks_nothing(tmp_path: Path) -> None:
    code, text = typed(tmp_path, "y\n", "--dead", "node9")
    assert code == 3
    assert "--dead names node9" in text
    assert "Nothing was changed." in text
    assert "[y/N]" not in text


def event(name: str, **result: object) -> dict[str, object]:
    return {"event": name, "event_data": {"host": "node1", "task": "Look", "res": result}}


@pytest.mark.parametrize(
    ("status", "reason", "events", "code", "words"),
    [
        ("canceled", "interrupted", (), 130, "the check of the hosts was interrupted"),
        ("canceled", "timeout", (), 124, "the check of the hosts was stopped by --timeout"),
        ("failed", "", (event("runner_on_failed", msg="no", kind="config"),), 2, "node1: Look failed\n  at      "),
        ("failed", "", (event("runner_on_failed", msg="no", remedy="do it"),), 3, "\n  cause   no\n  remedy  do it"),
        (
            "failed",
            "",
            (event("runner_on_unreachable", msg="Connection refused"),),
            4,
            "Connection refused)\n  remedy  start sshd",
        ),
        (
            "failed",
            "",
            (event("runner_on_failed", msg="Attempting to decrypt but no vault secrets found"),),
            2,
            "add --ask-vault-pass",
        ),
        (
            "failed",
            "",
            (event("runner_on_failed", msg="x", faults=[{"where": "a", "message": "b", "remedy": "c"}]),),
            3,
            "Look: 1 to fix\n  b; c",
        ),
        ("failed", "", ({"event": "error", "stdout": "[ERROR]: no such inventory"},), 2, "no such inventory"),
        ("successful", "", (), None, ""),
    ],
)
def test_a_look_that_stops_ends_as_the_run_would(
    tmp_path: Path,
    status: str,
    reason: Reason,
    events: tuple[dict[str, object], ...],
    code: int | None,
    words: str,
) -> None:
    progress = Progress()
    for one in events:
        list(progress.feed(one))
    list(progress.abort())
    cluster = Cluster("t", Source(tmp_path), tmp_path)
    error = why_stopped(status, reason, parse(["down"]), progress, cluster)
    assert (error and int(error.code)) == code
    assert error is None or (words in error.message and error.hint == "Nothing was changed."), error.message
