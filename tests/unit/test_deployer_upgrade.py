# SPDX-License-Identifier: Apache-2.0
"""`upgrade`: its options, and what it says at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from deployer.arguments import parse
from deployer.cluster import find_cluster
from deployer.commands import PLAYS
from deployer.commands.upgrade import CHECKS
from deployer.errors import Exit
from deployer.progress import Event, Progress
from deployer.session import may_change
from deployer.versions import default_release

ROOT = Path(__file__).resolve().parents[2]
UPGRADE = PLAYS["upgrade"]


def test_options_become_variables() -> None:
    assert parse(["upgrade"]).extra_vars == {}
    assert parse(["upgrade", "--to", "v1.37.2"]).extra_vars == {"cluster_kubernetes_version": "1.37.2"}
    assert parse(["upgrade", "--batch", "20%"]).extra_vars == {"upgrade_batch": "20%"}
    assert parse(["upgrade", "--batch", "3"]).extra_vars == {"upgrade_batch": "3"}
    assert parse(["upgrade", "--drain-timeout", "9.5"]).extra_vars == {"upgrade_drain_timeout_seconds": 9}
    flags = ("force", "delete-emptydir-data", "allow-removed-apis")
    assert parse(["upgrade", *(f"--{flag}" for flag in flags)]).extra_vars == {
        f"upgrade_{flag.replace('-', '_')}": True for flag in flags
    }
    assert may_change(UPGRADE, parse(["upgrade"]))
    assert not may_change(UPGRADE, parse(["upgrade", "--dry-run"]))


@pytest.mark.parametrize(
    "words",
    [("--to", "1.37"), ("--to", "latest"), ("--batch", "0"), ("--batch", "120%"), ("--batch", "x"), ("-l", "n1")],
)
def test_wrong_options_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["upgrade", *words])
    assert ended.value.code == 2


def said(inventory: Path, *words: str, failed: str = "", code: Exit = Exit.OK) -> str:
    """Return the last words of a run."""
    request = parse(["upgrade", "-i", str(inventory), *words])
    progress = Progress()
    if failed:
        events: list[Event] = [
            {"event": "runner_on_failed", "event_data": {"host": "m1", "task": failed, "res": {"msg": "no"}}},
            {"event": "playbook_on_stats", "event_data": {"processed": {"m1": 1}, "failures": {"m1": 1}}},
        ]
        for event in events:
            list(progress.feed(event))
    return UPGRADE.advice(code, request, progress, find_cluster(str(inventory), request.extra_vars))


def test_what_the_inventory_does_not_say_yet_is_to_be_written_there(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: {children: {masters: {hosts: {m1: }}}}\n")
    variables = tmp_path / "group_vars/all/cluster.yml"
    variables.parent.mkdir(parents=True)
    variables.write_text('cluster_name: test\ncluster_kubernetes_version: "1.36.5"\n')
    words = said(tmp_path, "--to", "1.37.2")
    assert words.startswith('Write `cluster_kubernetes_version: "1.37.2"` in ')
    assert words.endswith("cluster.yml:2 now; until then `up` refuses to run.")
    assert said(tmp_path, "--to", "1.36.5") == said(tmp_path) == said(tmp_path, "--to", "1.37.2", "--dry-run") == ""
    assert said(tmp_path, "--to", "1.37.2", code=Exit.FAILED) == ""
    variables.write_text("cluster_name: test\n")
    assert said(tmp_path, "--to", default_release()) == ""
    assert str(tmp_path) in said(tmp_path, "--to", "1.36.5")


def test_nothing_was_changed_is_said_of_the_check_only(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: {vars: {cluster_name: t}, children: {masters: {hosts: {m1: }}}}\n")
    for task in CHECKS:
        assert said(tmp_path, failed=task, code=Exit.FAILED) == "Nothing was changed."
    assert said(tmp_path, failed="Drain the hosts", code=Exit.FAILED) == ""
    files = (
        "roles/upgrade/tasks/look.yml",
        "roles/upgrade/tasks/plan.yml",
        "roles/master/tasks/upgrade_check.yml",
        "playbooks/tasks/first_run.yml",
    )
    names = {task["name"] for file in files for task in yaml.safe_load((ROOT / file).read_text())}
    assert set(CHECKS) <= names
