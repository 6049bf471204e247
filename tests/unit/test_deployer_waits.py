# SPDX-License-Identifier: Apache-2.0
"""A task that takes long is not silent: every view says who is waited for, and for what."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from checkout import Deploy
from deployer.happenings import BundleProgress, Happening, TaskEnded, TaskStarted, Waiting
from deployer.views import NoticesView
from deployer.views.jsonlines import JsonView
from deployer.views.live import LiveView
from deployer.views.plain import PlainView
from deployer.views.text import waiting_line
from deployer.waits import AWAITED, Waits
from rich.console import Console

ROOT = Path(__file__).resolve().parents[2]
JOIN = TaskStarted("Run kubeadm join", "node", "roles/node/tasks/join.yml:28", "kubeadm_join")
WAITING = Waiting(JOIN.name, JOIN.path, ("node1", "node2"), 15.0, AWAITED["kubeadm_join"])


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        """Say what time it is."""
        return self.now


def no_bundle() -> BundleProgress | None:
    """Say that none is made."""
    return None


def told_at(seconds: range, *happenings: Happening) -> dict[int, list[tuple[str, ...]]]:
    """Return in which seconds of a task something was said, and of which hosts."""
    clock = Clock()
    long = Waits(clock)
    for happening in happenings:
        long.note(happening)
    found = {}
    for second in seconds:
        clock.now = 1000.0 + second
        found[second] = [waiting.hosts for waiting in long.due(("node1",))]
    return {second: hosts for second, hosts in found.items() if hosts}


def test_a_long_task_is_told_when_the_wait_has_doubled_and_every_five_minutes() -> None:
    assert told_at(range(1200), JOIN) == {second: [("node1",)] for second in (15, 30, 60, 120, 240, 480, 780, 1080)}


def test_nothing_is_told_of_a_task_that_has_ended() -> None:
    assert told_at(range(100), JOIN, TaskEnded(JOIN.name, JOIN.path, 1.0, {})) == {}


def test_nothing_is_told_where_nobody_is_waited_for() -> None:
    clock = Clock()
    long = Waits(clock)
    long.note(JOIN)
    clock.now += 60
    assert list(long.due(())) == []


def test_every_module_that_is_explained_exists() -> None:
    assert [name for name in AWAITED if not (ROOT / f"library/{name}.py").exists()] == []


def test_what_is_awaited_names_variables_that_exist() -> None:
    defaults = "".join(path.read_text() for path in (ROOT / "roles").glob("*/defaults/main.yml"))
    named = {word.strip("();,") for text in AWAITED.values() for word in text.split() if word.count("_") > 1}
    assert named
    assert [word for word in named if f"\n{word}:" not in defaults] == []


def test_plain_lines_say_who_and_what_is_waited_for() -> None:
    out = io.StringIO()
    PlainView(out, verbose=False, read_bundle=no_bundle).show(WAITING)
    assert out.getvalue().endswith(
        "]   waiting  node1, node2: Run kubeadm join, 15 s so far; waiting for the API server to answer "
        "and the kubelet to get its certificate (up to node_join_timeout)\n"
    )


def test_programs_are_told_too() -> None:
    out = io.StringIO()
    JsonView(out, no_bundle).show(WAITING)
    event = json.loads(out.getvalue())
    assert (event["type"], event["hosts"], event["seconds"]) == ("waiting", ["node1", "node2"], 15.0)


def test_a_report_says_it_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    NoticesView().show(WAITING)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("node1, node2: Run kubeadm join, 15 s so far; waiting for the API server to answer")


def test_a_wait_of_minutes_for_what_is_not_known_is_told_by_its_task_alone() -> None:
    assert waiting_line(Waiting("Sleep", "", ("node1",), 125.4, "")) == "node1: Sleep, 2m 05s so far"


def test_what_is_awaited_has_not_happened_yet() -> None:
    assert [text for text in AWAITED.values() if " to " not in text] == []


def test_the_live_lines_say_what_beside_who() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    view = LiveView(verbose=False, read_bundle=no_bundle, console=console)
    try:
        view.show(JOIN)
        view.tick(("node1",))
        view.show(WAITING)
        with console.capture() as shown:
            console.print(view)
        assert "Run kubeadm join, waiting for the API server to answer" in shown.get()
    finally:
        view.close()


def test_a_run_says_it_while_it_waits(deploy: Deploy, checkout: Path) -> None:
    ours = checkout / "scripts/deployer/waits.py"
    ours.write_text(ours.read_text().replace("FIRST = 15.0", "FIRST = 0.5"))
    result = deploy("sleeps", "up", "--json", "-e", "x_seconds=3")
    told = [event for event in map(json.loads, result.stdout.splitlines()) if event["type"] == "waiting"]
    assert told, result.stdout
    assert (told[0]["hosts"], told[0]["task"]) == (["a"], "Sleep")
