# SPDX-License-Identifier: Apache-2.0
"""Completion scripts are made from the parser; bash runs its own here."""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

import pytest
from deployer.arguments import make_parser
from deployer.commands import PLAYS
from deployer.commands.completion import SHELLS, script

ROOT = Path(__file__).resolve().parents[2]
FAULTS = {page.stem for page in (ROOT / "docs/faults").glob("api-*.md")}

# As bash calls the function: the words of the line, and the number of the one at the cursor.
COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_shtab_deploy_py 2>&1
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "deploy.bash"
    file.write_text(script("bash"))
    return file


def completed(bash: Path, *words: str, folder: Path = ROOT) -> set[str]:
    """Return what bash offers for the last word."""
    argv = ["bash", "--norc", "-c", COMPLETE, "bash", str(bash), *words]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True, timeout=30)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (
            ("",),
            {name.split()[0] for name in PLAYS} | {"dashboard", "versions", "image", "import", "kubectl", "completion"},
        ),
        (("web", ""), {"apply", "rollback"}),
        (("cloud", "do"), {"down"}),
        (("web", "apply", "--pr"), {"--prune-data"}),
        (("import", "kube"), {"kubespray", "kubeasz"}),
        (("import", "kubespray", "requirements."), {"requirements.lock", "requirements.yml"}),
        (("up", "-i", "inventory/d"), {"inventory/docker"}),
        (("doctor", "--fix", "--only", "api-"), FAULTS),
        (("completion", ""), set(SHELLS)),
    ],
)
def test_bash_offers_what_fits(bash: Path, words: tuple[str, ...], offered: set[str]) -> None:
    assert completed(bash, str(ROOT / "scripts/deploy.py"), *words) == offered


def test_inventories_of_the_project_are_offered_from_anywhere(bash: Path, tmp_path: Path) -> None:
    offered = completed(bash, str(ROOT / "scripts/deploy.py"), "up", "-i", "inventory/d", folder=tmp_path)
    assert offered == {"inventory/docker"}


def test_kubectl_completes_what_follows_the_dashes(bash: Path, tmp_path: Path) -> None:
    command = tmp_path / "deploy.py"
    command.write_text(
        f'#!/bin/sh\necho "$@" >{tmp_path}/asked\nprintf "%s\\tabout it\\n" pods nodes namespaces\necho :4\n'
    )
    command.chmod(0o755)
    assert completed(bash, str(command), "kubectl", "-i", "x", "--", "get", "n") == {"nodes", "namespaces"}
    assert (tmp_path / "asked").read_text() == "kubectl -i x -- __complete get n\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_every_verb_and_long_option_is_known(shell: str) -> None:
    words = set(re.findall(r"[\w-]+", script(shell)))

    def known(parser: argparse.ArgumentParser) -> None:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                assert set(action.choices) <= words
                for sub in action.choices.values():
                    known(sub)
            elif action.help != argparse.SUPPRESS:
                named = {option.removeprefix("--") for option in action.option_strings if option.startswith("--")}
                assert named <= {word.removeprefix("--") for word in words}, action.option_strings

    known(make_parser())
