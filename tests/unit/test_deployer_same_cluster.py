# SPDX-License-Identifier: Apache-2.0
"""A play works on the cluster whose lock and state directory deploy.py has taken, or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import environment

ROOT = Path(__file__).parents[2]
# Nothing listens there: no play gets to a host.
HOSTS = {"masters": {"hosts": {"m1": {"ansible_host": "127.0.0.1", "ansible_port": 1}}}}
SETTINGS = "cluster_name: prod\ncluster_provider: existing\ncluster_state_dir: {}\n"


@pytest.fixture
def password(tmp_path: Path) -> Path:
    """The file with the vault's password."""
    file = tmp_path / "password"
    file.write_text("canary\n")
    return file


def encrypted(file: Path, text: str, password: Path) -> Path:
    """Write an encrypted file."""
    file.write_text(text)
    argv = [str(ROOT / ".venv/bin/ansible-vault"), "encrypt", "--vault-password-file", str(password), str(file)]
    subprocess.run(argv, check=True, capture_output=True, env=environment())
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An inventory whose host cannot be reached."""
    folder = tmp_path / "mine"
    (folder / "group_vars/all").mkdir(parents=True)
    (folder / "hosts.yml").write_text(json.dumps({"all": {"children": HOSTS}}))
    (folder / "group_vars/all/cluster.yml").write_text(SETTINGS.format(tmp_path / "state"))
    return folder


def deploy(folder: Path, password: Path, *words: str) -> tuple[int, str]:
    """Run deploy.py of this checkout; return its exit code, and what it said of errors."""
    argv = [sys.executable, str(ROOT / "scripts/deploy.py"), *words, "-i", str(folder)]
    done = subprocess.run(
        [*argv, "--vault-password-file", str(password)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "verb", ["plan", "verify", "status", "web apply --yes", "doctor", "down --yes", "remove m1 --yes"]
)
def test_a_name_in_an_encrypted_file_is_refused_by_every_verb(folder: Path, password: Path, verb: str) -> None:
    encrypted(folder / "group_vars/all/vault.yml", "cluster_name: other\n", password)
    code, said = deploy(folder, password, *verb.split())
    assert code == 2, said
    (line,) = said.strip().splitlines()
    assert line.startswith("cluster_name is prod for deploy.py and other for the play: is it set in an encrypted file?")


def test_a_state_directory_in_encrypted_extra_variables_is_refused(
    folder: Path, password: Path, tmp_path: Path
) -> None:
    file = encrypted(tmp_path / "x.yml", f"cluster_state_dir: {tmp_path}/elsewhere\n", password)
    code, said = deploy(folder, password, "plan", "-e", f"@{file}")
    assert code == 2, said
    assert f"cluster_state_dir is {tmp_path}/state for deploy.py and {tmp_path}/elsewhere for the play" in said
    assert not (tmp_path / "elsewhere").exists()
