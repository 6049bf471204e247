# SPDX-License-Identifier: Apache-2.0
"""A host whose Python is missing or too old is a fault like any other: told with its version, before a change."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.control.host_python import NAMES, OLDEST, fault, question
from checkout import ROOT, Deploy, play

OLD = """#!/bin/sh
# As Python 3.6 answers: it runs what it is given with -c, and no module of Ansible.
if [ "$1" = -c ]; then echo "found {version}"; exit 0; fi
cat >/dev/null
echo 'SyntaxError: future feature annotations is not defined' >&2
exit 1
"""
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - host_facts:
      register: __facts
    - host_preflight_report:
        reports: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'own'))) }}"
        facts: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, '__facts'))) }}"
      run_once: true
    - ansible.builtin.copy: {dest: "{{ inventory_dir }}/{{ inventory_hostname }}.changed", content: ""}
"""


def program(path: Path, text: str) -> str:
    """Write a program and return its path."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def asked(python: str, *folders: Path) -> str:
    """Return what a host's shell answers."""
    argv = ["/bin/sh", "-c", question(python, [str(folder) for folder in folders])]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_a_python_that_is_new_enough_has_no_fault() -> None:
    assert fault(sys.executable, asked(sys.executable)) is None
    assert fault("p", "there\nfound 3.10.2\n") is None
    assert fault("p", f"there\nfound {OLDEST}.0\n") is None


@pytest.mark.parametrize("version", ["2.7.18", "3.6.8", "3.8.10"])
def test_an_old_one_is_told_with_its_version(tmp_path: Path, version: str) -> None:
    python = program(tmp_path / "python3", OLD.format(version=version))
    found = fault(python, asked(python))
    assert found is not None
    assert found.message == f"has Python {version} at {python}; modules need 3.9 or newer"
    assert "install Python 3.9 or newer on it" in found.remedy


def test_a_missing_one_is_told_and_a_newer_one_is_offered(tmp_path: Path) -> None:
    found = fault("/usr/bin/python3.77", asked("/usr/bin/python3.77"))
    assert found is not None
    assert found.message.startswith("has no Python at /usr/bin/python3.77; ")
    for name in NAMES[:3]:
        program(tmp_path / name, "#!/bin/sh\n")
    program(tmp_path / NAMES[3], "#!/bin/sh\nexit 127\n")  # there, and not whole
    found = fault("/usr/bin/python3.77", asked("/usr/bin/python3.77", tmp_path))
    assert found is not None
    assert found.remedy == f"set ansible_python_interpreter to {tmp_path}/{NAMES[2]}, which the host has"


def test_one_that_does_not_run_speaks_for_itself(tmp_path: Path) -> None:
    python = program(tmp_path / "python3", "#!/bin/sh\nexit 7\n")
    assert fault(python, asked(python)) is None


def test_all_hosts_are_told_at_once_and_none_is_changed(tmp_path: Path) -> None:
    old = program(tmp_path / "old", OLD.format(version="3.6.8"))
    small = {"faults": [{"check": "memory", "message": "has 1 MB", "remedy": "more"}]}
    hosts: dict[str, dict[str, object]] = {
        "a": {"ansible_python_interpreter": old},
        "b": {"ansible_python_interpreter": sys.executable, "own": small},
        "c": {"ansible_python_interpreter": f"{tmp_path}/none"},
        "d": {"ansible_python_interpreter": sys.executable},
    }
    each: dict[str, object] = {"ansible_connection": "local", "own": {}}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"hosts": {name: {**each, **host} for name, host in hosts.items()}}}))
    (tmp_path / "play.yml").write_text(PLAY)
    done = play(inventory, str(tmp_path / "play.yml"))
    assert done.returncode == 2, done.stdout
    for words in (
        f"a: python: has Python 3.6.8 at {old}",
        "b: memory: has 1 MB",
        f"c: python: has no Python at {tmp_path}",
    ):
        assert words in done.stdout, done.stdout
    assert list(tmp_path.glob("*.changed")) == []


def test_and_facts_are_gathered_as_ever(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "own": {}}
    inventory.write_text(json.dumps({"all": {"hosts": {"a": host}}}))
    more = (
        "    - ansible.builtin.debug: {msg: \"{{ ansible_facts['os_family'] }} {{ ansible_facts['default_ipv4'] }}\"}\n"
    )
    again = "- hosts: all\n  tasks: []\n"
    (tmp_path / "play.yml").write_text(PLAY + more + again)
    done = play(inventory, str(tmp_path / "play.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"msg: .*Debian .*address", done.stdout, re.DOTALL), done.stdout
    assert "Gathering Facts" not in done.stdout  # plays that follow gather none


def test_the_check_of_the_hosts_is_the_first_that_touches_them() -> None:
    for name in ("playbooks/prepare.yml", "playbooks/add.yml"):
        for text in re.split(r"(?m)^- name: ", (ROOT / name).read_text()):
            if "tasks_from: preflight.yml" in text:
                assert "gather_facts: false" in text, name
                assert text.index("tasks_from: preflight.yml") == text.index("tasks_from:"), name


def test_verbs_that_check_no_hosts_say_it_as_plainly(deploy: Deploy, tmp_path: Path) -> None:
    python = program(tmp_path / "python", OLD.format(version="3.6.8"))
    result = deploy("no_facts", "up", "-e", f"ansible_python_interpreter={python}")
    assert result.returncode == 3
    assert re.search(r"  cause   (\S+: )?Python is too old: modules need 3.9 or newer\n", result.stderr)
    assert (
        "  remedy  install Python 3.9 or newer on this host, and set ansible_python_interpreter to it" in result.stderr
    )
