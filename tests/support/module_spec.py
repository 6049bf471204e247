# SPDX-License-Identifier: Apache-2.0
"""What a module asks AnsibleModule for, without running it."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule

ROOMS = Path(__file__).resolve().parents[2] / "module_utils/yunkube"
PREFIX = "ansible.module_utils.yunkube."


def work_of(file: Path) -> Iterator[ast.AST]:
    """Yield what a module does: its own code, and what it imports by name from the rooms, with what that uses there."""
    tree = ast.parse(file.read_text())
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PREFIX):
            source = ROOMS.joinpath(*str(node.module).removeprefix(PREFIX).split(".")).with_suffix(".py")
            defined = {
                one.name: one
                for one in (ast.parse(source.read_text()).body if source.exists() else ())
                if isinstance(one, (ast.FunctionDef, ast.ClassDef))
            }
            left, seen = [name.name for name in node.names], set[str]()
            while left:
                name = left.pop()
                if name in defined and name not in seen:
                    seen.add(name)
                    yield defined[name]
                    left += [one.id for one in ast.walk(defined[name]) if isinstance(one, ast.Name)]


def ends_of(file: Path) -> Iterator[ast.Call]:
    """Yield the calls by which a module ends, or by which what it imports ends it."""
    for part in work_of(file):
        calls = [node for node in ast.walk(part) if isinstance(node, ast.Call)]
        ends = [call for call in calls if method_of(call) in ("exit_json", "fail_json")]
        if isinstance(part, ast.Module) or any(method_of(call) == "exit_json" for call in ends):
            yield from ends


def method_of(call: ast.Call) -> str:
    """Return the name of the method that is called, empty where it is none."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


class Asked(Exception):  # noqa: N818 - no error, a way out of main() with what was asked for
    """What a module asks AnsibleModule for."""

    def __init__(self, argument_spec: dict[str, Any], settings: dict[str, Any]) -> None:
        """Carry the argument spec and the rest."""
        super().__init__()
        self.argument_spec = argument_spec
        self.settings = settings


def asked_by(file: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Return what a module asks AnsibleModule for."""

    def refuse(_self: AnsibleModule, argument_spec: dict[str, Any], **settings: Any) -> None:
        raise Asked(argument_spec, settings)

    monkeypatch.setattr(AnsibleModule, "__init__", refuse)
    with pytest.raises(Asked) as caught:
        importlib.import_module(file.stem).main()
    return caught.value
