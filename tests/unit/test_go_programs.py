# SPDX-License-Identifier: Apache-2.0
"""Go compiles what a component names, within the memory that there is, and tells how far it is."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.yunkube.build import go_programs
from ansible.module_utils.yunkube.build.go_programs import Compiled, GoPrograms, free_memory, memory_of_compilers
from ansible.module_utils.yunkube.build.tools import BuildError, Tools, followed

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "yunkube"
GO = next(iter(sorted(CACHE.glob("store/go-*/go/bin/go"))), None)
HALVES = ("first", "second")
compiles = pytest.mark.skipif(GO is None, reason="no bundle was built here yet, so there are no Go tools")


def component(project: Path, **more: Any) -> dict[str, Any]:
    """Write a module of a program and two packages, which no cache has; return its entry of a lock."""
    folder = project / "tiny"
    salt = secrets.token_hex(8)
    for name in HALVES:
        (folder / name).mkdir(parents=True)
        text = f'package {name}\n\n// Word is printed.\nconst Word = "{name} {salt}"\n' + "// filling\n" * 500
        (folder / name / f"{name}.go").write_text(text)
    (folder / "go.mod").write_text("module yunkube/tiny\n\ngo 1.26\n")
    imports = "".join(f'\t"yunkube/tiny/{name}"\n' for name in HALVES)
    text = f"package main\n\nimport (\n{imports})\n\nvar version string\n\n"
    (folder / "main.go").write_text(f"{text}func main() {{ println(version, first.Word, second.Word) }}\n")
    about = {"name": "tiny", "directory": "tiny", "programs": {"tiny": "yunkube/tiny"}}
    return about | {"variables": {"main": {"version": "v1 of it"}}} | more


def build(tmp_path: Path, part: dict[str, Any], told: list[float]) -> Path:
    """Build with the compiled library of the cache of this machine; return the program's path."""
    tools = Tools(tmp_path / "cache", 0)
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    builder = GoPrograms(tools, tmp_path)
    builder.build(str(GO), part, out, {"GOCACHE": f"{CACHE}/go/build"}, told.append)
    return out / "tiny"


@compiles
def test_a_program_is_built_and_every_package_of_it_counts(tmp_path: Path) -> None:
    told: list[float] = []
    part = component(tmp_path)
    program = build(tmp_path, part, told)
    said = subprocess.run([program], capture_output=True, text=True, check=True, timeout=10).stderr
    assert said.startswith("v1 of it first ")
    assert told == sorted(told)
    costs = GoPrograms(Tools(tmp_path / "cache", 0), tmp_path)._costs(
        str(GO), "-tags=", part, tmp_path / "tiny", {"CGO_ENABLED": "0"}
    )
    own = sum(cost for package, cost in costs.items() if package.startswith("yunkube/tiny"))
    assert told[-1] >= 0.99 * own / sum(costs.values()) > 0, (
        "the library may be in the cache already, what is new counts"
    )
    assert told[-1] <= 1
    assert GO is not None
    about = subprocess.run([GO, "version", "-m", program], capture_output=True, text=True, check=True).stdout
    assert go_programs.COMPILE in about


@compiles
def test_what_does_not_compile_is_named(tmp_path: Path) -> None:
    part = component(tmp_path)
    (tmp_path / "tiny/main.go").write_text("package main\n\nfunc main() { missing() }\n")
    with pytest.raises(BuildError, match=r"tiny: go failed: .*undefined: missing"):
        build(tmp_path, part, [])


@compiles
def test_a_package_that_an_earlier_component_needed_is_not_expected_again(tmp_path: Path) -> None:
    part = component(tmp_path)
    builder = GoPrograms(Tools(tmp_path / "cache", 0), tmp_path)
    argv = (str(GO), "-tags=", part, tmp_path / "tiny", {"CGO_ENABLED": "0"})
    first = builder._costs(*argv)
    assert {"yunkube/tiny/first", "runtime"} <= set(first)
    assert first["yunkube/tiny/first"] > 500
    assert builder._costs(*argv) == {}


@compiles
def test_large_files_count_in_part_and_imports_as_well(tmp_path: Path) -> None:
    part = component(tmp_path)
    (tmp_path / "tiny/first/table.go").write_text("package first\n" + "// a table\n" * 20_000)
    argv = (str(GO), "-tags=", part, tmp_path / "tiny", {"CGO_ENABLED": "0"})
    costs = GoPrograms(Tools(tmp_path / "cache", 0), tmp_path)._costs(*argv)
    assert costs["yunkube/tiny/first"] == go_programs.MOST_SOURCE
    assert go_programs.PER_IMPORT * len(HALVES) < costs["yunkube/tiny"] < go_programs.PER_IMPORT * len(HALVES) + 1000


def test_each_name_counts_once_and_other_lines_do_not() -> None:
    told: list[float] = []
    compiled = Compiled({"a": 300, "b": 100, "empty": 0}, told.append)
    for lines in (["go: downloading a v1", "a"], ["a", "empty", "# a"], ["b"]):
        compiled.said(lines)
    assert told == [0.75, 1.0]


def test_names_that_come_together_are_told_once() -> None:
    told: list[float] = []
    Compiled({"a": 300, "b": 100, "c": 100}, told.append).said(["a", "b"])
    assert told == [0.8]


def test_compilers_share_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for free, limit in ((8 << 30, 512 << 20), (999 << 30, 1 << 30)):  # half of it for eight compilers
        monkeypatch.setattr(go_programs, "free_memory", lambda free=free: free)
        assert memory_of_compilers() == {"GOGC": "off", "GOMEMLIMIT": str(limit)}
    monkeypatch.setattr(go_programs, "free_memory", lambda: 2 << 30)
    assert memory_of_compilers() == {}, "too little: Go collects as it always does"


def test_a_container_has_the_memory_that_its_limit_leaves(tmp_path: Path) -> None:
    facts = tmp_path / "meminfo"
    facts.write_text("MemTotal:  99 kB\nMemAvailable:   8388608 kB\n")
    assert free_memory(facts, tmp_path) == 8 << 30
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_memory(facts, tmp_path) == 8 << 30
    (tmp_path / "memory.max").write_text(f"{4 << 30}\n")
    assert free_memory(facts, tmp_path) == (4 << 30) - 1000
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text(f"{2 << 30}\n")
    (tmp_path / "memory/memory.usage_in_bytes").write_text("2000\n")
    assert free_memory(facts, tmp_path) == (2 << 30) - 2000
    assert free_memory() > 0


def test_lines_of_a_log_are_handed_over_while_it_grows_and_when_it_ends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines: list[str] = []
    log.write_text("before\n")
    with log.open("a") as stream, followed(log, lines.extend, every=0.01):
        stream.write("one\ntw")
        stream.flush()
        stream.write("o\nthree\nnot ended")
        stream.flush()
    assert lines == ["one", "two", "three"]


def test_whoever_reads_a_log_slowly_does_not_fall_behind(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    calls: list[list[str]] = []
    reading, written = threading.Event(), threading.Event()

    def slowly(lines: list[str]) -> None:
        calls.append(lines)
        reading.set()
        assert written.wait(10)

    with log.open("a") as stream, followed(log, slowly, every=0.01):
        for number in range(50):
            stream.write(f"{number}\n")
            stream.flush()
            if not number:
                assert reading.wait(10)
        written.set()
    assert calls == [["0"], [str(number) for number in range(1, 50)]]
