# SPDX-License-Identifier: Apache-2.0
"""The folders of module_utils say where code runs, and so what it may import."""

from __future__ import annotations

import ast
import os
import subprocess
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
    "upgrade": {"host", "kube", "doctor"},
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


def test_one_file_lets_plugins_import_rooms() -> None:
    folders = ("library", "module_utils", "plugins", "scripts", "molecule", "bench")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert [path for path in files if "__path__" in path.read_text()] == [ROOT / "plugins/rooms.py"]


# Load each file in a process of its own, where no other plugin was loaded before.
ALONE = """
import importlib.util, os, sys, traceback
import ansible.plugins.action, ansible.plugins.callback, ansible.plugins.inventory, ansible.plugins.lookup
for path in sys.argv[1:]:
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, path
        continue
    try:
        spec = importlib.util.spec_from_file_location("plugin", path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        os._exit(0)
    finally:
        traceback.print_exc()
        os._exit(1)
"""


def test_each_plugin_loads_where_no_other_was_loaded(tmp_path: Path) -> None:
    files = sorted(map(str, (ROOT / "plugins").rglob("*.py")))
    argv = [sys.executable, "-c", ALONE, *files]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("ansible localhost -m debug -a msg={{lookup('constant','API_PORT')}}", "6443"),
        ("ansible-doc -t lookup constant", "API_PORT"),
        ("ansible-doc -t inventory alicloud", "yunkube-cluster"),
    ],
)
def test_ansibles_commands_find_the_plugins(command: str, said: str) -> None:
    name, *arguments = command.split()
    argv = [str(Path(sys.executable).parent / name), *arguments]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


# What came to Python and its standard library after 3.9, which Enterprise Linux 9 has: as attributes, and as arguments.
YOUNGER = {
    "KW_ONLY",
    "StrEnum",
    "UTC",
    "file_digest",
    "aclosing",
    "pairwise",
    "batched",
    "bit_count",
    "tomllib",
}
YOUNGER_ARGUMENTS = {"kw_only", "onexc", "process_group", "root_dir", "slots"}


def younger(source: str) -> list[str]:
    """Return what a host's Python 3.9 does not know."""
    found = []
    for node in ast.walk(ast.parse(source, feature_version=(3, 9))):
        names = [node.attr] if isinstance(node, ast.Attribute) else []
        names += [name.name for name in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        found += [name for name in names if name in YOUNGER]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            of_zip = {"strict"} if called == "zip" else set()
            given = {key.arg for key in node.keywords if key.arg}
            found += [f"{called}({name})" for name in sorted(given & (YOUNGER_ARGUMENTS | of_zip))]
            # It reads no Z, with which the API writes its times, before 3.11: kube/api.py has a function.
            found += [called] if called.endswith(".fromisoformat") and "+00:00" not in ast.unparse(node) else []
    return found


def packed(file: Path, found: dict[Path, str]) -> dict[Path, str]:
    """Add a file, and what it imports of ours."""
    found[file] = file.read_text()
    for name in imported(ast.parse(found[file])):
        if name.startswith(PREFIX):
            parts = name.removeprefix(PREFIX).strip(".").split(".")
            for path in (SHARED.joinpath(*parts), SHARED.joinpath(*parts[:-1])):
                if path.with_suffix(".py").exists() and path.with_suffix(".py") not in found:
                    packed(path.with_suffix(".py"), found)
    return found


def on_hosts() -> set[Path]:
    """Return what runs on hosts: modules that need no room of the control machine, with what they import."""
    files: set[Path] = set()
    for module in (ROOT / "library").glob("*.py"):
        together = packed(module, {})
        if not {path.parent.name for path in together} & set(ON_THE_CONTROL_MACHINE):
            files |= set(together)
    return files


@pytest.mark.parametrize("file", sorted(on_hosts()), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_runs_on_a_host_needs_no_younger_python_than_the_oldest_has(file: Path) -> None:
    assert younger(file.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "dt.datetime.now(dt.UTC)",
        "from datetime import UTC",
        "dict(zip(a, b, strict=True))",
        "hashlib.file_digest(stream, 'sha256')",
        "dt.datetime.fromisoformat(text)",
    ],
)
def test_a_younger_name_is_found(source: str) -> None:
    assert len(younger(source)) == 1


def linted(tool: str, *arguments: str, text: str = "") -> str:
    """Return what a linter of this project says."""
    argv = [str(Path(sys.executable).with_name(tool)), *arguments]
    done = subprocess.run(
        argv, cwd=ROOT, input=text, capture_output=True, text=True, check=False, env=os.environ | {"NO_COLOR": "1"}
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("folder", sorted({str(file.parent.relative_to(ROOT)) for file in on_hosts()}))
def test_ruff_refuses_younger_syntax_where_code_for_hosts_is(folder: str) -> None:
    young = "match 1:\n    case 1:\n        pass\n"
    assert "on Python 3.9" in linted("ruff", "check", "--stdin-filename", f"{folder}/new.py", "-", text=young)
    assert "on Python" not in linted("ruff", "check", "--stdin-filename", "scripts/new.py", "-", text=young)


def test_mypy_finds_no_younger_name_in_code_for_hosts(tmp_path: Path) -> None:
    """It knows no Python older than 3.10; what came with that is in YOUNGER."""
    files = [
        str(file.relative_to(ROOT)).replace("module_utils", "typings/ansible/module_utils", 1) for file in on_hosts()
    ]
    options = ("--python-version", "3.10", "--cache-dir", str(tmp_path))
    assert "Success: no issues found" in linted("mypy", *options, *sorted(files))
    (tmp_path / "young.py").write_text("import datetime as dt\n\nNOW = dt.datetime.now(dt.UTC)\n")
    assert '"UTC"' in linted("mypy", *options, str(tmp_path / "young.py"))
