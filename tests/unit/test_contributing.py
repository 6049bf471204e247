# SPDX-License-Identifier: Apache-2.0
"""What CONTRIBUTING.md and the configuration of other tools say is true."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_targets_that_are_named_exist() -> None:
    named = set(re.findall(r"`?make ([a-z-]+)", CONTRIBUTING))
    assert {"lab", "test", "lint", "docs"} <= named
    assert named <= TARGETS


def test_files_that_are_named_exist() -> None:
    for text, folders in ((CONTRIBUTING, (ROOT,)), (ARCHITECTURE, (ROOT, ROOT / "module_utils/yunkube"))):
        named = re.findall(
            r"`?((?:[\w*.-]+/)+[\w*.-]*\.(?:py|yml|md|j2))\b", text.replace("ROLE", "*").replace("NAME", "*")
        )
        short = [ROOT / "module_utils/yunkube", ROOT / "module_utils/yunkube/doctor", ROOT / "tests", ROOT / "docs"]
        assert [name for name in named if not any([*folder.glob(name)] for folder in (*folders, *short))] == []


def test_every_room_is_described() -> None:
    rooms = {path.parent.name for path in (ROOT / "module_utils/yunkube").glob("*/__init__.py")}
    described = set(re.findall(r"(?m)^\| `([a-z]+)` \|", ARCHITECTURE))
    assert described == rooms


def test_terms_of_the_glossary_are_in_order_and_come_once() -> None:
    terms = re.findall(r"(?m)^\| ([^|]+) \| [^|]+ \|$", (ROOT / "docs/glossary.md").read_text())[1:]
    assert len(terms) > 40
    assert terms == sorted(set(terms), key=str.lower)


def test_the_workflow_is_continuous_integration_and_takes_nothing_unpinned() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    [job] = workflow["jobs"].values()
    assert [step["run"].split()[-1] for step in job["steps"] if "run" in step] == [".ci/run"]
    for step in job["steps"]:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step.get("uses", f"none@{'0' * 40}"))
    assert workflow["permissions"] == {"contents": "read"}


def test_hooks_before_a_commit_are_the_linters_of_the_environment() -> None:
    [local] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        words = [word for word in shlex.split(hook["entry"]) if "=" not in word and word != "env"]
        program = words[0].removeprefix(".venv/bin/")
        assert (ROOT / ".venv/bin" / program).exists(), hook["id"]


def test_hooks_before_a_commit_are_all_the_linters_of_the_suite() -> None:
    [local] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [" ".join(word for word in shlex.split(hook["entry"])) for hook in local["hooks"]]
    [lint] = runpy.run_path(str(ROOT / "tests/parts.py"))["PARTS"]["lint"]
    for command in lint.commands:
        wanted = " ".join(word for word in command if word not in {"env", "."})
        assert any(wanted in hook.replace(".venv/bin/", "").removeprefix("env ") for hook in hooks), wanted


def test_files_follow_the_editorconfig() -> None:
    rules = (ROOT / ".editorconfig").read_text()
    assert {"[{Makefile,*.go,go.mod,*.c}]", "end_of_line = lf", "trim_trailing_whitespace = true"} <= set(
        rules.split("\n")
    )
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = [ROOT / name for name in listed if not name.endswith(".png")]
    wrong = []
    for path in files:
        if path.is_symlink() or not path.exists():
            continue
        text = path.read_bytes().decode()
        tabs = path.suffix in {".go", ".c"} or path.name in {"Makefile", "go.mod"}
        if (text and not text.endswith("\n")) or "\r\n" in text or re.search(r"(?m)[ \t]+$", text):
            wrong.append(f"{path.relative_to(ROOT)}: its end, or that of a line")
        if not tabs and re.search(r"(?m)^\t", text):
            wrong.append(f"{path.relative_to(ROOT)}: a tab")
    assert len(files) > 700
    assert wrong == []
