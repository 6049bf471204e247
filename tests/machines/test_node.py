# SPDX-License-Identifier: Apache-2.0
"""A virtual machine joins a cluster and leaves it: a kernel of its own, cgroup version 2, systemd as cgroup driver.

Nothing is set for it but how it is reached: the product's defaults, a user with sudo.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import mixed_lab
import pytest
from laboratory import Json, Lab
from virtual_machine import Machine, Running, running

LAB = ("machines", "10.66.0", 1, 0)
SETTINGS = "cluster_slow_factor: 5\n"  # an emulated processor beside other tests
NODE = "node1"


@pytest.fixture(scope="module", name="lab")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A bare master in Docker."""
    lab = Lab.at(tmp_path_factory.mktemp("lab"), *LAB, SETTINGS)
    lab.clear()
    mixed_lab.make_master(lab)
    yield lab
    lab.clear()


@pytest.fixture(scope="module", name="node", autouse=True)
def _node(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A machine that is to be a node."""
    machine = Machine(NODE, f"{lab.network}.31", lab.gateway)
    with running(machine, f"yunkube-{lab.name}", tmp_path_factory.mktemp("node")) as node:
        node.wait()
        mixed_lab.declare(lab, node)
        yield node


def kubelet(lab: Lab, node: str) -> Json:
    """Return the configuration that a kubelet runs with, as it says itself."""
    found: Json = json.loads(lab.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/configz"))["kubeletconfig"]
    return found


def test_it_joins_with_the_defaults_and_is_proved(lab: Lab, node: Running) -> None:
    assert node.run("stat -f -c %T /sys/fs/cgroup") == "cgroup2fs"
    result = lab.deploy("up", seconds=900)
    assert result.code == 0, result.errors
    assert all(row["ok"] for row in result.summary["table"])
    [nodes] = [row["target"] for row in result.summary["table"] if row["check"] == "node"]
    assert nodes == "2 of 2"
    config = kubelet(lab, NODE)
    assert (config["cgroupDriver"], config["failSwapOn"], config.get("failCgroupV1", True)) == ("systemd", True, True)
    assert "SystemdCgroup = true" in node.run("cat /etc/containerd/config.toml")
    assert "cri-containerd-" in node.run("ls -d /sys/fs/cgroup/kubepods.slice/*/*/*.scope")


def test_a_second_run_has_nothing_to_do(lab: Lab) -> None:
    result = lab.deploy("up", seconds=300)
    assert result.code == 0, result.errors
    assert set(result.changed.values()) == {0}


def test_the_doctor_finds_nothing(lab: Lab) -> None:
    result = lab.deploy("doctor", seconds=300)
    assert result.code == 0, json.dumps(result.summary, indent=1)


def test_it_leaves_and_nothing_of_the_cluster_stays(lab: Lab, node: Running) -> None:
    result = lab.deploy("remove", NODE, "--yes", "--force", seconds=300)
    assert result.code == 0, result.errors
    assert NODE not in lab.kubectl("get", "nodes", "-o", "name")
    left = (
        "ls -d /etc/kubernetes /etc/containerd /var/lib/kubelet /var/lib/containerd /etc/cni 2>/dev/null; ip -br link"
    )
    assert [word for word in node.run(left, check=False).split() if word.startswith(("/", "cni0", "flannel"))] == []
    assert node.run("systemctl is-system-running", check=False) == "running"
