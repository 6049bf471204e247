# SPDX-License-Identifier: Apache-2.0
"""What was broken before the doctor came is repaired, and who only looks repairs nothing."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from scenario import PROJECT, Cluster, eventually, service_up
from testinfra.host import Host

testinfra_hosts = ["ansible://masters"]

PLUGIN = "/opt/cni/bin/flannel"


def doctor() -> tuple[int, list[str]]:
    """Look as a person does; return the exit code and the ids of what was found."""
    inventory = PROJECT / "molecule/troubleshoot/inventory"
    argv = [str(PROJECT / "scripts/deploy.py"), "doctor", "--json", "-i", str(inventory)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    (summary,) = [event for event in map(json.loads, done.stdout.splitlines()) if event["type"] == "summary"]
    return done.returncode, [finding["id"] for finding in summary["doctor"]["findings"]]


def test_the_kubelet_runs_again(host: Host) -> None:
    service_up(host, "kubelet")


def test_the_plugins_are_those_of_the_bundle_again(host: Host, entries: list[Any]) -> None:
    wanted = {entry["path"]: entry["sha256"] for entry in entries if entry["kind"] == "cni"}
    assert {"/opt/cni/bin/bridge", PLUGIN} <= set(wanted)
    found = host.check_output("sha256sum " + shlex.join(wanted))
    assert {line.split()[1]: line.split()[0] for line in found.splitlines()} == wanted


def test_the_pods_have_a_network_again(host: Host, cluster: Cluster) -> None:
    values = dict(line.split("=", 1) for line in host.file("/run/flannel/subnet.env").content_string.splitlines())
    node = cluster.get("node", "master1")
    assert values["FLANNEL_NETWORK"] == "10.244.0.0/16"
    assert values["FLANNEL_SUBNET"] == node["spec"]["podCIDR"].replace(".0/24", ".1/24")


def test_the_node_is_ready(cluster: Cluster) -> None:
    def ready() -> bool:
        conditions = cluster.get("node", "master1")["status"]["conditions"]
        return {"Ready": "True"}.items() <= {one["type"]: one["status"] for one in conditions}.items()

    eventually(ready, 60, "master1 is Ready")


def test_a_second_look_finds_nothing() -> None:
    assert doctor() == (0, [])


@pytest.fixture
def mode(host: Host) -> Iterator[str]:
    """The mode of a plugin that is not executable any more."""
    host.check_output(f"chmod 0644 {PLUGIN}")
    yield "644"
    host.check_output(f"chmod 0755 {PLUGIN}")


def test_who_only_looks_names_the_fault_and_leaves_it(host: Host, mode: str) -> None:
    code, found = doctor()
    assert (code, found) == (6, ["cni-plugin-mode"])
    assert host.check_output(f"stat -c %a {PLUGIN}") == mode
