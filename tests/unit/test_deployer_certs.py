# SPDX-License-Identifier: Apache-2.0
"""`certs renew`: its options, its table, and what it says of a run that failed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from deployer.arguments import parse
from deployer.cluster import Cluster
from deployer.commands import PLAYS
from deployer.commands.certs_renew import CHECK, render
from deployer.errors import Exit
from deployer.happenings import HostCount, Summary
from deployer.inventory import Source
from deployer.progress import Event, Progress
from deployer.session import may_change
from deployer.views.summary import Printer

ROOT = Path(__file__).resolve().parents[2]
ROW = {"check": "/etc/kubernetes/pki/apiserver.crt", "target": "master1", "ok": True, "before": 12, "after": 364}


def test_options_become_variables() -> None:
    assert parse(["certs", "renew"]).extra_vars == {}
    assert parse(["certs", "renew", "--within", "180"]).extra_vars == {"cluster_renew_days": 180}
    assert parse(["certs", "renew", "--all"]).extra_vars == {"cluster_renew_all": True}
    dry = parse(["certs", "renew", "--dry-run"])
    assert dry.dry_run
    assert not may_change(PLAYS["certs renew"], dry)
    assert may_change(PLAYS["certs renew"], parse(["certs", "renew"]))


@pytest.mark.parametrize("words", [("--within", "0"), ("--within", "x"), ("--within=-1",), ("--all", "--within", "9")])
def test_wrong_options_are_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["certs", "renew", *words])
    assert ended.value.code == 2
    assert "number of days" in capsys.readouterr().err or "--all" in words


def shown(changed: int, *, dry_run: bool = False) -> str:
    """Return what a person reads at the end."""
    out = io.StringIO()
    hosts = {"master1": HostCount(ok=3, changed=changed)}
    render(Printer(out), Summary("certs renew", 0, 1.0, (), hosts, (), (ROW,), {}, "log", "", dry_run=dry_run))
    return out.getvalue()


def test_the_table_has_the_days_before_and_after() -> None:
    lines = [line.split() for line in shown(1).splitlines() if line]
    assert lines[0] == ["Certificate", "Host", "Days", "before", "Days", "after"]
    assert lines[1] == ["/etc/kubernetes/pki/apiserver.crt", "master1", "12", "364"]
    assert len(lines) == 2
    assert "Nothing was due." in shown(0)
    assert "Would be" in shown(1, dry_run=True)


def failed(task: str) -> Progress:
    """Return the progress of a run in which a task failed."""
    progress = Progress()
    events: list[Event] = [
        {"event": "runner_on_failed", "event_data": {"host": "master1", "task": task, "res": {"msg": "no"}}},
        {"event": "playbook_on_stats", "event_data": {"processed": {"master1": 1}, "failures": {"master1": 1}}},
    ]
    for event in events:
        list(progress.feed(event))
    return progress


def test_nothing_was_changed_is_said_of_a_check_only(tmp_path: Path) -> None:
    cluster = Cluster("t", Source(tmp_path), tmp_path)
    words = PLAYS["certs renew"].advice
    request = parse(["certs", "renew"])
    assert words(Exit.FAILED, request, failed(CHECK), cluster) == "Nothing was changed."
    assert words(Exit.FAILED, request, failed("Renew the certificates of the control plane"), cluster) == ""
    assert words(Exit.OK, request, Progress(), cluster) == ""
    (task,) = yaml.safe_load((ROOT / "roles/master/tasks/certificates_check.yml").read_text())
    assert task["name"] == CHECK
