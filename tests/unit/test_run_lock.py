# SPDX-License-Identifier: Apache-2.0
"""The lock that plain ansible-playbook takes; with real runs of the project's playbooks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.control import state_lock

ROOT = Path(__file__).resolve().parents[2]
# A web service list that blocks the run until somebody writes to the pipe.
BLOCKED = "{{ lookup('ansible.builtin.pipe', 'cat ' ~ x_fifo) or none }}"


class Lab:
    """An inventory of this machine, and a state directory."""

    def __init__(self, folder: Path) -> None:
        """Write the inventory."""
        self.state = folder / "state/abc"
        self.fifo = folder / "fifo"
        os.mkfifo(self.fifo)
        variables = {
            "cluster_name": "abc",
            "cluster_state_dir": f"{folder}/state/{{{{ cluster_name }}}}",
            "ansible_connection": "local",
            "cluster_provider": "existing",
            "x_fifo": str(self.fifo),
        }
        inventory = {"all": {"vars": variables, "children": {"masters": {"hosts": {"m1": None}}}}}
        self.inventory = folder / "hosts.yml"
        self.inventory.write_text(json.dumps(inventory))

    def start(self, playbook: str, *options: str, **environment: str) -> subprocess.Popen[str]:
        """Start ansible-playbook as the README has it."""
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.inventory), playbook, *options]
        clean = {key: value for key, value in os.environ.items() if key != state_lock.VARIABLE}
        return subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**clean, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, playbook: str, *options: str, **environment: str) -> tuple[int, str]:
        """Run it to its end; return the exit code and what it printed."""
        with self.start(playbook, *options, **environment) as process:
            said, _ = process.communicate(timeout=60)
        return process.returncode, said


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """An inventory of this machine."""
    return Lab(tmp_path)


def test_one_playbook_at_a_time_and_a_killed_one_does_not_block_the_next(lab: Lab) -> None:
    with lab.start("playbooks/web_services.yml", "-e", json.dumps({"web_services": BLOCKED})) as first:
        with lab.fifo.open("w"):  # it waits at its first task now, and goes on waiting
            code, said = lab.run("playbooks/web_services.yml")
            assert code == 2, said
            since = r"since 20\d\d-\d\d-\d\d [\d:]+ UTC"
            assert re.search(rf"`web_services` \(pid {first.pid}\) has been running on this cluster {since}", said)
            assert "PLAY RECAP" not in said
            first.kill()
            first.wait(20)
            code, said = lab.run("playbooks/web_services.yml")
            assert code == 2, "its worker goes on, and may still start a module on a host"
        for _ in range(30):
            code, said = lab.run("playbooks/web_services.yml")
            if code == 0:
                break
        assert code == 0, said


@pytest.mark.parametrize(
    ("playbook", "options", "refused"),
    [
        ("site.yml", [], True),
        ("playbooks/down.yml", [], True),
        ("playbooks/verify.yml", [], True),
        ("playbooks/doctor.yml", ["-e", "troubleshoot_fix=true"], True),
        ("playbooks/web_services.yml", ["--check"], False),
        ("playbooks/doctor.yml", ["-e", "troubleshoot_fix=false", "--tags", "none"], False),
        ("playbooks/status.yml", ["--tags", "none"], False),
        ("playbooks/support-bundle.yml", ["--tags", "none"], False),
    ],
)
def test_what_changes_something_is_refused_and_what_reads_goes_on(
    lab: Lab, playbook: str, options: list[str], *, refused: bool
) -> None:
    with state_lock.held(lab.state, "up"):
        code, said = lab.run(playbook, *options)
    assert (f"`up` (pid {os.getpid()}) has been running on this cluster" in said) == refused, said
    assert code == 2 if refused else "PLAY" in said, said


def test_below_deploy_py_the_lock_is_that_of_deploy_py(lab: Lab) -> None:
    with state_lock.held(lab.state, "web apply"):
        run = os.environ[state_lock.VARIABLE]
        code, said = lab.run("playbooks/web_services.yml", **{state_lock.VARIABLE: run})
    assert code == 0, said
    assert state_lock.VARIABLE not in os.environ


def test_a_run_is_described_for_those_who_meet_it(tmp_path: Path) -> None:
    run = state_lock.describe(tmp_path / "lock", "up")
    assert re.fullmatch(r".+@.+", run["owner"])
    again = state_lock.describe(tmp_path / "lock", "down")
    assert again["origin"] == run["origin"], "the next run of this control machine"
    assert state_lock.describe(tmp_path / "other/lock", "up")["origin"] != run["origin"]


def test_modules_are_given_the_run(lab: Lab) -> None:
    """`cluster_run`, which the roles hand to the modules on the control plane host."""
    playbook = lab.inventory.with_name("show.yml")
    tasks: list[dict[str, t.Any]] = [
        {"ansible.builtin.include_role": {"name": "cluster", "public": True}},
        {"ansible.builtin.debug": {"msg": "owner={{ cluster_run.owner | default('nobody') }}."}},
    ]
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    assert "owner=nobody." in lab.run(str(playbook))[1]
    run = json.dumps(state_lock.describe(lab.state / "lock", "up") | {"owner": "alice@laptop"})
    assert "owner=alice@laptop." in lab.run(str(playbook), **{state_lock.VARIABLE: run})[1]


def test_the_defaults_that_it_reads_are_still_templates_for_the_roles(lab: Lab) -> None:
    wrong = {"cluster_provider": "existing", "cluster_dns_domain": "-"}
    code, said = lab.run("playbooks/hosts.yml", "-e", json.dumps(wrong))
    assert code == 2, said
    assert "cluster_dns_domain" in said
    assert "groups['masters']" not in said
