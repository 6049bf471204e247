# SPDX-License-Identifier: Apache-2.0
"""Vaulted files and passwords: asked for on a terminal, handed on in files, and in no argument, variable or log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import PLAYBOOKS, ROOT, Deploy, environment
from deployer.arguments import parse
from deployer.commands import PLAYS
from deployer.errors import DeployError
from deployer.passwords import Passwords, get_passwords
from terminal import answered

PASSWORD = "canary-0815"


@pytest.fixture
def vault(checkout: Path, tmp_path: Path) -> Path:
    """An inventory with a vaulted file; return the file with its password."""
    password = tmp_path / "vault password"
    password.write_text(PASSWORD + "\n")
    file = checkout / "inventory/docker/group_vars/all/vault.yml"
    file.write_text("x_vaulted: opened-4711\n")
    argv = [str(ROOT / ".venv/bin/ansible-vault"), "encrypt", "--vault-password-file", str(password), str(file)]
    subprocess.run(argv, check=True, capture_output=True, env=environment())
    return password


@pytest.mark.usefixtures("vault")
def test_a_vault_without_a_password_is_one_line_and_ends_with_2(deploy: Deploy) -> None:
    result = deploy("vaulted", "up")
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("inventory/docker/group_vars/all/vault.yml:1: encrypted by ansible-vault, but no password")
    assert line.endswith("add --ask-vault-pass or --vault-password-file FILE.")


def test_a_file_with_the_password_opens_the_vault(deploy: Deploy, vault: Path, checkout: Path, tmp_path: Path) -> None:
    assert deploy("vaulted", "up", "--vault-password-file", str(vault)).returncode == 0
    assert deploy("vaulted", "up", ANSIBLE_VAULT_PASSWORD_FILE=os.path.relpath(vault, checkout)).returncode == 0
    wrong = tmp_path / "wrong"
    wrong.write_text("other\n")
    result = deploy("vaulted", "up", "--vault-password-file", str(wrong))
    assert result.returncode == 2
    assert "group_vars/all/vault.yml:1: the given vault password does not decrypt" in result.stderr
    missing = deploy("vaulted", "up", "--vault-password-file", str(tmp_path / "missing"))
    assert missing.returncode == 2
    assert "no such file" in missing.stderr


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize("option", ["--ask-vault-pass", "--ask-become-pass", "--ask-pass", ""])
def test_without_a_terminal_nothing_is_asked_and_nothing_hangs(deploy: Deploy, option: str) -> None:
    more = {} if option else {"ANSIBLE_ASK_VAULT_PASS": "true"}
    result = deploy("vaulted", "up", *filter(None, [option]), **more)
    assert result.returncode == 2
    assert "no terminal to prompt on" in result.stderr


@pytest.mark.usefixtures("vault")
def test_the_password_is_typed_on_the_terminal_and_is_nowhere_afterwards(checkout: Path, tmp_path: Path) -> None:
    (checkout / "site.yml").write_text((PLAYBOOKS / "vaulted.yml").read_text())
    argv = [sys.executable, str(checkout / "scripts/deploy.py"), "up", "-J", "-vv"]
    code, shown = answered(argv, "Vault password: ", PASSWORD, environment() | {"TERM": "dumb"}, checkout)
    assert code == 0, shown
    state = tmp_path / "state"
    everything = shown + "".join(path.read_text() for path in state.rglob("*") if path.is_file())
    assert "Compare" in everything
    assert PASSWORD not in everything
    assert list((state / "run").iterdir()) == []


def test_what_was_typed_goes_into_files_for_the_owner_alone(tmp_path: Path) -> None:
    passwords = Passwords(vault="one-4711", become="two-4711", connection="three-4711", files=(Path("/x"),))
    options = passwords.options(tmp_path)
    assert options == [
        "--vault-password-file=/x",
        f"--vault-password-file={tmp_path}/vault-password",
        f"--become-password-file={tmp_path}/become-password",
        f"--connection-password-file={tmp_path}/connection-password",
    ]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert "4711" not in repr(passwords)
    with pytest.raises(FileExistsError):
        passwords.options(tmp_path)


def test_a_missing_file_is_refused_before_anything_runs() -> None:
    with pytest.raises(DeployError, match="no such file"):
        get_passwords(vault=False, become=False, connection=False, files=["/proc/nonexistent"])


@pytest.mark.parametrize("verb", PLAYS)
def test_every_verb_takes_passwords(verb: str) -> None:
    names = {
        "add": ["node1"],
        "remove": ["node1"],
        "replace": ["node1"],
        "restore": ["a.db", "--yes"],
        "web rollback": ["shop"],
    }.get(verb, [])
    request = parse(
        [*verb.split(), *names, "--ask-vault-pass", "--ask-become-pass", "-k", "--vault-password-file", "file"]
    )
    assert request.ask_vault_pass
    assert request.ask_pass
    assert request.ask_become_pass
    assert list(request.vault_password_file) == ["file"]
