# SPDX-License-Identifier: Apache-2.0
"""A cluster of 1.36 becomes one of 1.37 while a web service is asked: killed on the way, and with a node that fails.

The tests follow each other on the same hosts: a master and two nodes. `make test-full` runs them, as they need the
bundles of two releases; `.venv/bin/pytest tests/lifecycle/test_upgrade.py` does, too.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import demo_image
import load
import pytest
from laboratory import Lab, Result

LAB = ("upgrade", "10.122.0", 1, 2)
UP_MAKES_HOSTS = True
FROM, TO = "1.36.5", "1.37.2"
RATE, AROUND = 50, 3
PORT = 31111
URL = f"http://{LAB[1]}.21:{PORT}/who"
SETTINGS = f'cluster_kubernetes_version: "{FROM}"\ndashboard_provider: kube_web_view\n'
SERVICE = {
    "name": "web", "image": f"{demo_image.IMAGE}:1", "node_port": PORT, "cpu": "50m", "memory": "64Mi",
    "probe": {"path": "/healthz"},
}  # fmt: skip


def releases(lab: Lab) -> dict[str, str]:
    """Return the release of each node's kubelet, and of its API server under `api`."""
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    found = {node["metadata"]["name"]: node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes}
    return found | {"api": json.loads(lab.kubectl("get", "--raw", "/version"))["gitVersion"]}


def cordoned(lab: Lab) -> list[str]:
    """Return the nodes that take no pods."""
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    return [node["metadata"]["name"] for node in nodes if node["spec"].get("unschedulable")]


def upgrade(lab: Lab, *options: str) -> Result:
    """Run it as the services are declared."""
    return lab.deploy("upgrade", "--to", TO, *options, web_services=json.dumps([SERVICE]), seconds=1200)


def told(words: str) -> None:
    """Show a figure."""
    sys.stdout.write(f"\n  {words}\n")


def test_up_makes_a_cluster_of_the_older_release(lab: Lab) -> None:
    began = time.monotonic()
    result = lab.deploy("up", seconds=1800)
    assert result.code == 0, result.errors
    told(f"up: {time.monotonic() - began:.0f} s")
    assert set(releases(lab).values()) == {f"v{FROM}"}
    demo_image.bring(lab.bundle / "bin/demo", [f"yunkube-{lab.name}-{node}" for node in ("node1", "node2")])
    applied = lab.deploy("web apply", "--yes", web_services=json.dumps([SERVICE]))
    assert applied.code == 0, applied.errors


def test_up_refuses_another_release_and_names_upgrade(lab: Lab) -> None:
    for verb in ("up", "plan"):
        refused = lab.deploy(verb, cluster_kubernetes_version=TO)
        assert refused.code == 2, refused.errors
        assert f"{TO} is declared and the running cluster has {FROM}" in refused.errors
        assert "upgrade" in refused.errors
    assert set(releases(lab).values()) == {f"v{FROM}"}


def test_all_that_is_wrong_is_reported_at_once_and_nothing_changed(lab: Lab) -> None:
    lab.kubectl("run", "alone", f"--image={demo_image.IMAGE}:1", "--overrides", '{"spec": {"nodeName": "node1"}}')
    lab.kubectl("create", "poddisruptionbudget", "keep", "--selector=app.kubernetes.io/name=web", "--max-unavailable=0")
    lab.run("node2", "systemctl stop kubelet")
    deadline = time.monotonic() + 120
    while "Ready" in lab.kubectl("get", "node", "node2", "--no-headers").split():
        assert time.monotonic() < deadline
        time.sleep(1)
    refused = upgrade(lab)
    lab.run("node2", "systemctl start kubelet")
    assert refused.code == 3, refused.errors
    for word in ("node2", "default/alone", "--force"):
        assert word in refused.faults, refused.faults
    assert "Nothing was changed." in refused.errors
    lab.kubectl("delete", "pod/alone", "poddisruptionbudget/keep", "--now")
    deadline = time.monotonic() + 60
    while "NotReady" in lab.kubectl("get", "node", "node2", "--no-headers"):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert set(releases(lab).values()) == {f"v{FROM}"}
    assert cordoned(lab) == []


def test_a_dry_run_says_the_plan_and_changes_nothing(lab: Lab) -> None:
    before = releases(lab)
    planned = upgrade(lab, "--dry-run")
    assert planned.code == 0, planned.errors
    shown = json.dumps(planned.events)
    for line in (
        "upgrade the control plane from 1.36.5 to 1.37.2",
        "drain and upgrade nodes, 20% at a time: node1, node2",
    ):
        assert line in shown
    assert releases(lab) == before


def test_a_node_that_fails_gets_its_release_back_and_the_upgrade_stops(lab: Lab) -> None:
    """The control plane is upgraded before; on node1 no kubelet of the release starts."""
    guard = "[Service]\\nExecStartPre=/bin/sh -c '! /usr/local/bin/kubelet --version | grep -q 1.37'\\n"
    lab.run("node1", f'printf "{guard}" > /etc/systemd/system/kubelet.service.d/99-test.conf; systemctl daemon-reload')
    with load.around(URL, RATE, AROUND) as seen:
        began = time.monotonic()
        failed = upgrade(lab, "-e", "upgrade_ready_timeout_seconds=40")
        told(f"control plane and a node that is put back: {time.monotonic() - began:.0f} s, {seen}")
    assert failed.code == 3, failed.errors
    assert "node1 works with 1.36.5 again" in failed.errors, failed.errors
    assert not seen.lost, seen.lost[:5]
    assert releases(lab) == {"api": f"v{TO}", "master1": f"v{TO}", "node1": f"v{FROM}", "node2": f"v{FROM}"}
    assert cordoned(lab) == []
    lab.run("node1", "rm /etc/systemd/system/kubelet.service.d/99-test.conf; systemctl daemon-reload")
    up = lab.deploy("up", cluster_kubernetes_version=TO)
    assert up.code == 2, up.errors
    assert "an upgrade is not finished" in up.errors


def test_a_run_that_was_killed_is_continued(lab: Lab) -> None:
    with load.around(URL, RATE, AROUND) as seen:
        lab.kill_when(lambda: cordoned(lab) == ["node1"], verb=("upgrade", "--to", TO))
        result = upgrade(lab)
        told(f"killed in the turn of node1, then the rest: {seen}")
    assert result.code == 0, result.errors
    assert set(releases(lab).values()) == {f"v{TO}"}
    assert cordoned(lab) == []
    assert not seen.lost, seen.lost[:5]
    assert f'Write `cluster_kubernetes_version: "{TO}"`' in result.errors


def test_a_second_run_changes_nothing_and_neither_does_up(lab: Lab) -> None:
    cluster = lab.inventory / "group_vars/all/cluster.yml"
    cluster.write_text(
        cluster.read_text().replace(f'cluster_kubernetes_version: "{FROM}"', f'cluster_kubernetes_version: "{TO}"')
    )
    again = upgrade(lab)
    assert (again.code, set(again.changed.values())) == (0, {0}), again.errors
    up = lab.deploy("up", web_services=json.dumps([SERVICE]))
    assert (up.code, set(up.changed.values())) == (0, {0}), up.errors
    doctor = lab.deploy("doctor")
    assert doctor.code == 0, json.dumps(doctor.summary, indent=1)
    snapshots = list(Path(lab.state, "backups").glob("*.db"))
    assert snapshots, "none was saved before the control plane changed"


def test_a_downgrade_is_refused(lab: Lab) -> None:
    refused = lab.deploy("upgrade", "--to", FROM)
    assert refused.code == 3, refused.errors
    assert "never downgraded" in refused.faults


def test_a_newer_bundle_of_the_same_release_goes_the_same_way(lab: Lab) -> None:
    """As after a security update of containerd: here a program of one node is another one."""
    lab.run("node2", "cp /usr/local/bin/crictl /usr/local/bin/crictl.new; echo >> /usr/local/bin/crictl.new")
    lab.run("node2", "mv /usr/local/bin/crictl.new /usr/local/bin/crictl")
    result = upgrade(lab)
    assert result.code == 0, result.errors
    assert result.changed["node2"] > 0
    assert result.changed["node1"] == 0
    assert cordoned(lab) == []


@pytest.mark.parametrize("host", ["master1", "node1", "node2"])
def test_nothing_of_it_is_left_on_a_host(lab: Lab, host: str) -> None:
    assert (
        lab.run(host, "ls -A /var/lib/yunkube/upgrade /etc/kubernetes/tmp 2>/dev/null | grep -v : || true").strip()
        == ""
    )
