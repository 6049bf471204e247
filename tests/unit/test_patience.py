# SPDX-License-Identifier: Apache-2.0
"""Every time limit of hosts' code follows from one factor, and every play hands it over."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.host import patience

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "module_utils/yunkube"
FILES = sorted(path for room in ("host", "teardown", "kube", "web", "doctor") for path in (SHARED / room).rglob("*.py"))
LIMITS = ("PATIENCE", "WAIT", "CONNECT", "SECONDS", "TIMEOUT", "GONE", "KNOWN", "END", "UNKNOWN_NODE")
# What is no limit on how long something may take.
OTHERS = {
    "join_paths.PAUSE_SECONDS",  # between two tries
    "objects.PATIENCE",  # how long a deletion is not called a fault
    "kubeadm.start_kubelet",  # how long a kubelet that has started is watched, also where all goes well
    "pods.WAIT",  # how long a pod is not called a fault, by facts that were read before
}
# They apply the factor themselves, or hand the limit to KubeApi, which does.
APPLIED_INSIDE = {"api.__init__", "api.from_file", "cluster_values.values_of", "repair_work.wait"}
# Seconds that no host needs: how far a clock may be off.
NOT_BY_SPEED = {"prepare_host_max_skew_seconds"}


def number(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and bool(node.value)


def defaults(function: ast.FunctionDef) -> list[tuple[str, ast.expr | None]]:
    """Return the arguments of a function that have defaults, with these."""
    given = function.args
    usual = given.args[len(given.args) - len(given.defaults) :]
    pairs = [*zip(usual, given.defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return [(argument.arg, value) for argument, value in pairs]


def plain(node: ast.AST) -> list[str]:
    """Return the time limits that are plain numbers in one part of a program."""
    if isinstance(node, ast.Assign) and number(node.value):
        return [target.id for target in node.targets if isinstance(target, ast.Name) and target.id.endswith(LIMITS)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and number(node.right):
        return [ast.unparse(node)] if "monotonic()" in ast.unparse(node.left) else []
    if isinstance(node, ast.Call) and "KubeApi" not in ast.unparse(node.func):
        given = [word for word in node.keywords if word.arg in ("timeout", "seconds") and number(word.value)]
        return [f"{ast.unparse(node.func)}({ast.unparse(word)})" for word in given]
    if isinstance(node, ast.FunctionDef):
        return [node.name for name, value in defaults(node) if name in ("timeout", "seconds") and number(value)]
    return []


def limits(source: str, module: str) -> list[str]:
    """Return every time limit in a file that is a plain number."""
    return [f"{module}.{limit}" for node in ast.walk(ast.parse(source)) for limit in plain(node)]


def test_a_limit_that_is_a_plain_number_is_found() -> None:
    source = (
        "PATIENCE = 15.0\nA = scaled(3)\nd = time.monotonic() + 5\nrun(a, timeout=10)\n"
        "KubeApi.from_file(timeout=5)\ndef f(a, seconds: float = 2): ...\n"
    )
    assert limits(source, "m") == ["m.PATIENCE", "m.f", "m.time.monotonic() + 5", "m.run(timeout=10)"]


def test_no_time_limit_of_hosts_code_stands_outside_the_factor() -> None:
    found = {limit for file in FILES for limit in limits(file.read_text(), file.stem)}
    assert found == OTHERS | APPLIED_INSIDE


def test_the_factor_counts_for_the_constants_of_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from ansible.module_utils.yunkube.host.patience import scaled; print(scaled(4))"
    code = f"import runpy; runpy.run_path('plugins/rooms.py'); {code}"
    monkeypatch.setenv(patience.VARIABLE, "2.5")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) == 10


@pytest.mark.parametrize("text", ["", "1", "1.0"])
def test_without_a_factor_a_limit_is_what_it_says(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(patience.VARIABLE, text)
    assert patience.scaled(15) == 15


def test_every_play_hands_the_factor_to_its_modules() -> None:
    plays = [
        (file.name, play)
        for file in (ROOT / "site.yml", *sorted((ROOT / "playbooks").glob("*.yml")))
        for play in yaml.safe_load(file.read_text())
        if "hosts" in play
    ]
    assert len(plays) > 30
    wanted = {patience.VARIABLE: "{{ cluster_slow_factor | default(1) }}"}
    assert [f"{file}: {play['name']}" for file, play in plays if play.get("environment") != wanted] == []


def test_every_time_limit_of_a_role_follows_from_the_factor() -> None:
    found: dict[str, str] = {}
    for file in sorted((ROOT / "roles").glob("*/defaults/main.yml")):
        if file.parts[-3] != "alicloud_hosts":  # how long the cloud takes does not depend on the hosts
            found |= {key: str(value) for key, value in yaml.safe_load(file.read_text()).items()}
    named = {key: value for key, value in found.items() if key.endswith(("_timeout", "_seconds"))}
    assert {key for key, value in named.items() if "cluster_slow_factor" not in value} == NOT_BY_SPEED
    assert set(named) > NOT_BY_SPEED


# Options of modules that are multiplied in the module, as no role hands them over.
MULTIPLIED = {"kubelet_rollout.timeout", "kubeadm_init.boot_timeout", "pod_cidrs.timeout"}


def test_every_default_of_a_modules_time_limit_is_given_by_a_role_or_multiplied() -> None:
    tasks = "".join(path.read_text() for folder in ("roles", "playbooks") for path in (ROOT / folder).rglob("*.yml"))
    found = set()
    for file in sorted((ROOT / "library").glob("[!d]*.py")):  # not those of Docker, on the control machine
        used = re.findall(rf"(?m)^ *{file.stem}:\n((?: +\w+:.*\n)+)", tasks)
        for option in re.findall(r'"(\w*timeout\w*)": \{"type": "int", "default": [1-9]', file.read_text()):
            if used and not any(f"{option}:" in one for one in used):
                found.add(f"{file.stem}.{option}")
    assert found == MULTIPLIED
