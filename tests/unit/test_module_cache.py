# SPDX-License-Identifier: Apache-2.0
"""The cache of packed modules."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from load_plugin import load_plugin

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def plugin() -> t.Any:
    """The plugin, loaded as Ansible loads it: by its path."""
    return load_plugin("callback/module_cache")


def test_other_code_is_another_folder(plugin: t.Any, tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library/one.py").write_text("1")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/one.py").write_text("1")
    folders = [tmp_path / "library"]
    first = plugin.digest_of_code(folders, "2.19.1")
    assert plugin.digest_of_code(folders, "2.19.1") == first
    assert plugin.digest_of_code(folders, "2.19.2") != first
    assert plugin.digest_of_code([tmp_path / "other", *folders], "2.19.1") != first
    (tmp_path / "library/one.py").write_text("2")
    assert plugin.digest_of_code(folders, "2.19.1") != first


def test_a_folder_that_others_may_write_is_not_used(plugin: t.Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    plugin.link(tmp_path / "run", tmp_path / "cache")
    assert not (tmp_path / "run/ansiballz_cache").exists()


def test_a_run_leaves_its_packed_modules_and_the_next_uses_them(tmp_path: Path) -> None:
    playbook = tmp_path / "play.yml"
    task = "{ansible.builtin.stat: {path: /}, name: Look}"
    playbook.write_text(f"- {{hosts: localhost, gather_facts: false, tasks: [{task}]}}\n")
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")}
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local", str(playbook)]
    times = []
    for _ in range(2):
        subprocess.run(argv, env=environment, check=True, capture_output=True, timeout=60)
        packed = list(tmp_path.glob("yunkube/modules/*/*stat*none"))
        assert packed
        times.append(packed[0].stat().st_mtime_ns)
    assert times[0] == times[1]


def test_a_module_of_another_library_is_not_left_for_runs_without_it(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    fake = "from ansible.module_utils.basic import AnsibleModule\nAnsibleModule({}).exit_json(fake=True)\n"
    (tmp_path / "library/host_facts.py").write_text(fake)
    playbook = tmp_path / "play.yml"
    playbook.write_text("- {hosts: localhost, gather_facts: false, tasks: [{host_facts: {}, name: Look}]}\n")
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")}
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local", str(playbook)]
    for library in (str(tmp_path / "library"), str(PROJECT / "library")):
        environment["ANSIBLE_LIBRARY"] = library
        subprocess.run(argv, env=environment, check=False, capture_output=True, timeout=60)
    caches = {path.parent for path in tmp_path.glob("yunkube/modules/*/*host_facts*")}
    assert len(caches) == 2
