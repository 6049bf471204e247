# SPDX-License-Identifier: Apache-2.0
"""The turns of hosts: in batches, a host that fails is put back, those beside it go on, and no further batch begins.

The plays, the role `upgrade` and Ansible are real; its modules only note what they are asked for, and the roles that
install a host are the test's.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import ROOT, environment

MODULE = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({name: {"type": "raw"} for name in NAMES}, supports_check_mode=True)
params = module.params
with open("LOG", "a") as log:
    log.write(" ".join([params["state"], *sorted(params.get("nodes") or [params.get("node")])]) + "\\n")
if params["state"] in FAIL.get(params.get("node") or "", []):
    module.fail_json(msg=(params.get("node") or "it") + " is not Ready")
module.exit_json(changed=True, changes=[], summary=str(params.get("cause")) + "; it works again")
"""
TURN = ("nodes", "state", "force", "delete_emptydir_data", "timeout", "cluster", "cluster_id")
UPGRADE = (
    "state",
    "node",
    "version",
    "files",
    "paths",
    "units",
    "patches",
    "namespaces",
    "cause",
    "timeout",
    "cluster",
    "cluster_id",
)
PLAYS = {play["name"]: play for play in yaml.safe_load((ROOT / "playbooks/upgrade.yml").read_text())}


def run(
    tmp_path: Path, play: str, hosts: int, failing: dict[str, list[str]], batch: str = "2", unreachable: str = ""
) -> tuple[list[str], str]:
    """Run a play of the playbook on so many hosts; return what was done in its order, and what Ansible printed."""
    log = tmp_path / "log"
    log.touch()
    (tmp_path / "library").mkdir()
    for name, options in (("node_turn", TURN), ("node_upgrade", UPGRADE)):
        text = MODULE.replace("LOG", str(log)).replace("FAIL", repr(failing)).replace("NAMES", repr(options))
        (tmp_path / f"library/{name}.py").write_text(text)
    note = {"path": str(log), "line": "install {{ inventory_hostname }}", "insertafter": "EOF"}
    install = [{"name": "Install it", "ansible.builtin.lineinfile": note, "throttle": 1}]
    for name in ("prepare_host", "container_runtime", "kubelet", "backup"):
        tasks = tmp_path / f"roles/{name}/tasks"
        tasks.mkdir(parents=True)
        for file in ("main.yml", "host.yml"):
            (tasks / file).write_text(yaml.safe_dump(install if (name, file) == ("kubelet", "main.yml") else []))
    names = [f"n{number}" for number in range(1, hosts + 1)]
    variables: dict[str, dict[str, Any]] = {
        name: {"ansible_connection": "local", "host_drift": {"host": ["install kubelet"]}} for name in names
    }
    if unreachable:
        variables[unreachable] |= {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    groups = {"masters": {"hosts": {"m1": {"ansible_connection": "local"}}}, "nodes": {"hosts": variables}}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"children": groups}}))
    (task,) = PLAYS[play]["tasks"]
    tasks_file = str(ROOT / "playbooks" / task["ansible.builtin.import_tasks"])
    entry = {**PLAYS[play], "hosts": "nodes", "tasks": [{**task, "ansible.builtin.import_tasks": tasks_file}]}
    after = {"name": "After", "hosts": "nodes", "gather_facts": False, "tasks": [
        {"name": "Go on", "ansible.builtin.debug": {"msg": "went on"}}]}  # fmt: skip
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(yaml.safe_dump([{key: value for key, value in entry.items() if key != "vars"}, after]))
    service = {"name": "x.service", "files": [{"path": "/etc/x"}]}
    extra = {
        "cluster_name": "test", "cluster_id": "0123456789abcdef",
        "cluster_bundle_manifest": str(tmp_path / "manifest.json"),
        "cluster_purposes": ["node"], "cluster_host_patches": [], "upgrade_batch": batch, "ansible_become": False,
        "container_runtime_service": service, "kubelet_service": service,
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps({"files": []}))
    (tmp_path / "extra.json").write_text(json.dumps(extra))
    argv = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(tmp_path / "hosts.yml"), str(playbook)]
    argv += ["-e", f"@{tmp_path / 'extra.json'}"]
    more = {
        "XDG_CACHE_HOME": str(tmp_path),
        "ANSIBLE_LIBRARY": f"{tmp_path}/library:{ROOT}/library",
        "ANSIBLE_ROLES_PATH": f"{tmp_path}/roles:{ROOT}/roles",
        "ANSIBLE_SSH_RETRIES": "0",
    }
    done = subprocess.run(argv, cwd=ROOT, env=environment() | more, capture_output=True, text=True, check=False)
    return log.read_text().splitlines(), " ".join((done.stdout + done.stderr).split())


def turn(*nodes: str) -> list[list[str]]:
    """Return the steps of a batch; those of a step are in any order."""
    return [
        [f"drained {' '.join(nodes)}"],
        *([f"{step} {node}" for node in nodes] for step in ("kept", "install", "proved")),
        [f"schedulable {' '.join(nodes)}"],
    ]


def in_steps(done: list[str]) -> list[list[str]]:
    """Gather what was done by its word, as hosts of a batch do it side by side."""
    steps: list[list[str]] = []
    for line in done:
        if steps and steps[-1][0].split()[0] == line.split()[0]:
            steps[-1] = sorted([*steps[-1], line])
        else:
            steps.append([line])
    return steps


def test_batches_go_one_after_the_other(tmp_path: Path) -> None:
    done, told = run(tmp_path, "Nodes, in batches", 3, {})
    assert in_steps(done) == turn("n1", "n2") + turn("n3"), told
    assert "went on" in told


def test_masters_go_one_at_a_time(tmp_path: Path) -> None:
    done, told = run(tmp_path, "Masters, one at a time", 2, {})
    assert in_steps(done) == turn("n1") + turn("n2"), told


def test_one_that_fails_is_put_back_and_the_next_batch_does_not_begin(tmp_path: Path) -> None:
    done, told = run(tmp_path, "Nodes, in batches", 4, {"n2": ["proved"]})
    first = turn("n1", "n2")
    assert in_steps(done) == [*first[:-1], ["reverted n2"], first[-1]], told
    assert "n2 is not Ready; it works again. Correct that, then run `upgrade` again" in told
    assert "went on" not in told
    assert "n1 : ok" in told
    assert "n1 : ok=0" not in told
    assert "n1 is not" not in told


def test_a_drain_that_fails_ends_the_turn_before_anything_is_replaced(tmp_path: Path) -> None:
    done, told = run(tmp_path, "Nodes, in batches", 3, {"": ["drained"]})
    assert done == ["drained n1 n2"], told  # which itself lets them take pods again
    assert "it is not Ready" in told
    assert "went on" not in told


@pytest.mark.parametrize("batch", ["1", "2"])
def test_after_one_that_cannot_be_reached_no_batch_begins(tmp_path: Path, batch: str) -> None:
    done, told = run(tmp_path, "Nodes, in batches", 4, {}, batch, unreachable="n1")
    assert not [line for line in done if "n3" in line or "n4" in line], told
    assert "n1 : ok=" in told
    assert "unreachable=1" in told


def test_hosts_go_in_the_order_of_the_plan_and_in_a_dry_run_none_does(tmp_path: Path) -> None:
    nodes, masters = [f"n{number}" for number in range(9)], ["m1", "m2"]
    found = {"masters": ["m2", "m1"], "hosts": ["m1", "m2", *reversed(nodes)]}
    know = {"name": "Know the plan", "ansible.builtin.set_fact": {"upgrade_plan": found}, "check_mode": False}
    plays: list[dict[str, Any]] = [{"hosts": "masters:nodes", "gather_facts": False, "tasks": [know]}]
    say = [{"name": "Say it", "ansible.builtin.debug": {"msg": "{{ inventory_hostname }}-turn"}}]
    of_plan = [play for play in PLAYS.values() if "__plan" in play.get("vars", {})]
    plays += [{**play, "become": False, "serial": 1, "tasks": say} for play in of_plan]
    groups = {"masters": {"hosts": dict.fromkeys(masters)}, "nodes": {"hosts": dict.fromkeys(nodes)}}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"children": groups}}))
    (tmp_path / "playbook.yml").write_text(yaml.safe_dump(plays))
    argv = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "playbook.yml")]

    def turns(*options: str) -> list[str]:
        done = subprocess.run(
            [*argv, *options], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return re.findall(r"(\w+)-turn", done.stdout)

    images, snapshot, control_plane = found["hosts"], found["masters"], found["masters"]
    assert turns() == [*images, *snapshot, *control_plane, *masters, *reversed(nodes)]
    assert turns("--check") == []
