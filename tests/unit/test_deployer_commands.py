# SPDX-License-Identifier: Apache-2.0
"""A verb is a file: it declares everything that is the verb's own, and nothing else of the command names it."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.control import commands as words
from deployer.arguments import make_parser, parse
from deployer.cluster import Cluster
from deployer.commands import COMMANDS, GROUPS, NAMES, PLAYS, file_of
from deployer.commands.base import Direct, Play
from deployer.errors import DeployError, Exit
from deployer.inventory import Source
from deployer.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
DEPLOYER = ROOT / "scripts/deployer"
FOLDER = DEPLOYER / "commands"
SCRIPT = "./scripts/deploy.py "


def lines(examples: str) -> list[str]:
    """Return the command lines of examples, without what stands beside or behind them."""
    found = re.findall(rf"(?m)^  {re.escape(SCRIPT)}(.*?)(?:  .*)?$", examples)
    found += re.findall(rf"\$\({re.escape(SCRIPT)}([^)]*)\)", examples)
    return [line.partition(" | ")[0] for line in found]


def test_every_file_is_a_verb_or_a_group_and_every_verb_has_one() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "base"}
    assert files == {file_of(name) for name in NAMES}
    assert {*COMMANDS, *GROUPS} == set(NAMES)
    assert set(GROUPS) == set(words.GROUPS)
    assert [(COMMANDS.get(name) or GROUPS[name]).name for name in NAMES] == [*NAMES]
    assert {name.partition(" ")[0] for name in NAMES if " " in name} == set(GROUPS)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_declares_what_the_parser_and_the_runner_need(name: str) -> None:
    declared = COMMANDS.get(name) or GROUPS[name]
    assert declared.help[0].islower()
    assert not declared.help.endswith(".")
    assert declared.examples.startswith("examples:\n")
    assert any(line.split()[: name.count(" ") + 1] == name.split() for line in lines(declared.examples))
    if isinstance(declared, Play):
        assert (ROOT / declared.playbook).is_file()
        assert declared.no_limit == "" or not declared.limits
        assert all(step == "" or COMMANDS[known(step)] for step in (declared.next, declared.next_on_changes))
    elif name in COMMANDS:
        assert isinstance(declared, Direct)


def known(step: str) -> str:
    """Return the verb of a command line."""
    first, *rest = step.split()
    return f"{first} {rest[0]}" if first in GROUPS else first


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_a_command_line(name: str) -> None:
    for line in lines((COMMANDS.get(name) or GROUPS[name]).examples):
        argv = shlex.split(line)
        if "COMMAND" in argv:
            continue
        try:
            assert parse(argv).verb in COMMANDS
        except DeployError as error:  # a file that only the example's reader has
            pytest.fail(f"{line}: {error.message}")


def named(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield the words by which a program decides: compared, matched, or keys of a dictionary."""
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        match node:
            case ast.Compare():
                parts = [node.left, *node.comparators]
            case ast.MatchValue():
                parts = [node.value]
            case ast.Dict():
                parts = [*node.keys]
            case ast.Call(func=ast.Attribute(attr="startswith" | "endswith")):
                parts = [*node.args]
        for part in filter(None, parts):
            yield from (
                one
                for one in ([*part.elts] if isinstance(part, (ast.Tuple, ast.List, ast.Set)) else [part])
                if isinstance(one, ast.Constant)
            )


def decisions(source: str) -> list[str]:
    """Return the names of verbs by which a program decides."""
    verbs = {*NAMES, *(f"{group} " for group in GROUPS)}
    return [str(word.value) for word in named(ast.parse(source)) if word.value in verbs]


# Words of others that are also verbs of ours: a result's keys, Docker's own `image`, Kubernetes' kubectl.
OTHERS = {"progress.py": {"status"}, "image.py": {"image"}, "versions.py": {"kubectl"}}


@pytest.mark.parametrize(
    "file", [path for path in sorted(DEPLOYER.rglob("*.py")) if path.parent != FOLDER], ids=lambda path: path.name
)
def test_nothing_else_decides_by_a_verbs_name(file: Path) -> None:
    assert set(decisions(file.read_text(encoding="utf-8"))) <= OTHERS.get(file.name, set())


@pytest.mark.parametrize(
    "source",
    [
        'if verb == "up": pass',
        'if request.verb in ("down", "cloud down"): pass',
        'x = {"remove": 1}[verb]',
        'verb.startswith("web ")',
        'match verb:\n    case "plan": pass',
    ],
)
def test_a_decision_by_name_is_found(source: str) -> None:
    assert decisions(source)


def test_a_run_of_one_verb_reads_no_other() -> None:
    program = (
        "import sys; from deployer.arguments import parse; parse(['up']); "
        "print(*(name for name in sys.modules if name.startswith('deployer.commands.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "scripts", capture_output=True, text=True, check=True, timeout=60
    )
    assert set(done.stdout.split()) == {"deployer.commands.base", "deployer.commands.up"}


def test_help_of_all_reads_nothing_that_only_runs_need() -> None:
    program = "import sys; from deployer.arguments import make_parser; make_parser(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "scripts", capture_output=True, text=True, check=True, timeout=60
    )
    slow = {"yaml", "rich", "ansible_runner", "subprocess", "jinja2", "shtab", "deployer.cluster", "deployer.session"}
    assert set(done.stdout.split()) & slow == set()


def test_the_parser_of_one_verb_is_a_part_of_that_of_all() -> None:
    def helps(parser: argparse.ArgumentParser) -> dict[str, str]:
        found = {parser.prog: parser.format_help()}
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for sub in action.choices.values():
                    found |= helps(sub)
        return found

    whole = helps(make_parser())
    for name in PLAYS:
        part = helps(make_parser(name.partition(" ")[0]))
        assert part[f"deploy.py {name}"] == whole[f"deploy.py {name}"]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "0", "1e300"])
@pytest.mark.parametrize("words", [("up", "--timeout"), ("remove", "a", "--drain-timeout")])
def test_a_time_is_one_that_a_clock_can_wait_for(
    words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([*words[:-1], f"{words[-1]}={text}"])
    assert ended.value.code == 2
    assert f"invalid number of seconds value: '{text}'" in capsys.readouterr().err


def test_a_part_of_a_second_is_not_no_time() -> None:
    assert parse(["remove", "a", "--drain-timeout=0.5"]).extra_vars["node_drain_timeout_seconds"] == 1


def test_a_removal_that_had_begun_is_not_said_to_have_changed_nothing(tmp_path: Path) -> None:
    progress, cluster = Progress(), Cluster("t", Source(tmp_path), tmp_path)
    advice = PLAYS["remove"].advice
    assert advice(Exit.UNREACHABLE, parse(["remove", "a"]), progress, cluster).startswith("Nothing was changed.")
    result = {"changed": True, "changes": ["evict the pods of a"]}
    list(progress.feed({"event": "runner_on_ok", "event_data": {"host": "localhost", "res": result}}))
    words = advice(Exit.UNREACHABLE, parse(["remove", "a"]), progress, cluster)
    assert words.startswith("The removal has begun, and continues with the same command. ")
