# SPDX-License-Identifier: Apache-2.0
"""Hosts are reached by SSH as people have it: passwords, passphrases, agents, jump hosts, ports, one address."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ssh_agent
from laboratory import Json, Lab
from terminal import answered

LAB = ("ssh", "10.108.0", 1, 1)
MASTER, JUMP = "10.108.0.11", "10.108.0.21"
PASSWORD, PASSPHRASE = "correct-horse-0815", "battery-staple-4711"
SSHD = f"""
echo root:{PASSWORD} | chpasswd
printf 'Port 22\\nPort 2222\\nPermitRootLogin yes\\nPasswordAuthentication yes\\n' > /etc/ssh/sshd_config.d/00-test.conf
systemctl restart ssh
"""
CONNECTIONS = "ANSIBLE_SSH_CONTROL_PATH_DIR"  # a socket's path is short
CHANGES = 5  # hosts were reached, and lack everything


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No agent of whoever runs this, and no connection that another login left open."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv(CONNECTIONS, "")
    monkeypatch.setenv("ANSIBLE_SSH_RETRIES", "0")  # what fails here fails every time


@pytest.fixture(name="key", scope="module")
def _key(lab: Lab) -> Path:
    """A key with a passphrase that opens master1, whose sshd takes passwords, too; the one beside it opens nothing."""
    path = ssh_agent.make_key(lab.inventory.parent / "id", PASSPHRASE)
    ssh_agent.make_key(path.with_name("stranger"), "")
    lab.run("master1", SSHD)
    lab.run("master1", f"echo '{path.with_suffix('.pub').read_text().strip()}' >> /root/.ssh/authorized_keys")
    return path


@pytest.fixture(name="agent")
def _agent(key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An agent that holds the key."""
    with ssh_agent.running() as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        ssh_agent.add(socket, key, PASSPHRASE, tmp_path)
        yield


def reach(lab: Lab, **hosts: Json) -> None:
    """Write how Ansible gets to the hosts, in place of the key that they were made with."""
    common = f"-o UserKnownHostsFile={lab.state}/ssh/known_hosts"
    groups: dict[str, Json] = {"masters": {"hosts": {}}, "nodes": {"hosts": {}}}
    for name, given in hosts.items():
        more = {"ansible_ssh_common_args": f"{common} {given.pop('args', '')}".strip()}
        address = {"master1": MASTER, "node1": JUMP}[name]
        groups[f"{name[:-1]}s"]["hosts"][name] = {"ansible_host": address, "cluster_node_ip": address, **more, **given}
    (lab.inventory / "hosts.yml").write_text(json.dumps({"all": {"children": groups}}, indent=1))


def plan(lab: Lab, *options: str) -> tuple[int, str]:
    """Plan on hosts that exist; return the exit code, and what is said of hosts that were not reached."""
    with tempfile.TemporaryDirectory(prefix="ssh") as folder:
        os.environ[CONNECTIONS] = folder
        result = lab.deploy("plan", *options, cluster_provider="existing")
    return result.code, " ".join(f"{failure['message']}; {failure['remedy']}" for failure in result.failures)


def own(lab: Lab) -> str:
    """Return the key that the hosts were made with."""
    return str(lab.state / "ssh/id_ed25519")


def test_a_password_is_typed_and_a_wrong_one_is_refused(lab: Lab, key: Path, tmp_path: Path) -> None:
    stranger = {"ansible_ssh_private_key_file": str(key.with_name("stranger"))}
    reach(lab, master1=dict(stranger))
    argv = [word for word in lab.argv("plan", cluster_provider="existing") if word != "--json"]
    with tempfile.TemporaryDirectory(prefix="ssh") as folder:
        alone = os.environ | {CONNECTIONS: folder}
        code, shown = answered([*argv, "--ask-pass", "-vv"], "SSH password: ", PASSWORD, alone, tmp_path)
    assert code == CHANGES, shown
    assert PASSWORD not in shown + "".join(path.read_text() for path in (lab.state / "logs").iterdir())
    reach(lab, master1={**stranger, "ansible_password": "wrong"})
    code, said = plan(lab)
    assert (code, "it rejected the password from" in said) == (4, True), said


def test_a_key_with_a_passphrase_needs_an_agent(lab: Lab, key: Path) -> None:
    reach(lab, master1={"ansible_ssh_private_key_file": str(key)})
    code, said = plan(lab)
    assert code == 4
    assert f"{key} has a passphrase and is not in an ssh-agent" in said
    assert f"ssh-add {key}" in said


@pytest.mark.usefixtures("agent")
def test_the_agents_key_opens_a_host(lab: Lab, key: Path) -> None:
    reach(lab, master1={"ansible_ssh_private_key_file": str(key)})
    assert plan(lab) == (CHANGES, "")


@pytest.mark.usefixtures("key")
def test_another_port_is_the_same_host(lab: Lab) -> None:
    reach(lab, master1={"ansible_ssh_private_key_file": own(lab), "ansible_port": 2222})
    assert plan(lab) == (CHANGES, "")


def test_a_jump_host_leads_to_the_others_and_is_named_where_it_does_not(lab: Lab) -> None:
    to = f"ssh -i {own(lab)} -o UserKnownHostsFile={lab.state}/ssh/known_hosts -W %h:%p root@"
    reach(lab, master1={"ansible_ssh_private_key_file": own(lab), "args": f"-o 'ProxyCommand={to}{JUMP}'"})
    assert plan(lab) == (CHANGES, "")
    assert f"Accepted publickey for root from {JUMP}" in lab.run("master1", "journalctl --unit ssh --no-pager")
    reach(lab, master1={"ansible_ssh_private_key_file": own(lab), "args": f"-o 'ProxyCommand={to}bastion.invalid'"})
    code, said = plan(lab)
    assert code == 4
    assert "with a jump host (ProxyJump), test that one on its own first" in said


def test_hosts_behind_one_address_are_distinguished_by_their_ports(lab: Lab) -> None:
    proxy = f"/lib/systemd/systemd-socket-proxyd {MASTER}:22"
    lab.run("node1", f"systemd-run -q --unit forward --socket-property=ListenStream=2201 {proxy}")
    key = {"ansible_ssh_private_key_file": own(lab), "ansible_host": JUMP}
    reach(lab, master1={**key, "ansible_port": 2201}, node1=dict(key))
    code, said = plan(lab, "--limit", "master1")
    assert code == 4, said
    assert f"ssh-keyscan -p 2201 {JUMP}" in said
    known = lab.state / "ssh/known_hosts"
    line = next(line for line in known.read_text().splitlines() if line.startswith(MASTER))
    with known.open("a") as stream:
        stream.write(f"[{JUMP}]:2201 {line.partition(' ')[2]}\n")
    assert plan(lab) == (CHANGES, "")
    lab.declare(1, 1)
