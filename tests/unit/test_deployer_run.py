# SPDX-License-Identifier: Apache-2.0
"""deploy.py as a person runs it: a checkout of its own, real playbooks on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import PATIENCE, PLAYBOOKS, Deploy, environment, start
from processes import processes_with, wait_until


def the_log(tmp_path: Path) -> str:
    (log,) = (tmp_path / "state" / "logs").iterdir()
    assert log.stat().st_mode & 0o777 == 0o600
    return log.read_text()


def test_plan_reports_changes_and_makes_none_and_up_makes_them_once(deploy: Deploy, tmp_path: Path) -> None:
    file = tmp_path / "written"
    plan = deploy("works", "plan", "-e", f"x_file={file}")
    assert plan.returncode == 5
    assert "a\n  would write a file\n" in plan.stdout
    assert "+word" not in plan.stdout
    assert "+word" in deploy("works", "plan", "-v", "-e", f"x_file={file}").stdout
    assert not file.exists()
    first = deploy("works", "up", "-e", f"x_file={file}")
    assert (first.returncode, first.stderr) == (0, "")
    assert file.read_text() == "word\n"
    assert "changed  a: Write a file" in first.stdout
    assert "Next  ./scripts/deploy.py kubectl -- get nodes" in first.stdout
    assert "\x1b" not in first.stdout
    again = deploy("works", "plan", "-e", f"x_file={file}")
    assert again.returncode == 0
    assert "No changes." in again.stdout


def test_json_is_one_event_a_line_and_nothing_else(deploy: Deploy, tmp_path: Path) -> None:
    result = deploy("works", "up", "--json", "-e", f"x_file={tmp_path / 'written'}")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [events[0]["type"], events[-1]["type"]] == ["run_started", "summary"]
    assert {"stage_started", "task_started", "result", "task_ended", "stage_ended"} <= {
        event["type"] for event in events
    }
    assert events[-1]["hosts"]["a"]["changed"] == 1
    assert all({"time", "elapsed"} <= event.keys() for event in events)


def test_a_plan_as_json_says_what_would_be_done_to_each_host(deploy: Deploy, tmp_path: Path) -> None:
    result = deploy("works", "plan", "--json", "-e", f"x_file={tmp_path / 'written'}")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[-1]["plan"] == {"a": ["write a file"]}
    assert "diff" not in {event["type"] for event in events}


def test_a_watch_looks_again_until_it_is_interrupted(checkout: Path, tmp_path: Path) -> None:
    shutil.copy(PLAYBOOKS / "reports.yml", checkout / "playbooks" / "status.yml")
    with start(checkout, "status", "--watch", "--interval", "0.1") as process:
        assert process.stdout is not None
        heads = 0
        while heads < 2:
            heads += "status, every 0.1 s" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    assert len(list((tmp_path / "state" / "logs").iterdir())) == 1


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["plain", "JSON"])
def test_a_reader_that_leaves_ends_no_change_half_done(
    checkout: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    shutil.copy(PLAYBOOKS / "works.yml", checkout / "site.yml")
    with start(checkout, "up", *options, "-e", f"x_file={tmp_path / 'written'}") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(timeout=PATIENCE)
    assert (process.returncode, errors, (tmp_path / "written").exists()) == (0, "", True)


def test_an_interval_without_a_watch_is_refused(deploy: Deploy) -> None:
    assert deploy("works", "status", "--interval", "3").returncode == 2


def test_a_failed_task_ends_with_3_and_its_secret_is_nowhere(deploy: Deploy, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.yml"
    secrets.write_text("x_password: canary-4711\n")
    result = deploy("fails", "up", "-vv", "-e", f"@{secrets}")
    assert result.returncode == 3
    assert "a: Fail failed" in result.stderr
    assert "site.yml:6" in result.stderr
    assert "cannot log in with [redacted], token [redacted]" in result.stderr
    everything = result.stdout + result.stderr + the_log(tmp_path)
    assert "cannot log in" in the_log(tmp_path)
    assert "canary-4711" not in everything
    assert "0123456789abcdef" not in everything


def test_an_unreachable_host_ends_with_4_and_the_others_are_reported(deploy: Deploy) -> None:
    result = deploy("far", "up", "-e", "ansible_ssh_retries=3")  # as the hosts of a person have it
    assert result.returncode == 4
    assert "far is unreachable" in result.stderr
    assert "nothing listens on 127.0.0.1 port 1" in result.stderr
    assert "The others: a done so far (0 changed), c done so far (0 changed)." in result.stderr


def test_no_reason_is_invented_where_ansible_drops_what_ssh_said(deploy: Deploy, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"  # as a real one under load: it closes its input, and ends a moment later
    ssh.write_text("#!/bin/sh\nexec 0<&-\nsleep 0.5\necho 'Connection refused' >&2\nexit 255\n")
    ssh.chmod(0o700)
    settings = {"ansible_ssh_executable": ssh, "ansible_pipelining": True}
    result = deploy("module", "up", "--limit", "far", *(f"-e{name}={value}" for name, value in settings.items()))
    assert result.returncode == 4
    assert "cause   ssh ended before it took the task, and Ansible does not pass on what ssh said" in result.stderr


def test_a_playbook_that_does_not_parse_ends_with_2_and_its_place(deploy: Deploy) -> None:
    result = deploy("does_not_parse", "up")
    assert result.returncode == 2
    assert "conflicting action statements" in result.stderr
    assert "site.yml:5:7" in result.stderr


def test_a_limit_that_matches_nothing_ends_with_2_and_runs_nothing(deploy: Deploy, tmp_path: Path) -> None:
    result = deploy("works", "up", "--limit", "nodeone", "-e", f"x_file={tmp_path / 'written'}")
    assert result.returncode == 2
    assert "No host matches --limit nodeone" in result.stderr
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_with_130_and_leaves_no_process(checkout: Path, tmp_path: Path, signum: int) -> None:
    shutil.copy(PLAYBOOKS / "sleeps.yml", checkout / "site.yml")
    seconds = f"77.{os.getpid()}{signum}"
    process = start(checkout, "up", "-e", f"x_seconds={seconds}")
    wait_until(lambda: processes_with(f"sleep {seconds}"))
    process.send_signal(signum)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Run the same command again: it continues where it stopped." in err
    assert not processes_with(seconds) + processes_with(str(checkout))
    assert "exit code 130" in the_log(tmp_path)


def test_a_run_that_was_killed_leaves_no_process_behind_for_long(checkout: Path) -> None:
    shutil.copy(PLAYBOOKS / "sleeps.yml", checkout / "site.yml")
    seconds = f"76.{os.getpid()}"
    process = start(checkout, "up", "-e", f"x_seconds={seconds}")
    wait_until(lambda: processes_with(f"sleep {seconds}"))
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: not processes_with(seconds) + processes_with(str(checkout)))


def test_what_a_killed_run_leaves_holds_no_key_of_a_cloud(checkout: Path, tmp_path: Path) -> None:
    shutil.copy(PLAYBOOKS / "sleeps.yml", checkout / "site.yml")
    seconds, secret = f"75.{os.getpid()}", f"canary-{os.getpid()}"
    memory = tmp_path / "memory"
    memory.mkdir()
    key = {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret, "XDG_RUNTIME_DIR": str(memory)}
    process = start(checkout, "up", "-e", f"x_seconds={seconds}", **key)
    wait_until(lambda: processes_with(f"sleep {seconds}"))
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: not processes_with(seconds))
    files = [path for folder in (memory, tmp_path / "state") for path in folder.rglob("*") if path.is_file()]
    assert "command" in {path.name for path in files}
    assert [path for path in files if secret in path.read_text(errors="replace")] == []


def test_a_run_that_takes_too_long_ends_with_124(deploy: Deploy) -> None:
    seconds = f"78.{os.getpid()}"
    result = deploy("sleeps", "up", "--timeout", "3", "-e", f"x_seconds={seconds}")
    assert result.returncode == 124
    assert "Stopped after 3 seconds" in result.stderr
    assert not processes_with(seconds)


RELEASE = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        content: "{{ lookup('ansible.builtin.env', 'YUNKUBE_RUN') }} for {{ x_seconds | default('') }}"
        dest: "{{ lookup('ansible.builtin.env', 'X_RELEASED') }}"
        mode: "0600"
"""


@pytest.fixture
def released(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the run that gives the claim back writes which one it is."""
    (checkout / "playbooks/release.yml").write_text(RELEASE)
    file = tmp_path / "released"
    monkeypatch.setenv("X_RELEASED", str(file))
    return file


def test_a_run_that_fails_gives_its_claim_back(deploy: Deploy, released: Path, tmp_path: Path) -> None:
    result = deploy("fails", "up", "--limit", "a", "-e", "x_password=secret", "-e", "x_seconds=1")
    assert result.returncode == 3
    run, _, more = released.read_text().partition(" for ")
    assert json.loads(run)["verb"] == "up"
    assert more == "1", "with the variables of the run"
    assert "released" not in the_log(tmp_path) + result.stdout + result.stderr


def test_a_run_that_succeeds_or_reaches_no_host_releases_nothing(deploy: Deploy, released: Path) -> None:
    assert deploy("works", "up", "-e", f"x_file={released.with_name('written')}").returncode == 0
    assert deploy("works", "up", "--limit", "nodeone").returncode == 2
    assert deploy("does_not_parse", "up").returncode == 2
    assert deploy("fails", "plan", "-e", "x_password=secret").returncode == 3
    assert not released.exists()


def test_a_run_that_is_stopped_gives_its_claim_back(checkout: Path, released: Path) -> None:
    shutil.copy(PLAYBOOKS / "sleeps.yml", checkout / "site.yml")
    seconds = f"75.{os.getpid()}"
    process = start(checkout, "up", "-e", f"x_seconds={seconds}")
    wait_until(lambda: processes_with(f"sleep {seconds}"))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert seconds in released.read_text()


def test_two_runs_on_one_cluster_are_refused_with_2(checkout: Path, deploy: Deploy) -> None:
    shutil.copy(PLAYBOOKS / "sleeps.yml", checkout / "site.yml")
    seconds = f"79.{os.getpid()}"
    first = start(checkout, "up", "-e", f"x_seconds={seconds}")
    # Until then the first one may not have read site.yml, which the second one replaces.
    wait_until(lambda: processes_with(f"sleep {seconds}"))
    second = deploy("works", "up")
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=PATIENCE)
    assert second.returncode == 2
    assert f"(pid {first.pid})" in second.stderr


def test_nothing_of_a_run_stays_not_even_of_one_that_was_killed(
    deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    killed = tmp_path / "state" / "run" / "999999999-killed"
    killed.mkdir(parents=True)
    (killed / "extravars").touch()
    assert deploy("works", "up", "-e", f"x_file={tmp_path / 'written'}").returncode == 0
    assert list(temporary.iterdir()) == []
    assert list((tmp_path / "state" / "run").iterdir()) == []


def test_down_asks_and_where_it_cannot_it_refuses(deploy: Deploy) -> None:
    result = deploy("works", "down")
    assert result.returncode == 2
    assert "--yes" in result.stderr


def test_kubectl_becomes_the_clusters_own(deploy: Deploy, tmp_path: Path) -> None:
    early = deploy("works", "kubectl", "--", "get", "nodes")
    assert early.returncode == 3
    assert "cluster test does not exist yet" in early.stderr
    assert "./scripts/deploy.py up" in early.stderr
    stub = tmp_path / "state" / "bin" / "kubectl"
    stub.parent.mkdir(parents=True)
    stub.write_text('#!/bin/sh\necho "$KUBECONFIG" "$@"\nexit 7\n')
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "state" / "kubeconfig").touch()
    result = deploy("works", "kubectl", "--", "get", "pods", "-A")
    assert result.returncode == 7
    assert result.stdout == f"{tmp_path}/state/kubeconfig get pods -A\n"


REMOVER = """
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({"ask": {"type": "bool"}, "prune": {}})
found = [{"host": "Deployment default/shop", "message": "no longer declared, and would be removed"}]
if module.params["ask"]:
    module.fail_json(msg="x", kind="removals", faults=found)
module.exit_json(changed=True, changes=["remove Deployment default/shop as " + module.params["prune"]])
"""


@pytest.fixture
def remover(checkout: Path) -> Path:
    """A playbook whose module would remove something, and asks first if its option says so."""
    (checkout / "library" / "web_services.py").write_text(REMOVER)
    (checkout / "playbooks" / "web_services.yml").write_text(
        "- name: Web services\n  hosts: a\n  gather_facts: false\n  tasks:\n    - name: Deploy\n      web_services:\n"
        '        ask: "{{ web_service_prune_ask }}"\n        prune: "{{ web_service_prune }}"\n'
    )
    return checkout


def at_a_terminal(checkout: Path, answer: str, *arguments: str) -> tuple[int, str]:
    """Run it at a terminal, answer its question, and return its exit code and what the terminal showed."""
    master, slave = pty.openpty()
    argv = [sys.executable, str(checkout / "scripts" / "deploy.py"), *arguments]
    process = subprocess.Popen(
        argv, cwd=checkout, env=environment(), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    os.write(master, answer.encode())
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while block := os.read(master, 65536):
            shown += block
    os.close(master)
    return process.wait(timeout=PATIENCE), shown.decode()


def test_a_removal_is_shown_and_asked_for_at_a_terminal(remover: Path) -> None:
    code, shown = at_a_terminal(remover, "n\n", "web", "apply")
    assert (code, "Deployment default/shop" in shown, "Nothing was changed." in shown) == (2, True, True), shown
    code, shown = at_a_terminal(remover, "y\n", "web", "apply")
    assert (code, "1 changed" in shown) == (0, True), shown


def test_a_script_must_agree_to_a_removal_beforehand(remover: Path) -> None:
    for options, code, words in (
        ((), 2, "Deployment default/shop: no longer declared, and would be removed"),
        (("--yes",), 0, "remove Deployment default/shop as services"),
        (("--yes", "--prune-data"), 0, "remove Deployment default/shop as data"),
    ):
        with start(remover, "web", "apply", *options) as process:
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, out + err
        assert words in out + err
