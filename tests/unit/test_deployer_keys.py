"""A key with a passphrase that no agent holds is named, for ssh itself only says that the login was refused."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.inventory_files import Inventory, read
from deployer.failures import unreachable_of
from deployer.keys import locked_key

PASSPHRASE = "open sesame"
REFUSED = {"host": "node1", "res": {"msg": "root@192.0.2.21: Permission denied (publickey,password)."}}


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An agent without keys."""
    said = subprocess.run(["ssh-agent", "-s"], check=True, capture_output=True, text=True).stdout
    found = dict(re.findall(r"(SSH_\w+)=([^;]+);", said))
    monkeypatch.setenv("SSH_AUTH_SOCK", found["SSH_AUTH_SOCK"])
    yield
    os.kill(int(found["SSH_AGENT_PID"]), 15)


def key(path: Path, passphrase: str = PASSPHRASE) -> Path:
    """Make a key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    return path


def inventory(folder: Path, named: str, scope: str = "vars") -> Inventory:
    """Return an inventory that names a key for all hosts, or for node1 alone."""
    line = f"ansible_ssh_private_key_file: {named}"
    text = {"vars": f"  vars: {{{line}}}\n", "host": ""}[scope]
    host = f"{{{line}}}" if scope == "host" else ""
    (folder / "hosts.yml").write_text(f"all:\n  hosts:\n    node1: {host}\n    node2:\n{text}")
    return read([folder])


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("scope", ["vars", "host"])
def test_a_key_with_a_passphrase_is_named_until_the_agent_has_it(
    tmp_path: Path, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = key(tmp_path / "id")
    files = inventory(tmp_path, str(path), scope)
    assert locked_key(files, "node1") == str(path)
    failure = unreachable_of(REFUSED, "", lambda host: locked_key(files, host))
    assert f"{path}, has a passphrase and is in no ssh-agent" in failure.message
    assert failure.remedy.endswith(f"ssh-add {path}")
    (tmp_path / "ask").write_text(f"#!/bin/sh\necho {PASSPHRASE}\n")
    (tmp_path / "ask").chmod(0o700)
    monkeypatch.setenv("SSH_ASKPASS", str(tmp_path / "ask"))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    subprocess.run(["ssh-add", str(path)], check=True, capture_output=True)
    assert locked_key(files, "node1") == ""
    assert "refused the key or password" in unreachable_of(REFUSED, "", lambda host: locked_key(files, host)).message


def test_a_key_without_a_passphrase_and_no_key_are_not_locked(tmp_path: Path) -> None:
    assert locked_key(inventory(tmp_path, str(key(tmp_path / "id", ""))), "node1") == ""
    assert locked_key(inventory(tmp_path, str(tmp_path / "missing")), "node1") == ""
    assert locked_key(inventory(tmp_path, '"{{ x_key }}"'), "node1") == ""


@pytest.mark.usefixtures("agent")
def test_where_no_key_is_named_those_of_ssh_itself_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "hosts.yml").write_text("all: {hosts: {node1: }}\n")
    files = read([tmp_path])
    assert locked_key(files, "node1") == ""
    path = key(tmp_path / ".ssh/id_ed25519")
    assert locked_key(files, "node1") == str(path)
