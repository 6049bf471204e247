"""What `ansible-doc` shows of every module: its options and results as they are."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from module_spec import asked_by

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "library").glob("*.py"))
each_module = pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)

# Options that a task gives and the action plugin of the module's name takes, as the module would refuse them.
TAKEN = {
    "bundle_install": {"manifest", "purposes", "kinds", "distribution"},
    "host_drift": {"manifest", "purposes", "distribution", "declared"},
    "web_services.services": {"manifests"},
}
# Options that the module requires and the action plugin gives, so a task does not.
GIVEN: dict[str, dict[str, Any]] = {"bundle_install": {"files": []}, "host_drift": {"files": []}}
# What Ansible itself knows of every result.
RESULT = {"changed", "diff", "failed", "msg", "warnings"}
# What a failure may have beside its message; see docs/events.md.
FAILURE = {"kind", "remedy", "status"}


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
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            known = {"exit_json": RESULT, "fail_json": RESULT | FAILURE}.get(node.func.attr)
            named = {keyword.arg for keyword in node.keywords if keyword.arg}
            assert known is None or named <= set(results) | known, f"line {node.lineno}"


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
