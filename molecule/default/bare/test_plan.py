# SPDX-License-Identifier: Apache-2.0
"""A plan says what an install would do, and does none of it."""

from __future__ import annotations

import subprocess

import pytest
from scenario import Cluster
from testinfra.host import Host

testinfra_hosts = ["ansible://all"]

# What a host writes itself when it boots, and what reaching it leaves.
OF_THE_BOOT = (
    "/run", "/tmp", "/var/log", "/var/lib/systemd", "/var/lib/dbus/machine-id", "/etc/machine-id", "/etc/hostname",
    "/etc/hosts", "/etc/resolv.conf", "/etc/mtab", "/etc/ssh", "/root/.ssh", "/root/.ansible", "/usr/lib/modules",
    "/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet", "/var/cache/ldconfig", "/var/lib/apt",
)  # fmt: skip


def test_a_plan_changes_no_file_of_a_bare_host(cluster: Cluster, name: str) -> None:
    argv = ["docker", "diff", cluster.container(name)]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
    paths = [line[2:] for line in listed.splitlines()]
    assert "/etc/machine-id" in paths  # else the next line proves nothing
    parents = {path.rpartition("/")[0] for path in paths}
    assert [path for path in paths if path not in parents and not path.startswith(OF_THE_BOOT)] == []


@pytest.mark.parametrize("volume", ["containerd", "etcd", "kubelet"])
def test_a_plan_puts_nothing_where_the_cluster_keeps_its_data(host: Host, volume: str) -> None:
    assert host.file(f"/var/lib/{volume}").is_directory
    assert host.check_output(f"find /var/lib/{volume} -mindepth 1") == ""


def test_a_plan_makes_no_kubeconfig(cluster: Cluster) -> None:
    assert (cluster.state / "ssh/id_ed25519").exists()
    assert not cluster.kubeconfig.exists()
