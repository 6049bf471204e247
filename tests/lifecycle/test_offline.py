# SPDX-License-Identifier: Apache-2.0
"""A bundle comes out of a file to a control machine that has no network, and a cluster comes up from it.

The control machine is a network namespace with a cache of its own: without any route while it imports, and then with a
cable to the hosts and nothing else. The tests follow each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from laboratory import ROOT, Lab, Result, docker

LAB = ("offline", "10.109.0", 1, 1)
SPACE, CABLE = "yunkube-offline", "yk-offline"  # a device's name has at most 15 characters


class Machine(NamedTuple):
    """A control machine without a network."""

    cache: Path
    archive: Path

    def deploy(self, *arguments: str) -> Result:
        """Run deploy.py there to its end."""
        argv = ["ip", "netns", "exec", SPACE, str(ROOT / "scripts/deploy.py"), *arguments, "--json"]
        environment = os.environ | {"XDG_CACHE_HOME": str(self.cache)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=600)
        return Result(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)

    def routes(self) -> list[str]:
        """Return where it can send anything to."""
        return ip("-n", SPACE, "route").splitlines()


def ip(*arguments: str) -> str:
    """Run iproute2."""
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Export the lab's bundle, and make a machine that has nothing else."""
    folder = tmp_path_factory.mktemp("offline")
    archive = folder / "bundle.tar.zst"
    argv = [str(ROOT / "scripts/deploy.py"), "bundle", "export", str(archive), lab.bundle.name]
    subprocess.run(argv, check=True, timeout=600)
    with contextlib.suppress(subprocess.CalledProcessError):
        ip("netns", "delete", SPACE)  # of a run that was killed
    ip("netns", "add", SPACE)
    ip("-n", SPACE, "link", "set", "lo", "up")
    yield Machine(folder / "cache", archive)
    ip("netns", "delete", SPACE)  # with its end of the cable, and so with the cable


def plug_in(lab: Lab) -> None:
    """Lay a cable from the machine to the hosts' network, from which nothing leads on."""
    bridge = "br-" + docker("network", "inspect", "--format", "{{.Id}}", f"yunkube-{lab.name}")[:12]
    ip("link", "add", CABLE, "type", "veth", "peer", "name", "eth0", "netns", SPACE)
    ip("link", "set", CABLE, "master", bridge, "up")
    ip("-n", SPACE, "address", "add", f"{lab.network}.250/24", "dev", "eth0")
    ip("-n", SPACE, "link", "set", "eth0", "up")


def test_a_bundle_is_imported_without_any_route(lab: Lab, machine: Machine) -> None:
    assert machine.routes() == []
    done = machine.deploy("bundle", "import", str(machine.archive))
    assert done.code == 0, done.errors
    assert done.events[0]["imported"] == [lab.bundle.name]
    built = machine.deploy("bundle", "build", "-i", str(lab.inventory))
    assert built.code == 0, built.errors
    assert built.changed == {"localhost": 0}


def test_a_cluster_comes_up_from_it_and_nothing_is_built(lab: Lab, machine: Machine) -> None:
    plug_in(lab)
    assert [line.split()[0] for line in machine.routes()] == [f"{lab.network}.0/24"]
    up = machine.deploy("up", "-i", str(lab.inventory), "-e", "cluster_provider=existing")
    assert up.code == 0, up.faults or up.errors
    assert all(row["ok"] for row in up.summary["table"])
    assert lab.bundle.is_relative_to(machine.cache)
    assert not (machine.cache / "yunkube/store").exists()


def test_the_bundle_is_in_use_from_then_on(lab: Lab, machine: Machine) -> None:
    assert machine.deploy("bundle", "prune", "--yes").code == 0
    (bundle,) = machine.deploy("bundle", "list").events[0]["bundles"]
    assert (bundle["name"], bundle["clusters"]) == (lab.bundle.name, [lab.name])
