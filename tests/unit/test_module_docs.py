# SPDX-License-Identifier: Apache-2.0
"""What `ansible-doc` shows of every module: its options and results as they are, and examples that it accepts."""

from __future__ import annotations

import ast
import copy
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator
from ansible.playbook.task import Task
from module_spec import asked_by, method_of, results_of
from role_values import Derived

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "library").glob("*.py"))
each_module = pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)

# Options that a task gives and the action plugin of the module's name takes, as the module would refuse them.
TAKEN = {
    "bundle_install": {"manifest", "purposes", "kinds", "names", "distribution", "store"},
    "host_drift": {"manifest", "purposes", "distribution", "declared"},
    "node_upgrade": {"manifest", "purposes"},
    "web_services.services": {"manifests"},
}
# Options that the module requires and the action plugin gives, so a task does not.
GIVEN: dict[str, dict[str, Any]] = {
    "bundle_install": {"files": []},
    "host_drift": {"files": []},
    "node_upgrade": {"files": []},
}
# What Ansible itself knows of every result.
RESULT = {"changed", "diff", "failed", "msg", "warnings"}
# What a failure may have beside its message; see docs/events.md.
FAILURE = {"commands", "kind", "remedy", "status"}
# What code of the rooms would give that the module does not come to: host_drift only compares, node_upgrade asks when
# the kubelet started.
NEVER = {"host_drift": {"changes", "journal"}, "node_upgrade": {"journal"}}
VERBS = {
    "Apply", "Build", "Check", "Claim", "Compare", "Create", "Delete", "Deploy", "Drain", "Enable", "Ensure",
    "Gather", "Give", "Install", "Join", "Keep", "Let", "List", "Look", "Merge", "Open", "Plan", "Read", "Record",
    "Refuse", "Remove", "Renew", "Restart", "Restore", "Return", "Revoke", "Run", "Save", "See", "Set", "Start",
    "Take", "Turn", "Update", "Upgrade", "Upload", "Verify", "Write",
}  # fmt: skip


def documented(file: Path, part: str) -> Any:
    """Return a part of a module's documentation."""
    return yaml.safe_load(getattr(importlib.import_module(file.stem), part))


def compare_options(options: dict[str, Any], spec: dict[str, Any], where: str) -> None:
    """Fail where documentation and argument spec differ."""
    assert set(options) == set(spec) | TAKEN.get(where, set()), where
    for name, entry in options.items():
        assert entry.get("description"), f"{where}.{name} has no description"
        assert entry.get("type"), f"{where}.{name} has no type"
    for name, option in spec.items():
        entry = options[name]
        required = option.get("required", False) and name not in GIVEN.get(where, {})
        assert entry.get("required", False) == required, f"{where}.{name}: required"
        for key, standard in (("type", "str"), ("elements", None), ("choices", None), ("default", None)):
            assert entry.get(key, standard) == option.get(key, standard), f"{where}.{name}: {key}"
        if "options" in option or "suboptions" in entry:
            compare_options(entry.get("suboptions") or {}, option.get("options") or {}, f"{where}.{name}")


@each_module
def test_a_module_is_documented_as_it_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = documented(file, "DOCUMENTATION")
    assert about["module"] == file.stem
    assert about["short_description"]
    compare_options(about.get("options") or {}, asked_by(file, monkeypatch).argument_spec, file.stem)


@pytest.mark.parametrize("where", TAKEN)
def test_an_action_plugin_takes_what_is_documented_of_it(where: str) -> None:
    helpers = ("bundle_manifest.py", "web_manifests.py")
    files = (
        ROOT / f"plugins/action/{where.partition('.')[0]}.py",
        *(ROOT / "module_utils/yunkube/control" / name for name in helpers),
    )
    names = {
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert names >= TAKEN[where]


@each_module
def test_a_result_is_documented(file: Path) -> None:
    results = documented(file, "RETURN")
    for name, entry in results.items():
        assert set(entry) >= {"description", "returned", "type"}, name
        assert entry["type"] != "list" or "elements" in entry, name
    for end in results_of(file):
        known = {"exit_json": RESULT, "fail_json": RESULT | FAILURE}[method_of(end.call)]
        assert end.keys <= set(results) | known | NEVER.get(file.stem, set()), f"{end.file.name}:{end.call.lineno}"


@each_module
def test_a_reference_names_an_option_or_a_result(file: Path) -> None:
    module, about = importlib.import_module(file.stem), documented(file, "DOCUMENTATION")
    for kind, path in re.findall(r"\b(O|RV|M)\(([\w.\[\]]+)", module.DOCUMENTATION + module.RETURN):
        if kind == "M":
            assert path.startswith("ansible.builtin.") or (ROOT / f"library/{path}.py").exists(), path
            continue
        known = documented(file, "RETURN") if kind == "RV" else about.get("options") or {}
        for name in path.replace("[]", "").split("."):
            assert name in known, f"{kind}({path})"
            known = known[name].get("suboptions") or {}


def as_module_gets(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return what the action plugin makes of a task's options, as far as the module's spec is concerned."""
    given = copy.deepcopy(options)
    for where, taken in TAKEN.items():
        if where == name:
            given = {key: value for key, value in given.items() if key not in taken} | GIVEN[name]
        elif where.partition(".")[0] == name:
            key = where.partition(".")[2]
            given[key] = [{sub: one[sub] for sub in one if sub not in taken} for one in given[key]]
    return given


@each_module
def test_examples_are_tasks_that_the_module_accepts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(file.stem)
    order = [line.partition(" = ")[0] for line in file.read_text().splitlines() if line.endswith(' = r"""')]
    assert order == ["DOCUMENTATION", "EXAMPLES", "RETURN"]
    asked = asked_by(file, monkeypatch)
    rules = {key: value for key, value in asked.settings.items() if key.startswith(("required_", "mutually_"))}
    validator = ModuleArgumentSpecValidator(asked.argument_spec, **rules)
    options = documented(file, "DOCUMENTATION").get("options") or {}
    required = {name for name in TAKEN.get(file.stem, ()) if options[name].get("required")}
    tasks = yaml.safe_load(module.EXAMPLES)
    assert tasks
    for task in tasks:
        words = task["name"].split()
        assert words[0] in VERBS, f"{task['name']}: begin with a verb"
        assert not task["name"].endswith("."), task["name"]
        assert set(task) - set(Task.fattributes) == {file.stem}, task["name"]
        # Without any variable: an example shows all that it depends on.
        arguments = {
            key: Derived({}).text(value) if isinstance(value, str) and "{{" in value else value
            for key, value in (task[file.stem] or {}).items()
        }
        assert set(arguments) >= required, task["name"]
        assert not set(arguments) & set(GIVEN.get(file.stem, ())), task["name"]
        errors = validator.validate(as_module_gets(file.stem, arguments)).error_messages
        assert not errors, f"{task['name']}: {errors}"
