# SPDX-License-Identifier: Apache-2.0
"""What is wrong with hosts, or with the way to them, is reported for every host at once; strangers are left alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from laboratory import Lab, docker

LABEL = "yunkube.test=faults"


@pytest.fixture
def strange_network() -> Iterator[str]:
    """A network that somebody else made, under the name that is needed."""
    yield docker("network", "create", "--label", LABEL, "--subnet", "10.85.0.0/24", "yunkube-faults")
    docker("network", "rm", "yunkube-faults")


def test_a_network_of_another_owner_is_not_touched(bare: Lab, strange_network: str) -> None:
    result = bare.deploy("up")
    assert result.code in (2, 3), result.errors
    assert "yunkube-faults" in result.errors
    assert (
        docker("network", "inspect", "--format", "{{.Id}} {{len .Containers}}", "yunkube-faults")
        == f"{strange_network} 0"
    )
    assert bare.containers() == set()


@pytest.fixture
def strange_container() -> Iterator[str]:
    """A container that somebody else made, under the name of a host."""
    image = docker("images", "--quiet", "yunkube-host").split()[0]
    yield docker("create", "--label", LABEL, "--name", "yunkube-faults-node1", image, "sleep", "60")
    docker("rm", "--force", "--volumes", "yunkube-faults-node1")


def test_a_container_of_another_owner_is_not_touched(bare: Lab, strange_container: str) -> None:
    result = bare.deploy("up")
    assert result.code in (2, 3), result.errors
    assert "yunkube-faults-node1" in result.errors
    state = docker("inspect", "--format", "{{.Id}} {{.State.Status}}", "yunkube-faults-node1")
    assert state == f"{strange_container} created"
    assert bare.containers() == {"yunkube-faults-node1"}  # refused before the others were made
    assert docker("network", "ls", "--quiet", "--filter", "name=^yunkube-faults$") == ""


def test_a_host_that_is_off_is_named_and_the_state_of_the_others_reported(lab: Lab) -> None:
    docker("stop", "--time", "5", "yunkube-faults-node1")
    try:
        # `existing`, or the first stage would start it again.
        result = lab.deploy("plan", cluster_provider="existing")
    finally:
        docker("start", "yunkube-faults-node1")
    assert result.code == 4, result.errors
    assert [(failure["host"], failure["unreachable"]) for failure in result.failures] == [("node1", True)]
    assert "node1 is unreachable" in result.errors
    assert "The others: " in result.errors
    assert "master1" in result.errors.partition("The others: ")[2]
    lab.make_hosts()
    lab.run("node1", "systemctl is-system-running --wait || true")  # while it starts up, sshd may close connections


def test_a_wrong_key_is_distinguished_from_a_host_that_is_off(lab: Lab, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
    common = f"-o UserKnownHostsFile={lab.state}/ssh/known_hosts -o IdentitiesOnly=yes -o ControlPath=none"
    result = lab.deploy(
        "plan", cluster_provider="existing", ansible_ssh_private_key_file=str(key), ansible_ssh_common_args=common
    )
    assert result.code == 4, result.errors
    assert {failure["host"] for failure in result.failures} == {"master1", "node1"}
    for failure in result.failures:
        assert "Permission denied" in failure["message"]
        assert "key" in failure["remedy"]


def test_a_changed_host_key_stops_the_run(lab: Lab, tmp_path: Path) -> None:
    key, known = tmp_path / "key", tmp_path / "known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    lines = (lab.state / "ssh/known_hosts").read_text().splitlines()
    known.write_text(
        "".join(f"10.82.0.21 {public}\n" if line.startswith("10.82.0.21 ") else f"{line}\n" for line in lines)
    )
    assert public in known.read_text()
    common = f"-o UserKnownHostsFile={known} -o ControlPath=none"
    result = lab.deploy("plan", cluster_provider="existing", ansible_ssh_common_args=common)
    assert result.code == 4, result.errors
    (failure,) = result.failures
    assert failure["host"] == "node1"
    assert "host key" in (failure["message"] + failure["remedy"]).lower()


def test_every_fault_of_every_host_is_reported_at_once_and_nothing_is_installed(lab: Lab) -> None:
    strange = "ID=plan9\\nVERSION_ID=4\\nPRETTY_NAME=Plan9\\n"
    lab.run("node1", f"cp /usr/lib/os-release /root/os-release && printf '{strange}' > /usr/lib/os-release")
    listen = "import socket, time; s = socket.create_server(('', 6443)); time.sleep(600)"
    lab.run("master1", f'exec python3 -c "{listen}"', "--detach")
    try:
        result = lab.deploy("up")
    finally:
        lab.run("node1", "cp /root/os-release /usr/lib/os-release")
        lab.run("master1", "pkill --full [c]reate_server")
    assert result.code == 3, result.errors
    assert "plan9" in result.faults.lower()
    assert "6443" in result.faults
    assert "node1" in result.faults
    assert "master1" in result.faults
    for host in ("master1", "node1"):
        assert lab.succeeds(host, "test -d /var/lib/kubelet")
        assert not lab.succeeds(host, "test -e /etc/sysctl.d/99-kubernetes.conf || test -e /usr/local/bin/containerd")
