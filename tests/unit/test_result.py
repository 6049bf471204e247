# SPDX-License-Identifier: Apache-2.0
"""One format for faults: written by modules, read by the views, and there is no other."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.yunkube.control.commands import command
from ansible.module_utils.yunkube.result import CONFIG, PREFLIGHT, Fault, RefusedError, Report
from deployer.commands import NAMES
from deployer.failures import failure_of
from deployer.views.summary import failure_lines
from module_spec import work_of

ROOT = Path(__file__).resolve().parents[2]
KEY = Fault("cluster_nam", "unknown key", "did you mean cluster_name?", file="group_vars/all/cluster.yml", line=3)
GIVEN = Fault("cluster_pod_cidr", "wants a string", "write it in quotes", file="-e")
HOST = Fault("other cluster", "belongs to the cluster b", "correct its address", "node1", commands=("reattach",))
OBJECT = Fault("", "no longer declared, and would be removed", host="Service shop/web")
BARE = Fault("Port-6443", "Port 6443 is in use", "fix it")
ALL = Report((KEY, GIVEN, HOST, OBJECT, BARE), CONFIG)

SNAPSHOT = """\
group_vars/all/cluster.yml:3: cluster_nam: unknown key; did you mean cluster_name?
-e: cluster_pod_cidr: wants a string; write it in quotes
node1: other cluster: belongs to the cluster b; correct its address
Service shop/web: no longer declared, and would be removed
Port-6443: Port 6443 is in use; fix it"""

SOURCES = [
    path
    for folder in ("module_utils/yunkube", "library", "plugins", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def test_rendered_for_plain_ansible() -> None:
    assert ALL.as_failure()["msg"] == SNAPSHOT
    assert str(RefusedError(ALL.faults)) == SNAPSHOT


def test_rendered_by_the_view_out_of_what_a_module_returned() -> None:
    result = json.loads(json.dumps(ALL.as_failure()))
    lines = failure_lines(failure_of({"host": "localhost", "task": "Check the inventory", "res": result}))
    assert lines == ["Check the inventory: 5 to fix", *(f"  {line}" for line in SNAPSHOT.splitlines())]


def test_what_is_returned_is_read_as_it_was() -> None:
    assert Report.of(json.loads(json.dumps(ALL.as_failure()))) == ALL


def test_commands_are_typed_for_the_inventory_and_stand_beside_the_text() -> None:
    result = json.loads(json.dumps(ALL.as_failure()))
    failure = failure_of({"res": result}, typed=lambda words: command(words, "prod"))
    assert failure.commands == ("./scripts/deploy.py reattach -i prod",)
    assert [fault.commands for fault in failure.faults] == [(), (), ("./scripts/deploy.py reattach -i prod",), (), ()]
    assert "deploy.py" not in "\n".join(failure_lines(failure)), "people read the remedy"
    alone = failure_of(
        {"res": {"msg": "no bundle", "remedy": "run `up`", "commands": ["up"], "failed": True}}, typed=str
    )
    assert (alone.commands, alone.faults) == (("up",), ())
    assert failure_of({"res": {"msg": "another's", "commands": "ls"}}).commands == ()


def test_every_fault_has_the_three_fields_that_readers_rely_on() -> None:
    for fault in ALL.as_result()["faults"]:
        assert {"where", "message", "remedy"} <= set(fault)
    assert BARE.on("master1").as_dict()["where"] == "master1: Port-6443"
    assert RefusedError([HOST]).report.kind == PREFLIGHT
    assert ALL.as_failure("in other words")["msg"] == "in other words"
    assert "kind" not in Report((BARE,)).as_failure()


@pytest.mark.parametrize("faults", [None, "x", 3, {"a": 1}, ["x", None, 3]])
def test_what_another_projects_module_calls_faults_is_no_fault(faults: Any) -> None:
    assert Report.of({"faults": faults}).faults == ()
    assert Report.of({"faults": [{"check": None, "line": "7"}]}).faults == (Fault("", ""),)


def defined(source: str) -> Iterator[str]:
    """Yield what a file defines at its top: classes, and aliases."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        if isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def test_there_is_one_fault_and_one_report() -> None:
    found = {str(path.relative_to(ROOT)) for path in SOURCES if {"Fault", "Report"} & set(defined(path.read_text()))}
    assert found == {"module_utils/yunkube/result.py"}
    assert list(defined("Fault = dict\nReport: type = int\nclass Fault: pass")) == ["Fault", "Report", "Fault"]


def written_by_hand(source: str) -> Iterator[int]:
    """Yield the lines where faults are returned that no Report made: a key or keyword of that name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            if "faults" in keys or {"message", "remedy"} <= keys:
                yield node.lineno
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("fail_json", "exit_json"):
            yield from (node.lineno for keyword in node.keywords if keyword.arg == "faults")


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path.name != "result.py"],
    ids=lambda path: path.stem,
)
def test_faults_are_returned_by_a_report_alone(path: Path) -> None:
    assert list(written_by_hand(path.read_text())) == []


@pytest.mark.parametrize(
    "source", ["x = {'faults': []}", "x = {'message': a, 'remedy': b}", "module.fail_json(msg='', faults=found)"]
)
def test_a_fault_that_is_written_by_hand_is_found(source: str) -> None:
    assert len(list(written_by_hand(source))) == 1


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "library").glob("*.py")),
    ids=lambda path: path.stem,
)
def test_a_module_that_reports_faults_and_no_other_documents_the_key(path: Path) -> None:
    names = {
        node.id if isinstance(node, ast.Name) else node.attr
        for part in work_of(path)
        for node in ast.walk(part)
        if isinstance(node, (ast.Name, ast.Attribute))
    }
    (text,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "RETURN"
    )
    told = (yaml.safe_load(text) or {}).get("faults", {}).get("description", "")
    assert ("docs/events.md" in told) == bool(names & {"Report", "as_failure", "refuse_another"})


# Text without a result of its own: an exception that Ansible shows.
IN_TEXT_ONLY = {"module_utils/yunkube/control/bundle_manifest.py"}
VERB = re.compile(rf"`({'|'.join(sorted({name.partition(' ')[0] for name in NAMES}))})( [^`]*)?`")


def commands_in_prose(source: str) -> Iterator[int]:
    """Yield the functions that name a command in a text for people and give none as data."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            documentation = ast.get_docstring(function, clean=False)
            texts = [
                node for node in ast.walk(function) if isinstance(node, ast.Constant) and node.value != documentation
            ]
            named = any(isinstance(text.value, str) and VERB.search(text.value) for text in texts)
            given: set[object] = {node.arg for node in ast.walk(function) if isinstance(node, ast.keyword)}
            keys = [key for node in ast.walk(function) if isinstance(node, ast.Dict) for key in node.keys]
            given |= {key.value for key in keys if isinstance(key, ast.Constant)}
            if named and not given & {"command", "commands"}:
                yield function.lineno


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if "scripts" not in path.relative_to(ROOT).parts],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_command_that_a_remedy_names_is_given_as_data(path: Path) -> None:
    assert str(path.relative_to(ROOT)) in IN_TEXT_ONLY or not list(commands_in_prose(path.read_text()))


def test_a_command_in_prose_alone_is_found() -> None:
    alone = 'def f() -> Fault:\n    return Fault("x", "y", "run `up -v`{})'
    assert list(commands_in_prose(alone.format('"'))) == [1]
    assert not list(commands_in_prose(alone.format('", commands=("up -v",)')))
    assert not list(commands_in_prose('def f() -> Json:\n    return {"msg": "run `up -v`", "commands": ["up -v"]}'))
    assert list(commands_in_prose('def f() -> Json:\n    return {"msg": "run `up -v`"}')) == [1]
    assert not list(commands_in_prose('def f() -> None:\n    """As `up` does."""'))
