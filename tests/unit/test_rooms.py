# SPDX-License-Identifier: Apache-2.0
"""The folders of module_utils say where code runs, and so what it may import."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "module_utils/yunkube"
PREFIX = "ansible.module_utils.yunkube"

# What each room may import of the others, beside itself and what stands in no room.
ON_HOSTS = {
    "host": set[str](),
    "teardown": {"host"},
    "kube": {"host", "teardown"},
    "web": {"host", "kube"},
    "doctor": {"host", "kube"},
}
ON_THE_CONTROL_MACHINE = {
    "build": {"host"},
    "docker": {"build", "host", "teardown"},
    "control": {"docker", "host", "kube", "teardown", "web"},
    "cloud": {"build", "control", "host"},
}
ROOMS = ON_HOSTS | ON_THE_CONTROL_MACHINE
FILES = sorted(str(path.relative_to(SHARED)) for path in SHARED.rglob("*.py"))


def room_of(file: str) -> str:
    """Return the room of a file, empty for one in none."""
    return file.partition("/")[0] if "/" in file else ""


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield every module that is imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            yield from (f"{module}.{name.name}" for name in node.names) if module == PREFIX else [module]


def faults(file: str, source: str) -> list[str]:
    """Return what a file imports and must not."""
    room = room_of(file)
    wrong = []
    for name in imported(ast.parse(source)):
        if name.startswith(PREFIX):
            other = name.removeprefix(PREFIX).lstrip(".").partition(".")[0]
            allowed = other not in ROOMS or other == room or other in ROOMS.get(room, ())
        else:
            standard = name.partition(".")[0] in sys.stdlib_module_names
            allowed = standard or name == "ansible.module_utils.basic" or room in ON_THE_CONTROL_MACHINE
        if not allowed:
            wrong.append(name)
    return wrong


def test_every_folder_is_a_room_that_is_described() -> None:
    folders = {path.parent.name for path in SHARED.glob("*/__init__.py")}
    assert folders == set(ROOMS)
    for folder in folders:
        assert ast.get_docstring(ast.parse((SHARED / folder / "__init__.py").read_text())), folder


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_what_its_room_may(file: str) -> None:
    assert faults(file, (SHARED / file).read_text()) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("host/files.py", "import yaml"),
        ("host/files.py", f"from {PREFIX}.kube import api"),
        ("kube/api.py", f"def f() -> None:\n    from {PREFIX}.control.yaml_reader import load"),
        ("words.py", f"from {PREFIX}.host import state"),
        ("result.py", f"from {PREFIX}.control import shapes"),
        ("result.py", "import yaml"),
        ("cloud/client.py", f"from {PREFIX}.kube.api import Api"),
    ],
)
def test_an_import_out_of_bounds_is_found(file: str, source: str) -> None:
    assert len(faults(file, source)) == 1


@pytest.mark.parametrize("file", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda path: path.stem)
def test_a_plugin_imports_neither_the_command_nor_a_module(file: Path) -> None:
    others = {path.stem for path in (ROOT / "library").glob("*.py")} | {"deployer"}
    assert {name.partition(".")[0] for name in imported(ast.parse(file.read_text()))} & others == set()
    assert "sys.path" not in file.read_text()
