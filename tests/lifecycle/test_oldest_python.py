# SPDX-License-Identifier: Apache-2.0
"""What hosts run they run under Python 3.9, too, and an older one is refused: Debian 11 has both."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import ansible
import pytest
import yaml
from checkout import play
from laboratory import ROOT, docker, host_image

PACKAGES = Path(ansible.__file__).parents[1]
# What action plugins take out of the options of a task, on the control machine, and what they put in place of it.
TAKEN = {"declared", "distribution", "kinds", "manifest", "purposes", "store"}
FILLED: dict[str, dict[str, Any]] = {
    "bundle_install": {"files": []},
    "host_drift": {"files": [], "node": "node1", "nodes": False},
}
SPEC = ("missing required arguments", "Unsupported parameters")
ELSEWHERE = re.compile(r"^from ansible\.module_utils\.yunkube(\.| import )(build|cloud|control|docker)\b", re.MULTILINE)
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - host_facts:
      register: __facts
    - host_preflight_report:
        reports: {}
        facts: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, '__facts'))) }}"
      run_once: true
"""


@pytest.fixture(scope="module")
def image() -> str:
    """A host with Python 3.9, and 2.7 beside it."""
    return host_image("debian11")


def examples_of(file: Path) -> list[dict[str, Any]]:
    """Return the arguments of each task in a module's EXAMPLES that calls it."""
    body = ast.parse(file.read_text()).body
    values = {ast.unparse(one.targets[0]): one.value for one in body if isinstance(one, ast.Assign)}
    tasks = yaml.safe_load(ast.literal_eval(values["EXAMPLES"]).replace("{{ now().timestamp() }}", "1.0"))
    return [dict(task[file.stem] or {}) for task in tasks if file.stem in task]


def on_hosts() -> list[Path]:
    """Return the modules that hosts run: those that import nothing of the control machine's."""
    return [file for file in sorted((ROOT / "library").glob("*.py")) if not ELSEWHERE.search(file.read_text())]


def examples() -> list[tuple[str, dict[str, Any]]]:
    """Return every module of hosts with the arguments of each of its examples."""
    found = []
    for file in on_hosts():
        for example in examples_of(file):
            filled = FILLED.get(file.stem)
            own = {key: value for key, value in example.items() if filled is None or key not in TAKEN}
            found.append((f"/src/library/{file.name}", {**own, **(filled or {})}))
    return found


def test_every_module_of_hosts_runs_under_python_3_9(image: str) -> None:
    work = examples()
    assert len({module for module, _ in work}) > 25
    mounts = ["-v", f"{ROOT}:/src:ro", "-v", f"{PACKAGES / 'ansible'}:/packages/ansible:ro"]
    argv = ["docker", "run", "-i", "--rm", "--network", "none", *mounts, image, "python3"]
    argv += ["/src/tests/support/under_python.py", "/packages", "/src"]
    done = subprocess.run(argv, input=json.dumps(work), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["python"] == [3, 9]
    assert len(told["results"]) == len(work)
    for module, result in told["results"]:
        assert "traceback" not in result, f"{module}: {result['traceback']}"
        filled = (ROOT / "plugins/action" / Path(module).name).exists()  # options that it takes are not the module's
        for words in ("unexpected keyword", "has no attribute", *(() if filled else SPEC)):
            assert words not in str(result.get("msg")), f"{module}: {result['msg']}"


def test_older_ones_are_refused_by_their_version(image: str, tmp_path: Path) -> None:
    name = f"yunkube-oldest-python-{tmp_path.name}"
    docker("run", "--detach", "--rm", "--network", "none", "--name", name, image, "sleep", "300")
    try:
        hosts = {}
        for host, python in (("a", "python2.7"), ("b", "python3"), ("c", "python3.6")):
            path = tmp_path / f"{host}-python"
            path.write_text(f'#!/bin/sh\nexec docker exec -i {name} {python} "$@"\n')
            path.chmod(0o755)
            hosts[host] = {"ansible_connection": "local", "ansible_python_interpreter": str(path)}
        hosts["c"]["ansible_python_interpreter"] = "/usr/bin/python3.6"
        (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
        (tmp_path / "play.yml").write_text(PLAY)
        done = play(tmp_path / "hosts.yml", str(tmp_path / "play.yml"))
        assert done.returncode == 2, done.stdout
        assert f"a: python: has Python 2.7.18 at {tmp_path}/a-python; modules need 3.9 or newer" in done.stdout
        assert "c: python: has no Python at /usr/bin/python3.6; modules need 3.9 or newer" in done.stdout
        assert "b: python" not in done.stdout
    finally:
        docker("rm", "--force", name)
