# SPDX-License-Identifier: Apache-2.0
"""The fold over the recorded events of a real run: what is shown and counted, and which host a failure belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from deployer.commands import PLAYS
from deployer.errors import Exit
from deployer.failures import failure_of
from deployer.happenings import Diff, Failure, HostCount, Message, StageEnded, TaskEnded
from deployer.progress import Progress
from deployer.session import exit_code

RECORDED = Path(__file__).parents[1] / "support" / "playbooks" / "mixed.events.json"


@pytest.fixture
def events() -> list[dict[str, Any]]:
    """What ansible-runner said of mixed.yml on the hosts a, c and far."""
    found: list[dict[str, Any]] = json.loads(RECORDED.read_text())
    return found


def fold(events: list[dict[str, Any]]) -> tuple[Progress, list[Any]]:
    progress = Progress()
    return progress, [happening for event in events for happening in progress.feed(event)]


def test_hosts_are_counted_as_the_closing_stats_say(events: list[dict[str, Any]]) -> None:
    progress, _ = fold(events)
    assert progress.finished
    assert progress.hosts == {
        "a": HostCount(ok=3, changed=1, skipped=1, failed=1, rescued=1),
        "c": HostCount(ok=4, changed=1, skipped=2, rescued=1),
        "far": HostCount(ok=1, unreachable=1),
    }


def test_a_rescued_failure_is_shown_when_it_happens_and_not_held_against_the_run(events: list[dict[str, Any]]) -> None:
    progress, happenings = fold(events)
    shown = [(item.host, item.task) for item in happenings if isinstance(item, Failure)]
    assert ("c", "Fail") in shown
    assert [(failure.host, failure.task) for failure in progress.failures] == [
        ("far", "Change something"),
        ("a", "Fail in a loop"),
    ]


def test_a_failed_loop_reports_the_error_of_the_failed_item(events: list[dict[str, Any]]) -> None:
    progress, _ = fold(events)
    loop = progress.failures[1]
    assert loop.message.startswith("exit code 2: ls: cannot access '/nonexistent'")
    assert loop.path == "mixed.yml:30"


def test_an_unreachable_host_is_explained(events: list[dict[str, Any]]) -> None:
    progress, _ = fold(events)
    far = progress.failures[0]
    assert far.unreachable
    assert far.message.endswith("nothing listens on 127.0.0.1 port 1 (Connection refused)")
    assert "ansible_port" in far.remedy


def test_stages_are_timed_and_counted(events: list[dict[str, Any]]) -> None:
    progress, happenings = fold(events)
    assert [(stage.name, stage.changed, stage.failed) for stage in progress.stages] == [
        ("First stage", 2, 3),
        ("Second stage", 0, 1),
    ]
    assert all(stage.seconds > 0 for stage in progress.stages)
    assert [item for item in happenings if isinstance(item, StageEnded)] == progress.stages


def test_a_task_is_reported_once_with_all_its_hosts(events: list[dict[str, Any]]) -> None:
    _, happenings = fold(events)
    ended = {item.name: item.hosts for item in happenings if isinstance(item, TaskEnded)}
    assert ended["Change something"] == {"far": "unreachable", "a": "changed", "c": "changed"}


def test_who_is_at_work_is_known_at_any_time(events: list[dict[str, Any]]) -> None:
    progress = Progress()
    seen = set()
    for event in events:
        list(progress.feed(event))
        seen.add(progress.running)
    assert ("a", "c", "far") in seen
    assert progress.running == ()


def test_a_run_that_was_cut_short_keeps_its_failures_and_closes_its_stage(events: list[dict[str, Any]]) -> None:
    progress, _ = fold(events[:-2])
    happenings = list(progress.abort())
    assert not progress.finished
    assert isinstance(happenings[-1], StageEnded)
    assert happenings[-1].cut_short
    assert "a" in {failure.host for failure in progress.failures}


def test_what_does_not_parse_is_kept_word_for_word() -> None:
    lines = ["[ERROR]: conflicting action statements: debug, command", "Origin: site.yml:5:7", ""]
    progress, happenings = fold([{"event": "verbose", "stdout": line} for line in lines])
    assert progress.errors == lines[:2]
    assert happenings[0] == Message("error", lines[0])
    assert exit_code("failed", "", progress, PLAYS["up"]) == Exit.USAGE


def test_a_diff_is_shown_without_the_heading_that_ansible_puts_before_the_first() -> None:
    text = "\r\nTASK [Write a file] *****\r\n--- before\r\n+++ after\r\n@@ -0,0 +1 @@\r\n+x"
    data = {"host": "a", "task": "Write a file"}
    _, happenings = fold([{"event": "runner_on_file_diff", "stdout": text, "event_data": data}])
    assert happenings == [Diff("a", "Write a file", "--- before\n+++ after\n@@ -0,0 +1 @@\n+x")]


def test_rows_of_verify_and_the_status_are_kept_also_when_the_module_failed() -> None:
    rows = [{"check": "dns", "target": "master1", "ok": False, "seconds": 1.5, "detail": "no answer"}]
    res = {"table": rows, "status": {"nodes": [{"name": "master1", "ready": True}]}, "msg": "1 of 7 checks failed"}
    progress, _ = fold([{"event": "runner_on_failed", "event_data": {"host": "a", "task": "Verify", "res": res}}])
    assert progress.table == rows
    assert progress.status == res["status"]


@pytest.mark.parametrize(
    ("kind", "fault", "where", "code"),
    [
        (
            "config",
            {
                "file": "cluster.yml",
                "line": 3,
                "check": "cluster_nam",
                "message": "unknown key",
                "remedy": "write cluster_name",
            },
            "cluster.yml:3: cluster_nam",
            Exit.USAGE,
        ),
        (
            "preflight",
            {"host": "node1", "check": "port 6443", "message": "taken by nginx", "remedy": "stop it"},
            "node1: port 6443",
            Exit.FAILED,
        ),
    ],
)
def test_the_kind_of_a_failure_decides_the_exit_code(kind: str, fault: dict[str, Any], where: str, code: Exit) -> None:
    res = {"msg": "1 fault", "kind": kind, "faults": [fault]}
    stats = {"failures": {"a": 1}, "processed": {"a": 1}}
    progress, happenings = fold(
        [
            {"event": "playbook_on_play_start", "event_data": {"name": "Check"}},
            {"event": "runner_on_failed", "event_data": {"host": "a", "task": "Check", "res": res}},
            {"event": "playbook_on_stats", "event_data": stats},
        ]
    )
    failure = next(item for item in happenings if isinstance(item, Failure))
    assert (failure.faults[0].where, failure.faults[0].remedy) == (where, fault["remedy"])
    assert exit_code("failed", "", progress, PLAYS["up"]) == code


def test_what_no_log_hides_stays_hidden() -> None:
    failure = failure_of({"host": "a", "task": "Join", "res": {"censored": "the output has been hidden"}})
    assert "no_log" in failure.message


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        ("timeout", "failed", Exit.TIMEOUT),
        ("interrupted", "canceled", Exit.INTERRUPTED),
        ("", "successful", Exit.USAGE),  # nothing was looked at
    ],
)
def test_an_early_end_outweighs_what_ansible_says(reason: Any, status: str, code: Exit) -> None:
    assert exit_code(status, reason, Progress(), PLAYS["up"]) == code


def test_only_plan_has_an_exit_code_for_changes() -> None:
    stats = {"processed": {"a": 1}, "changed": {"a": 2}, "ok": {"a": 3}}
    progress, _ = fold([{"event": "playbook_on_stats", "event_data": stats}])
    assert exit_code("successful", "", progress, PLAYS["plan"]) == Exit.CHANGES
    assert exit_code("successful", "", progress, PLAYS["up"]) == Exit.OK


def changed(host: str, task: str, **result: Any) -> dict[str, Any]:
    return {
        "event": "runner_on_ok",
        "event_data": {"host": host, "task": task, "res": {"changed": True, **result}},
    }


def test_what_modules_say_they_did_is_kept_for_each_host() -> None:
    progress, happenings = fold(
        [
            changed("a", "Set the kernel up", changes=["write /etc/x", "set y to 1"]),
            changed("b", "kubeconfig | Write it down"),
            changed("a", "Set it up again", changes=["set y to 1"]),
        ]
    )
    assert progress.changes == {"a": ("write /etc/x", "set y to 1"), "b": ("write it down",)}
    assert happenings[0].changes == ("write /etc/x", "set y to 1")


@pytest.mark.parametrize(
    ("healthy", "drift", "code"),
    [
        (True, [], Exit.OK),
        (True, ["start containerd"], Exit.CHANGES),
        (False, [], Exit.UNHEALTHY),
        (False, ["start containerd"], Exit.UNHEALTHY),
    ],
)
def test_a_status_ends_with_what_it_found(healthy: bool, drift: list[str], code: Exit) -> None:
    found = {"status": {"healthy": healthy, "nodes": []}}
    progress, _ = fold(
        [
            {"event": "runner_on_ok", "event_data": {"host": "a", "task": "Compare", "res": {"drift": drift}}},
            {"event": "runner_on_ok", "event_data": {"host": "a", "task": "Ask", "res": found}},
        ]
    )
    assert progress.drift == {"a": tuple(drift)}
    assert exit_code("successful", "", progress, PLAYS["status"]) == code


def test_every_object_that_stays_is_kept_for_the_summary() -> None:
    names = [f"Deployment default/web{number}" for number in range(20)]
    result = {"event": "runner_on_ok", "event_data": {"host": "m", "task": "x", "res": {"kept": names}}}
    progress, _ = fold([result])
    assert progress.kept == tuple(names)


def of_host(kind: str, host: str, **result: Any) -> dict[str, Any]:
    return {"event": kind, "event_data": {"host": host, "task": "Check the hosts", "res": result}}


def ended(*unreachable: str) -> dict[str, Any]:
    names = dict.fromkeys(["localhost", *unreachable], 1)
    dark = dict.fromkeys(unreachable, 1)
    return {"event": "playbook_on_stats", "event_data": {"processed": names, "changed": {"localhost": 1}, "dark": dark}}


def test_a_host_that_a_plan_would_create_first_is_not_called_unreachable() -> None:
    off = of_host("runner_on_unreachable", "node1", msg="No route to host")
    look = changed("localhost", "Check what the hosts lack", changes=["create host node1"], pending=["node1"])
    progress, happenings = fold([look, off, ended("node1")])
    assert [item for item in happenings if isinstance(item, Failure)] == []
    assert (progress.failures, progress.pending, progress.reached) == ((), ("node1",), False)
    assert progress.hosts["node1"].unreachable == 0
    assert exit_code("failed", "", progress, PLAYS["plan"]) == Exit.CHANGES


def test_a_host_that_does_not_answer_and_is_not_to_be_created_is_unreachable() -> None:
    look = changed("localhost", "Check what the hosts lack", changes=["create host node1"], pending=["node1"])
    off = of_host("runner_on_unreachable", "node2", msg="No route to host")
    progress, _ = fold([look, off, ended("node2")])
    assert [failure.host for failure in progress.failures] == ["node2"]
    assert exit_code("failed", "", progress, PLAYS["plan"]) == Exit.UNREACHABLE


def test_a_host_that_was_created_is_no_longer_pending() -> None:
    look = changed("localhost", "Check what the hosts lack", changes=["create host node1"], pending=["node1"])
    made = changed("localhost", "Create the hosts", changes=["create host node1"], pending=[])
    progress, _ = fold([look, made, of_host("runner_on_unreachable", "node1", msg="No route to host"), ended("node1")])
    assert exit_code("failed", "", progress, PLAYS["up"]) == Exit.UNREACHABLE
