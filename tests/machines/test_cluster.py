# SPDX-License-Identifier: Apache-2.0
"""A whole cluster of virtual machines with Debian 13 and the product's defaults, from bare hosts to bare hosts.

The control plane runs on an emulated processor where there is no KVM, so nothing else may run beside it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator

import mixed_lab
import pytest
from laboratory import Json, Lab, differences
from machine_image import Recipe
from virtual_machine import Machine, Running, network, running

LAB = ("bare", "10.68.0", 1, 1)
IMAGE = Recipe(suite="trixie")
HOSTS = {"master1": 11, "node1": 21, "node2": 22}
# What a person sets for hosts that are this slow, and nothing else.
SETTINGS = "cluster_slow_factor: 5\n"


@pytest.fixture(scope="module", name="lab")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """An inventory of hosts that exist, and of no override."""
    lab = Lab.at(tmp_path_factory.mktemp("lab"), *LAB, SETTINGS)
    mixed_lab.leave_docker(lab)
    shutil.rmtree(lab.state, ignore_errors=True)  # of machines that are gone
    yield lab
    shutil.rmtree(lab.state, ignore_errors=True)


@pytest.fixture(scope="module", name="wire")
def _wire(lab: Lab) -> Iterator[str]:
    """The network of the machines."""
    with network(f"yunkube-{lab.name}", lab.network) as name:
        yield name


@contextlib.contextmanager
def booted(lab: Lab, wire: str, factory: pytest.TempPathFactory, *hosts: str) -> Iterator[dict[str, Running]]:
    """Machines that answer."""
    with contextlib.ExitStack() as stack:
        machines = {}
        for host in hosts:
            # kubeadm asks for two processors of a master; one more that is emulated costs all of them time.
            processors, memory = (2, 3072) if host == "master1" else (1, 2048)
            address = f"{lab.network}.{HOSTS[host]}"
            machine = Machine(host, address, lab.gateway, memory_mb=memory, processors=processors)
            machines[host] = stack.enter_context(running(machine, wire, factory.mktemp(host), IMAGE))
        for one in machines.values():
            one.wait()
        yield machines


@pytest.fixture(scope="module", name="machines")
def _machines(lab: Lab, wire: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """The hosts of the first `up`."""
    with booted(lab, wire, tmp_path_factory, "master1", "node1") as machines:
        yield machines


@pytest.fixture(scope="module", name="before")
def _before(machines: dict[str, Running]) -> dict[str, Json]:
    """What the hosts were before anything was done to them."""
    return {host: machine.fingerprint() for host, machine in machines.items()}


@pytest.fixture(name="added")
def _added(lab: Lab, wire: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One more host, which runs no longer than it is needed."""
    with booted(lab, wire, tmp_path_factory, "node2") as machines:
        yield machines["node2"]


def declare(lab: Lab, machines: dict[str, Running], *hosts: str) -> None:
    """Write hosts.yml: the master, and these nodes."""
    mixed_lab.declare(lab, *(machines[host] for host in hosts), master=machines["master1"].variables)


def test_up_makes_a_cluster_with_the_defaults(lab: Lab, machines: dict[str, Running], before: dict[str, Json]) -> None:
    assert set(before) == {"master1", "node1"}
    declare(lab, machines, "node1")
    result = lab.deploy("up", seconds=2400)
    assert result.code == 0, result.errors
    assert all(row["ok"] for row in result.summary["table"])
    for host in ("master1", "node1"):
        assert machines[host].run("stat -f -c %T /sys/fs/cgroup") == "cgroup2fs"
        assert "SystemdCgroup = true" in machines[host].run("cat /etc/containerd/config.toml")


def test_a_second_run_has_nothing_to_do(lab: Lab) -> None:
    result = lab.deploy("up", seconds=600)
    assert result.code == 0, result.errors
    assert set(result.changed.values()) == {0}


def test_it_comes_back_after_a_reboot_of_all_hosts(lab: Lab, machines: dict[str, Running]) -> None:
    for host in ("master1", "node1"):
        machines[host].reboot()
    verify = lab.deploy("verify", seconds=1800)
    assert verify.code == 0, verify.errors
    doctor = lab.deploy("doctor", seconds=600)
    assert doctor.code == 0, json.dumps(doctor.summary, indent=1)


def test_a_host_is_added_and_removed(lab: Lab, machines: dict[str, Running], added: Running) -> None:
    before = added.fingerprint()
    declare(lab, machines | {"node2": added}, "node1", "node2")
    result = lab.deploy("add", "node2", seconds=1800)
    assert result.code == 0, result.errors
    assert "node/node2" in lab.kubectl("get", "nodes", "-o", "name").split()
    removed = lab.deploy("remove", "node2", "--yes", seconds=1200)
    assert removed.code == 0, removed.errors
    assert differences(before, added.fingerprint()) == []
    declare(lab, machines, "node1")


def test_down_leaves_the_hosts_as_they_were(lab: Lab, machines: dict[str, Running], before: dict[str, Json]) -> None:
    for host in ("master1", "node1"):
        assert differences(before[host], machines[host].fingerprint()) != [], "else the end proves nothing"
    down = lab.deploy("down", "--yes", seconds=1200)
    assert down.code == 0, down.errors
    for host in ("master1", "node1"):
        assert differences(before[host], machines[host].fingerprint()) == [], host
