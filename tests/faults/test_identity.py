# SPDX-License-Identifier: Apache-2.0
"""Hosts of another cluster are left alone, and hosts in Docker keep what is on them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from laboratory import Lab, Result, docker, run_module

CONTAINERS = ("yunkube-faults-master1", "yunkube-faults-node1")


def made() -> list[str]:
    """Return the id of every host's container, which a container created in its place does not have."""
    return [docker("inspect", "--format", "{{.Id}}", name) for name in CONTAINERS]


@pytest.fixture
def hosts(lab: Lab) -> Iterator[list[str]]:
    """The lab's hosts, which are the same ones afterwards."""
    if set(docker("ps", "--format", "{{.Names}}", "--filter", "name=^yunkube-faults-").split()) != set(CONTAINERS):
        lab.make_hosts()
    before = made()
    yield before
    assert made() == before


def refused(result: Result, *words: str) -> None:
    """Fail unless the run was refused, in these words."""
    assert result.code == 3, result.errors
    for word in words:
        assert word in result.faults + result.errors, (word, result.errors)


def test_every_docker_object_carries_the_id(lab: Lab, hosts: list[str]) -> None:
    cluster_id = (lab.state / "id").read_text().strip()
    label = f"label=yunkube.cluster-id={cluster_id}"
    assert set(docker("ps", "--quiet", "--no-trunc", "--filter", label).split()) == set(hosts)
    assert docker("network", "ls", "--filter", label, "--format", "{{.Name}}") == "yunkube-faults"
    assert (lab.state / "id").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("verb", ["plan", "up", "down --yes"])
def test_another_users_hosts_of_the_same_name_are_not_touched(lab: Lab, hosts: list[str], bare: Lab, verb: str) -> None:
    cluster_id = (lab.state / "id").read_text().strip()
    keys = [lab.run(host, "cat /root/.ssh/authorized_keys") for host in ("master1", "node1")]
    refused(bare.deploy(verb), cluster_id, "choose another cluster_name", "master1", "node1")
    assert [lab.run(host, "cat /root/.ssh/authorized_keys") for host in ("master1", "node1")] == keys
    assert len(hosts) == len(CONTAINERS)


def test_a_copy_of_the_inventory_gets_no_state_directory(lab: Lab, hosts: list[str], tmp_path: Path) -> None:
    copy = Lab(tmp_path / "copy", lab.name, lab.network)
    shutil.copytree(lab.inventory, copy.inventory)
    for verb in ("up", "down --yes", "status"):
        result = copy.deploy(verb)
        assert result.code == 2, result.errors
        assert str(lab.inventory) in result.errors
        assert str(copy.inventory) in result.errors
    assert hosts


def test_a_changed_address_does_not_cost_a_host(lab: Lab, hosts: list[str]) -> None:
    text = (lab.inventory / "hosts.yml").read_text()
    (lab.inventory / "hosts.yml").write_text(text.replace("10.82.0.21", "10.82.0.22"))
    try:
        for verb in ("plan", "up"):
            refused(lab.deploy(verb), "its address changes from 10.82.0.21 to 10.82.0.22", "docker_hosts_replace=node1")
    finally:
        (lab.inventory / "hosts.yml").write_text(text)
    assert hosts


def test_hosts_whose_network_was_pruned_are_connected_again(lab: Lab, hosts: list[str]) -> None:
    lab.run("node1", "touch /var/lib/etcd/mine")
    docker("stop", "--time", "5", *CONTAINERS)
    docker("network", "rm", "yunkube-faults")
    lab.make_hosts()
    assert lab.succeeds("node1", "test -e /var/lib/etcd/mine && ip address show | grep 10.82.0.21")
    # And one that somebody took off while it ran.
    docker("network", "disconnect", "--force", "yunkube-faults", "yunkube-faults-node1")
    lab.make_hosts()
    lab.run("node1", "rm /var/lib/etcd/mine")
    assert hosts


def test_a_lost_state_directory_is_attached_again(lab: Lab, hosts: list[str], tmp_path: Path) -> None:
    cluster_id = (lab.state / "id").read_text().strip()
    shutil.move(lab.state, tmp_path / "lost")
    refused(lab.deploy("up"), cluster_id, "reattach")
    result = lab.deploy("reattach")  # its last stage goes into the hosts
    assert result.code == 0, result.errors
    assert (lab.state / "id").read_text().strip() == cluster_id
    assert hosts


@pytest.mark.usefixtures("hosts")  # with which an engine runs
def test_a_plan_before_the_first_up_names_the_hosts_and_creates_none(tmp_path: Path) -> None:
    planned = Lab.at(tmp_path / "planned", "planned", "10.121.0")
    planned.clear()
    result = planned.deploy("plan", cluster_provider="docker")
    log = Path(result.summary["log"]).read_text()
    planned.clear()
    assert result.code == 5, result.errors
    assert result.summary["pending"] == ["master1", "node1"]
    assert "create host master1" in result.summary["plan"]["localhost"]
    assert "master1 has to be created or started first" in log, "else somebody tried to connect to it"
    assert docker("ps", "--all", "--quiet", "--filter", "label=yunkube.cluster=planned") == ""


def test_a_plan_looks_at_the_hosts_that_run(lab: Lab, hosts: list[str]) -> None:
    docker("stop", "--time", "5", CONTAINERS[1])
    result = lab.deploy("plan")
    lab.make_hosts()
    assert result.code == 5, result.errors
    assert result.summary["pending"] == ["node1"]
    assert "run kubeadm init 1.37.2" in result.summary["plan"]["master1"]
    assert hosts


@pytest.mark.usefixtures("hosts")  # with which an engine runs
def test_a_network_that_lost_its_hosts_and_its_state_goes(tmp_path: Path) -> None:
    orphan = Lab.at(tmp_path / "orphan", "orphan", "10.118.0")
    orphan.clear()
    marks = ("--label", "yunkube.cluster=orphan", "--label", "yunkube.cluster-id=0123456789abcdef")
    docker("network", "create", "--subnet", "10.118.0.0/24", *marks, "yunkube-orphan")
    refused = orphan.deploy("down", "--yes", cluster_provider="docker")
    assert "attach it again with `reattach`" in refused.faults
    place = {"state_dir": str(orphan.state), "sources": [str(orphan.inventory)]}
    run_module("cluster_identity", {"cluster": "orphan", "reattach": True, **place})
    down = orphan.deploy("down", "--yes", cluster_provider="docker")
    assert down.code == 0, down.errors
    orphan.clear()
    assert not docker("network", "ls", "--quiet", "--filter", "name=^yunkube-orphan$")


def test_a_host_is_replaced_where_that_is_asked_for(lab: Lab) -> None:
    lab.make_hosts()
    master, node = made()
    text = (lab.inventory / "hosts.yml").read_text()
    (lab.inventory / "hosts.yml").write_text(text.replace("10.82.0.21", "10.82.0.22"))
    try:
        lab.make_hosts(docker_hosts_replace="node1")
        moved = made()
    finally:
        (lab.inventory / "hosts.yml").write_text(text)
        lab.make_hosts(docker_hosts_replace="node1")
    assert moved[0] == made()[0] == master
    assert len({node, moved[1], made()[1]}) == 3
