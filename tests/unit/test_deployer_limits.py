# SPDX-License-Identifier: Apache-2.0
"""What is named by a path is looked for where the command was typed, and not in the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from checkout import Deploy
from deployer import passwords
from deployer.errors import DeployError
from deployer.limits import with_localhost
from deployer.passwords import get_passwords


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)


def test_a_file_of_a_limit_is_the_one_of_this_directory(tmp_path: Path) -> None:
    (tmp_path / "lim").write_text("node1\n")
    (tmp_path / "my lim:it").write_text("node2\n")
    assert with_localhost("@lim") == f"@{tmp_path}/lim,localhost"
    assert with_localhost("masters,@lim") == f"masters,@{tmp_path}/lim,localhost"
    assert with_localhost("masters:@lim") == f"masters,@{tmp_path}/lim,localhost"
    assert with_localhost("@my lim:it") == f"@{tmp_path}/my lim:it,localhost"


@pytest.mark.parametrize("limit", ["@missing", "node1,@missing", "@.", "@"])
def test_a_file_of_a_limit_that_is_none_is_refused(limit: str) -> None:
    with pytest.raises(DeployError, match="no such file"):
        with_localhost(limit)


def test_a_file_of_a_limit_limits(deploy: Deploy, checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "lim").write_text("a\n")
    limit = os.path.relpath(tmp_path / "lim", checkout)
    result = deploy("works", "up", "--limit", f"@{limit}", "-e", f"x_file={tmp_path / 'written'}")
    assert result.returncode == 0, result.stderr
    result = deploy("works", "up", "--limit", "@missing", "-e", f"x_file={tmp_path / 'other'}")
    assert result.returncode == 2
    assert "--limit @missing: there is no such file" in result.stderr


def test_files_that_the_shell_names_are_those_of_this_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pass", "key"):
        (tmp_path / name).touch()
    monkeypatch.setenv("ANSIBLE_VAULT_IDENTITY_LIST", "prod@pass, pass,dev@~/x")
    monkeypatch.setenv("ANSIBLE_PRIVATE_KEY_FILE", "key")
    monkeypatch.setenv("ANSIBLE_CONNECTION_PASSWORD_FILE", "pass")
    found = passwords.environment()
    home = Path("~/x").expanduser()
    assert found["ANSIBLE_VAULT_IDENTITY_LIST"] == f"prod@{tmp_path}/pass,{tmp_path}/pass,dev@{home}"
    assert found["ANSIBLE_PRIVATE_KEY_FILE"] == f"{tmp_path}/key"
    assert found["ANSIBLE_CONNECTION_PASSWORD_FILE"] == f"{tmp_path}/pass"
    monkeypatch.setenv("ANSIBLE_VAULT_IDENTITY_LIST", "prod@prompt")
    with pytest.raises(DeployError, match="prod@prompt: would prompt") as error:
        passwords.environment()
    assert "--ask-vault-pass" in error.value.hint


def test_a_directory_holds_no_password(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=f"--vault-password-file {tmp_path}: is a directory"):
        get_passwords(vault=False, become=False, connection=False, files=["."])
