# SPDX-License-Identifier: Apache-2.0
"""Whatever cuts an install short, the next `up` goes on and ends with a healthy cluster.

The tests follow each other on the same two hosts, from bare to Ready.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from laboratory import Lab, serving


def digest_of(manifest: Any, name: str) -> str:
    """Return the digest of a file of the bundle."""
    return next(str(entry["sha256"]) for entry in manifest["files"] if entry["name"] == name)


def is_served(lab: Lab) -> bool:
    """Say whether the bundle is served."""
    with socket.socket() as probe:
        return probe.connect_ex((lab.gateway, 8742)) == 0


def test_a_damaged_file_is_named_and_never_installed(lab: Lab, manifest: Any) -> None:
    with serving(lab) as server:
        server.damaged.add(digest_of(manifest, "kubelet"))
        result = lab.deploy("up", cluster_bundle_url=server.url)
    assert result.code == 3, result.errors
    assert {failure["host"] for failure in result.failures} == {"master1", "node1"}
    for failure in result.failures:
        assert failure["message"].startswith("kubelet: the file at http://10.82.0.1:")
        assert "damaged" in failure["message"]
    for host in ("master1", "node1"):
        assert lab.succeeds(host, "test -x /usr/local/bin/containerd")  # what came before it
        assert not lab.succeeds(host, "test -e /usr/local/bin/kubelet")


def test_a_full_disk_is_named_with_its_host_and_what_is_needed(lab: Lab) -> None:
    record = "/var/lib/yunkube/before.json"  # the host must stay known as one of this cluster
    lab.run(
        "node1",
        f"cp {record} /run/ && mount -t tmpfs -o size=20m tmpfs /var/lib/yunkube && mv /run/before.json {record}",
    )
    try:
        result = lab.deploy("up", "--limit", "node1")
    finally:
        lab.run("node1", "umount /var/lib/yunkube")
    assert result.code == 3, result.errors
    (failure,) = result.failures
    assert failure["host"] == "node1"
    assert "make room" in failure["message"]


def test_a_server_that_goes_away_half_way_leaves_nothing_half(lab: Lab) -> None:
    with serving(lab) as server:
        server.bytes_left = 150 << 20
        result = lab.deploy("up", cluster_bundle_url=server.url)
        assert server.gone.is_set()
    assert result.code == 3, result.errors
    assert "cannot fetch it from http://10.82.0.1:" in result.failures[0]["message"]
    for host in ("master1", "node1"):
        assert lab.run(host, "find / -xdev -name '.*.part' -path '*bin*'") == ""


def test_killed_while_images_are_imported(lab: Lab) -> None:
    lab.kill_when(lambda: lab.succeeds("master1", "pgrep --full '[i]mages import'"))
    assert not lab.succeeds("master1", "test -e /etc/kubernetes/admin.conf")


def test_killed_during_kubeadm_init(lab: Lab) -> None:
    lab.kill_when(
        lambda: lab.succeeds("master1", "pgrep --full '[k]ubeadm init' && test -e /etc/kubernetes/manifests/etcd.yaml")
    )
    assert not (lab.state / "kubeconfig").exists()


def test_killed_between_init_and_join(lab: Lab) -> None:
    lab.kill_when((lab.state / "kubeconfig").exists)
    assert not lab.succeeds("node1", "test -e /etc/kubernetes/kubelet.conf")


def test_up_then_ends_with_a_healthy_cluster(lab: Lab) -> None:
    result = lab.deploy("up")
    assert result.code == 0, result.errors
    verified = lab.deploy("verify")
    assert verified.code == 0, verified.errors
    assert verified.summary["table"]
    assert all(row["ok"] for row in verified.summary["table"])


def test_and_another_up_changes_nothing(lab: Lab) -> None:
    result = lab.deploy("up")
    assert result.code == 0, result.errors
    assert result.changed == {"localhost": 0, "master1": 0, "node1": 0}


def test_the_bundle_is_served_only_while_a_run_goes_on(lab: Lab) -> None:
    deadline = time.monotonic() + 20
    while is_served(lab):  # runs that were killed before are no runs either
        assert time.monotonic() < deadline, "a server is left"
        time.sleep(0.2)
    lab.kill_when(lambda: is_served(lab))
    deadline = time.monotonic() + 20
    while is_served(lab):
        assert time.monotonic() < deadline, "the server of a killed run is left"
        time.sleep(0.2)


def test_down_leaves_nothing_of_it_on_this_machine(lab: Lab) -> None:
    result = lab.deploy("down", "--yes")
    assert result.code == 0, result.errors
    assert lab.containers() == set()
    assert not (lab.state / "kubeconfig").exists()
    assert not (lab.state / "ssh/id_ed25519").exists()
