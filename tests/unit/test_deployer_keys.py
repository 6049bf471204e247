# SPDX-License-Identifier: Apache-2.0
"""A refused login is explained by the key with a passphrase or the password, for ssh itself does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ssh_agent
from ansible.module_utils.yunkube.control.inventory_files import Inventory, read
from deployer.failures import unreachable_of
from deployer.keys import locked_key, refused_login
from ssh_agent import make_key

PASSPHRASE = "open sesame"
REFUSED = {"host": "node1", "res": {"msg": "root@192.0.2.21: Permission denied (publickey,password)."}}


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An agent without keys, by its socket."""
    with ssh_agent.running() as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        yield socket


def inventory(folder: Path, named: str, scope: str = "vars") -> Inventory:
    """Return an inventory that names a key for all hosts, or for node1 alone."""
    line = f"ansible_ssh_private_key_file: {named}"
    text = {"vars": f"  vars: {{{line}}}\n", "host": ""}[scope]
    host = f"{{{line}}}" if scope == "host" else ""
    (folder / "hosts.yml").write_text(f"all:\n  hosts:\n    node1: {host}\n    node2:\n{text}")
    return read([folder])


@pytest.mark.parametrize("scope", ["vars", "host"])
def test_a_key_with_a_passphrase_is_named_until_the_agent_has_it(tmp_path: Path, scope: str, agent: str) -> None:
    path = make_key(tmp_path / "id", PASSPHRASE)
    files = inventory(tmp_path, str(path), scope)
    assert locked_key(files, "node1") == str(path)
    failure = unreachable_of(REFUSED, "", lambda host: refused_login(files, host, typed=False))
    assert f"{path} has a passphrase and is not in an ssh-agent" in failure.message
    assert failure.remedy.endswith(f"ssh-add {path}")
    ssh_agent.add(agent, path, PASSPHRASE, tmp_path)
    assert locked_key(files, "node1") == ""
    assert (
        "rejected the key or password"
        in unreachable_of(REFUSED, "", lambda host: refused_login(files, host, typed=False)).message
    )


def test_a_key_without_a_passphrase_and_no_key_are_not_locked(tmp_path: Path) -> None:
    assert locked_key(inventory(tmp_path, str(make_key(tmp_path / "id", ""))), "node1") == ""
    assert locked_key(inventory(tmp_path, str(tmp_path / "missing")), "node1") == ""
    assert locked_key(inventory(tmp_path, '"{{ x_key }}"'), "node1") == ""
    of_node1 = inventory(tmp_path, str(make_key(tmp_path / "locked", PASSPHRASE)), "host")
    assert locked_key(of_node1, "node1").endswith("/locked")
    assert not locked_key(of_node1, "node2").endswith("/locked")


@pytest.mark.usefixtures("agent")
def test_where_no_key_is_named_those_of_ssh_itself_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "hosts.yml").write_text("all: {hosts: {node1: }}\n")
    files = read([tmp_path])
    assert locked_key(files, "node1") == ""
    path = make_key(tmp_path / ".ssh/id_ed25519", PASSPHRASE)
    assert locked_key(files, "node1") == str(path)


def test_a_refused_password_is_named_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all:\n  hosts:\n    node1:\n      ansible_password: wrong\n    node2:\n")
    files = read([tmp_path])

    def said(host: str, *, typed: bool) -> str:
        failure = unreachable_of({**REFUSED, "host": host}, "", lambda name: refused_login(files, name, typed=typed))
        assert "wrong" not in failure.message
        return f"{failure.message}; {failure.remedy}"

    assert f"rejected the password from {tmp_path}/hosts.yml:4" in said("node1", typed=False)
    assert "rejected the password from --ask-pass" in said("node2", typed=True)
    assert said("node2", typed=False).startswith("it rejected the key or password")
    assert "authorized_keys" not in said("node1", typed=False)
