# SPDX-License-Identifier: Apache-2.0
"""A rule is one block, proof above and entry below, and the order of rules is a declared relation."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.doctor.rule import Rule, RulesError, in_order
from ansible.module_utils.yunkube.doctor.table import AREAS, TABLE

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "module_utils/yunkube/doctor/rules"
FILES = {path.stem: ast.parse(path.read_text()) for path in RULES.glob("*.py")}


def rule(name: str, *before: str) -> Rule:
    """Return a rule that finds nothing."""
    return Rule(name, title=name, looks=name, proof=lambda _facts: (), remedy=name, before=before)


def order(*rules: Rule) -> str:
    return "".join(one.id for one in in_order(rules))


def test_rules_without_a_relation_stay_as_they_stand() -> None:
    assert order(rule("c"), rule("a"), rule("b")) == "cab"
    assert order(rule("c", "b"), rule("a", "b"), rule("b")) == "cab"


def test_a_cause_is_placed_before_its_consequence_and_nothing_else_moves() -> None:
    assert order(rule("a"), rule("b"), rule("c"), rule("d", "b"), rule("e", "d")) == "aedbc"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ((rule("a", "b"), rule("b", "c"), rule("c", "a")), "a <- c <- b <- a"),
        ((rule("a", "a"),), "a <- a"),
        ((rule("a", "misspelled"),), "a: `before` names misspelled"),
        ((rule("a"), rule("b"), rule("a")), "two rules are called a"),
    ],
)
def test_rules_without_an_order_are_refused(rules: tuple[Rule, ...], words: str) -> None:
    with pytest.raises(RulesError, match=words):
        in_order(rules)


def entries(tree: ast.Module) -> list[tuple[int, str, ast.Call]]:
    """Return the place, the name and the call of every rule that a file has at its top."""
    return [
        (number, ast.unparse(node.targets[0]), node.value)
        for number, node in enumerate(tree.body)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "Rule"
    ]


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_rule_is_a_block_of_its_own(file: str) -> None:
    """A name that is used twice would hide a rule, and a proof that stands elsewhere would have to be looked for."""
    tree = FILES[file]
    found = entries(tree)
    assert sum(ast.unparse(node.func) == "Rule" for node in ast.walk(tree) if isinstance(node, ast.Call)) == len(found)
    for number, name, call in found:
        assert name == ast.literal_eval(call.args[0]).upper().replace("-", "_")
        proof = next(word.value for word in call.keywords if word.arg == "proof")
        used = {node.id for node in ast.walk(proof) if isinstance(node, ast.Name)}
        above = number - 1  # past the entries that share a proof
        while above and any(above == place for place, _, _ in found):
            above -= 1
        block = tree.body[above]
        shared = isinstance(proof, ast.Lambda)  # with an argument that tells one rule from another
        assert shared or (isinstance(block, ast.FunctionDef) and block.name in used), name


def test_every_rule_is_in_the_table() -> None:
    written = {ast.literal_eval(call.args[0]) for tree in FILES.values() for _, _, call in entries(tree)}
    assert written == {one.id for one in TABLE}
    assert {area.__name__.rpartition(".")[2] for area in AREAS} == {file for file in FILES if entries(FILES[file])}


def packed(*modules: Path) -> dict[str, list[str]]:
    """Return which files of ours Ansible packs with modules."""
    done = subprocess.run(
        [sys.executable, ROOT / "tests/support/payload.py", *modules], check=True, capture_output=True, text=True
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_ansible_packs_every_rule_for_who_needs_them_and_none_for_hosts(tmp_path: Path) -> None:
    """Reasoning is the control machine's: what travels to each host of a cluster stays small."""
    needs = tmp_path / "needs_rules.py"
    needs.write_text("from ansible.module_utils.yunkube.doctor.table import TABLE\n")
    names = ("doctor_host", "doctor_cluster", "doctor_repair", "support_collect")
    found = packed(needs, *(ROOT / f"library/{name}.py" for name in names))
    rules = {f"doctor/rules/{path.name}" for path in RULES.glob("*.py")}
    assert rules < set(found["needs_rules"])
    for name in names:
        assert "doctor/__init__.py" in found[name]
        assert not {file for file in found[name] if file.startswith("doctor/rule") or "table" in file}, name
