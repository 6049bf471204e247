# SPDX-License-Identifier: Apache-2.0
"""A node behind a link of 200 ms and 1 % loss becomes part of the cluster, and is reported healthy.

The tests follow each other on the same two hosts. Over this link the bundle takes from a minute to an hour
(docs/hosts.md), so a mirror beside the node has it: cluster_bundle_url in host_vars. One program comes over the link,
from the control machine.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from laboratory import BundleServer, Lab, Result, killing_after
from serving import running
from slow_link import Running, beside, slow_link

pytestmark = pytest.mark.skipif(not os.environ.get("YUNKUBE_FULL"), reason="takes minutes: tests/run --full")

LAB = ("slowlink", "10.90.4", 1, 1)
SETTINGS = "cluster_slow_factor: 3\n"
SECONDS = 1200  # for a run that takes two minutes here
PLUGIN = "/opt/cni/bin/portmap"


class Far(NamedTuple):
    """The node's link, and the mirror on the node's side of it."""

    link: Running
    mirror: BundleServer


@pytest.fixture(scope="module")
def far(lab: Lab) -> Iterator[Far]:
    """Put the node behind the link; the mirror serves the bundle as soon as `up` has made it."""
    container = f"yunkube-{lab.name}-node1"
    mirror = beside(container, lambda: BundleServer(lab.state / "bin/../files", "127.0.0.1"))
    (lab.inventory / "host_vars").mkdir(exist_ok=True)
    declared = lab.inventory / "host_vars/node1.yml"
    declared.write_text(f"cluster_bundle_url: {mirror.url}\n")
    with running(mirror), slow_link(container) as link:
        yield Far(link, mirror)
    declared.unlink()


def test_up_ends_well_and_says_what_it_waits_for(lab: Lab, far: Far) -> None:
    far.mirror.open.clear()  # until the run has said that it waits
    events = []
    process = subprocess.Popen(
        lab.argv("up"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, text=True
    )
    assert process.stdout is not None
    with process, killing_after(process, SECONDS):
        for line in process.stdout:
            event = json.loads(line)
            events.append(event)
            if event["type"] == "waiting" and event["hosts"] == ["node1"] and "downloads" in event["awaits"]:
                far.mirror.open.set()
    result = Result(process.returncode, events, "")
    assert result.code == 0, result.faults
    assert far.mirror.open.is_set()
    assert all(row["ok"] for row in result.summary["table"])


def test_verify_finds_the_cluster_whole(lab: Lab, far: Far) -> None:
    del far
    result = lab.deploy("verify", seconds=SECONDS)
    assert result.code == 0, result.errors
    assert all(row["ok"] for row in result.summary["table"])


def test_a_second_up_has_nothing_to_do(lab: Lab, far: Far) -> None:
    del far
    result = lab.deploy("up", seconds=SECONDS)
    assert result.code == 0, result.errors
    assert set(result.changed.values()) == {0}


@pytest.mark.parametrize("verb", ["status", "doctor"])
def test_what_is_healthy_is_reported_healthy(lab: Lab, far: Far, verb: str) -> None:
    del far
    result = lab.deploy(verb, seconds=SECONDS)
    assert result.code == 0, result.errors
    assert result.summary[verb]["healthy"], result.summary


@pytest.mark.parametrize("verb", ["remove", "add"])
def test_a_node_leaves_and_comes_back(lab: Lab, far: Far, verb: str) -> None:
    before = far.link.counts()["carried"]
    confirmed = ("--yes",) if verb == "remove" else ()
    result = lab.deploy(verb, "node1", *confirmed, seconds=SECONDS, cluster_provider="existing")
    assert result.code == 0, result.errors
    nodes = lab.kubectl("get", "nodes", "--output=name").split()
    assert ("node/node1" in nodes) == (verb == "add")
    assert far.link.counts()["carried"] > before


def test_the_control_machine_serves_a_program_over_the_link(lab: Lab, far: Far) -> None:
    before = far.link.counts()["carried"]
    lab.run("node1", f"rm {PLUGIN}")
    (lab.inventory / "host_vars/node1.yml").write_text("---\n")
    size = int(lab.run("master1", f"stat --format %s {PLUGIN}"))
    result = lab.deploy("up", seconds=SECONDS)
    assert result.code == 0, result.errors
    assert result.changed["node1"] == 1
    assert lab.succeeds("node1", f"test -x {PLUGIN}")
    assert far.link.counts()["carried"] - before > size / 1500


def test_down_removes_the_cluster_from_both_hosts(lab: Lab, far: Far) -> None:
    del far
    result = lab.deploy("down", "--yes", seconds=SECONDS, cluster_provider="existing")
    assert result.code == 0, result.errors
    for host in ("master1", "node1"):
        assert lab.run(host, "ls -d /etc/kubernetes /usr/local/bin/kubelet 2>/dev/null; ls -A /var/lib/kubelet") == ""


def test_the_link_lost_what_it_should(far: Far) -> None:
    counts = far.link.counts()
    assert counts["carried"] > 5000
    assert counts["lost"] > 0
    assert 0.005 < counts["lost"] / counts["carried"] < 0.02
