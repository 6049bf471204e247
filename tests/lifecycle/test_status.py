# SPDX-License-Identifier: Apache-2.0
"""Status reports the state of the cluster and what differs on its hosts, and sets its exit code.

The tests follow each other on the same three hosts.
"""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from laboratory import ROOT, Lab, Result, docker

LAB = ("status", "10.88.2", 1, 2)
UP_MAKES_HOSTS = True
HOSTS = ["master1", "node1", "node2"]

# What is done by hand: where, how, and what would make it good.
DRIFT = [
    ("node1", "sysctl --quiet --write net.ipv4.ip_forward=0", "set net.ipv4.ip_forward to 1"),
    ("node1", "systemctl stop containerd", "start containerd"),
    ("node1", "rm /opt/cni/bin/portmap", "install CNI plugin portmap"),
    ("node2", "systemctl stop kubelet", "start kubelet"),
    ("node2", "rm /etc/sysctl.d/99-kubernetes.conf", "write /etc/sysctl.d/99-kubernetes.conf"),
    ("node2", "ctr --namespace k8s.io images rm docker.io/yunkube/probe:0.1.1", "import image probe 0.1.1"),
    ("master1", "echo '# mine' >> /etc/containerd/config.toml", "write /etc/containerd/config.toml"),
    ("master1", "systemctl disable --quiet kubelet", "enable kubelet"),
]


@pytest.fixture
def status(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Result:
    """Ask for the status, and print how long that took."""
    started = time.monotonic()
    result = lab.deploy("status")
    with capsys.disabled():
        sys.stdout.write(f"\n{time.monotonic() - started:6.1f} s  status of {len(HOSTS)} hosts ")
    return result


def plan_of(result: Result) -> dict[str, list[str]]:
    """Return what would be done to each host."""
    return {str(host): list(words) for host, words in result.summary["plan"].items()}


def test_up_makes_a_cluster(lab: Lab) -> None:
    assert lab.deploy("up").code == 0


def test_a_healthy_cluster_ends_with_0(status: Result) -> None:
    assert status.code == 0, status.errors
    assert plan_of(status) == {"master1": [], "node1": [], "node2": []}
    assert [node["name"] for node in status.summary["status"]["nodes"]] == HOSTS
    assert {entry["days"] > 300 for entry in status.summary["status"]["certificates"]} == {True}


def test_a_person_reads_it_in_a_few_lines(lab: Lab) -> None:
    argv = [part for part in lab.argv("status") if part != "--json"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "every pod is ready" in done.stdout
    assert "Hosts master1, node1, node2: as declared\n" in done.stdout
    assert len(done.stdout.splitlines()) <= 16


def test_hosts_are_changed_by_hand(lab: Lab) -> None:
    for host, script, _ in DRIFT:
        lab.run(host, script)


def test_every_drift_is_reported_by_name(status: Result) -> None:
    assert status.code in (5, 6), status.errors
    plan = plan_of(status)
    assert {(host, words) for host, _, words in DRIFT} <= {(host, word) for host in plan for word in plan[host]}
    assert "restart containerd" in plan["master1"]
    assert not [word for word in plan["node1"] if word.startswith("import")]


def test_up_makes_it_good(lab: Lab) -> None:
    result = lab.deploy("up")
    assert result.code == 0, result.errors
    done = {event["host"] for event in result.events if event["type"] == "result" and event["changes"]}
    assert done == set(HOSTS)


def test_then_all_is_as_declared_again(status: Result) -> None:
    assert status.code == 0, (status.errors, status.summary)


def test_verify_proves_again_what_passed_before(lab: Lab) -> None:
    patch = ("--namespace=kube-system", "patch", "service", "kube-dns", "--patch")
    lab.kubectl(*patch, '{"spec": {"selector": {"k8s-app": "nobody"}}}')
    broken = lab.deploy("verify", "-e", '{"verify_probe_timeout": 10}')
    lab.kubectl(*patch, '{"spec": {"selector": {"k8s-app": "kube-dns"}}}')
    assert broken.code == 3
    assert "DNS" in broken.errors
    again = lab.deploy("verify")
    assert again.code == 0, again.errors


def test_a_stopped_host_ends_with_4_and_the_api_is_queried_all_the_same(lab: Lab) -> None:
    docker("stop", "--time", "1", f"yunkube-{lab.name}-node2")
    result = lab.deploy("status")
    docker("start", f"yunkube-{lab.name}-node2")
    assert result.code == 4
    assert [failure["host"] for failure in result.failures] == ["node2"]
    assert result.summary["status"]["api"]["answers"]
    assert plan_of(result) == {"master1": [], "node1": []}


def test_a_silent_api_ends_with_6_and_what_the_master_knows(lab: Lab) -> None:
    lab.run("master1", "mv /etc/kubernetes/manifests/kube-apiserver.yaml /root/")
    try:
        deadline = time.monotonic() + 60
        while lab.succeeds("master1", "pgrep --exact kube-apiserver"):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        result = lab.deploy("status")
    finally:
        lab.run("master1", "mv /root/kube-apiserver.yaml /etc/kubernetes/manifests/")
    assert result.code == 6, result.errors
    assert "no static pod of kube-apiserver" in result.summary["status"]["api"]["detail"]
    assert set(plan_of(result)) >= {"master1", "node1"}


def test_it_comes_back_by_itself(lab: Lab) -> None:
    deadline = time.monotonic() + 240
    while (result := lab.deploy("status")).code != 0:
        assert time.monotonic() < deadline, result.summary
        time.sleep(2)
