# SPDX-License-Identifier: Apache-2.0
"""What a module asks AnsibleModule for, without running it."""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

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


class Part(NamedTuple):
    """A function or class that a module may run, or its file, and the file that it stands in."""

    node: ast.AST
    file: Path


def reached_from(file: Path) -> list[Part]:
    """Return what a module may run: its file, and by name what that uses of the rooms, as far as it goes."""
    parts: list[Part] = [Part(ast.parse(file.read_text()), file)]
    seen: set[tuple[Path, str]] = set()
    for part in parts:
        here, modules = _names_of(part.file)
        for node in ast.walk(part.node):
            if isinstance(node, ast.Name):
                target = here.get(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                target = (modules[node.value.id], node.attr)
            else:
                continue
            while target and target not in seen:
                seen.add(target)
                where, name = target
                found = _defined(where).get(name)
                if found:
                    parts.append(Part(found, where))
                target = None if found else _names_of(where)[0].get(name)
    return parts


@functools.cache
def _defined(file: Path) -> dict[str, ast.AST]:
    """Return the functions and classes of a file."""
    body = ast.parse(file.read_text()).body
    return {one.name: one for one in body if isinstance(one, (ast.FunctionDef, ast.ClassDef))}


@functools.cache
def _names_of(file: Path) -> tuple[dict[str, tuple[Path, str]], dict[str, Path]]:
    """Return where the names of a file are defined in the rooms, and which names are modules of them."""
    names: dict[str, tuple[Path, str]] = {name: (file, name) for name in _defined(file)}
    modules: dict[str, Path] = {}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PREFIX.rstrip(".")):
            place = ROOMS.joinpath(*str(node.module).removeprefix(PREFIX.rstrip(".")).strip(".").split("."))
            for one in node.names:
                if place.with_suffix(".py").exists():
                    names[one.asname or one.name] = (place.with_suffix(".py"), one.name)
                elif (place / f"{one.name}.py").exists():
                    modules[one.asname or one.name] = place / f"{one.name}.py"
    return names, modules


class End(NamedTuple):
    """A call that ends a module, and the keys of the result that it gives."""

    call: ast.Call
    file: Path
    keys: set[str]


def results_of(file: Path) -> Iterator[End]:
    """Yield every way in which a module may end, also one that stands in what it uses of the rooms."""
    parts = reached_from(file)
    for part in parts:
        for call in ast.walk(part.node):
            if isinstance(call, ast.Call) and method_of(call) in ("exit_json", "fail_json"):
                spread = [keyword.value for keyword in call.keywords if keyword.arg is None]
                keys = {keyword.arg for keyword in call.keywords if keyword.arg}
                yield End(call, part.file, keys.union(*(_keys(value, part, parts) for value in spread)))


def _keys(value: ast.AST, part: Part, parts: list[Part], open_names: frozenset[str] = frozenset()) -> set[str]:
    """Return the keys of a dictionary that is spread over a call; fail where they cannot be seen."""

    def inner(values: Iterable[ast.AST], place: Part = part, name: str = "") -> set[str]:
        return set[str]().union(*(_keys(one, place, parts, open_names | {name}) for one in values))

    match value:
        case ast.Dict():
            named = _texts(key for key in value.keys if key is not None)
            return named | inner(one for key, one in zip(value.keys, value.values, strict=True) if key is None)
        case ast.IfExp():
            return inner((value.body, value.orelse))
        case ast.BinOp(op=ast.BitOr()):
            return inner((value.left, value.right))
        case ast.Call(func=ast.Attribute(attr="as_failure" | "as_result")):
            return {"kind", "faults"} if "failure" in ast.unparse(value.func) else {"faults"}
        case ast.Name(id=name) if name in open_names:
            return set()
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if f"{name}()" in open_names:
            return set()
        case ast.Name(id=name):
            made = list(_values_of(part.node, name))
            passed = [word.arg for call in _calls_with_more(part, parts, name) for word in call.keywords if word.arg]
            assert made or passed, f"{part.file.name}: what is in {name}?"
            return _stored(name, [part.node]) | inner(made, name=name) | set(passed)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) | ast.Attribute(attr=name):
            makers = _makers(value, name, part, parts)
            ends = [(one, node.value) for one in makers for node in ast.walk(one.node) if isinstance(node, ast.Return)]
            stored = _stored(name, [one.node for one in parts])
            assert ends or stored, f"{part.file.name}: what is in {ast.unparse(value)}?"
            return stored.union(*(inner([end], one, f"{name}()") for one, end in ends if end))
        case _:
            raise AssertionError(f"{part.file.name}: what is in {ast.unparse(value)}?")


def _makers(value: ast.Call | ast.Attribute, name: str, part: Part, parts: list[Part]) -> list[Part]:
    """Return the function that is called, or all of a method's or attribute's name."""
    file = (
        _names_of(part.file)[0].get(name, (None, ""))[0] if isinstance(getattr(value, "func", None), ast.Name) else None
    )
    functions = [one for one in parts if isinstance(one.node, ast.FunctionDef) and one.node.name == name]
    return [one for one in functions if file in (None, one.file)]


def _calls_with_more(part: Part, parts: list[Part], name: str) -> list[ast.Call]:
    """Return the calls of the function that takes `**name`."""
    takers = {node.name for node in ast.walk(part.node)
              if isinstance(node, ast.FunctionDef) and node.args.kwarg and node.args.kwarg.arg == name}  # fmt: skip
    calls = (node for one in parts for node in ast.walk(one.node) if isinstance(node, ast.Call))
    return [call for call in calls if method_of(call) in takers]


def _values_of(part: ast.AST, name: str) -> Iterator[ast.AST]:
    """Yield what is assigned to a name."""
    for node in ast.walk(part):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                yield node.value


def _stored(name: str, nodes: Iterable[ast.AST]) -> set[str]:
    """Return the keys that are set one by one, `name["key"] = ...` or `thing.name["key"] = ...`."""
    return _texts(
        node.slice
        for part in nodes
        for node in ast.walk(part)
        if isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Store)
        and name in (getattr(node.value, "id", ""), getattr(node.value, "attr", ""))
    )


def _texts(nodes: Iterable[ast.AST]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
