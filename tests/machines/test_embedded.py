# SPDX-License-Identifier: Apache-2.0
"""`make up` on a machine as a user has it: Debian 13 with its own kernel, cgroup version 2 and Docker engine.

The machine has no route to other networks, so what a first run fetches or builds comes on a disk: Python's packages,
the bundle and the system of the hosts. Emulated, it needs a machine that does nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.build.bundle import link_of
from laboratory import CACHE, ROOT, host_image
from lock_files import LOCK_FILE
from machine_image import Recipe
from virtual_machine import Machine, Running, network, running

NETWORK = "10.69.0"
IMAGE = Recipe(suite="trixie", more=("docker.io", "git", "make", "python3-venv"))
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
PYTHON = "3.13"  # Debian 13's
SETTINGS = "cluster_slow_factor: 10\n"  # an emulated processor that three systems share
ENVIRONMENT = "export HOME=/root XDG_CACHE_HOME=/media/cache PIP_NO_INDEX=1 PIP_FIND_LINKS=/media/wheels LC_ALL=C.UTF-8"


def fetch_packages(folder: Path) -> None:
    """Download what requirements.lock names, for another Python than this one."""
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    argv += ["--require-hashes", "--no-build-isolation", "--python-version", PYTHON, "--dest", str(folder)]
    argv += [word for platform in PLATFORMS for word in ("--platform", platform)]
    subprocess.run([*argv, "-r", str(ROOT / "requirements.lock")], check=True, timeout=600)


def fill(folder: Path) -> None:
    """Write what the machine is given: the project as it was committed, and the caches of a machine that had a run."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "project")], check=True, timeout=60)
    with (folder / "project/inventory/docker/group_vars/all/cluster.yml").open("a") as stream:
        stream.write(SETTINGS)
    fetch_packages(folder / "wheels")
    host_image()
    cache = folder / "cache/yunkube"
    shutil.copytree(CACHE / "hosts", cache / "hosts")
    link = link_of(CACHE, LOCK_FILE)
    bundle = link.resolve(strict=True)  # made by any run before
    (cache / "locks").mkdir()
    (cache / "locks" / link.name).symlink_to(os.path.relpath(bundle, link.parent))
    shutil.copytree(bundle, cache / "bundles" / bundle.name)


@pytest.fixture(scope="module", name="machine")
def _machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A machine with the project, its caches, and nothing that runs."""
    data = tmp_path_factory.mktemp("data")
    fill(data)
    with network("yunkube-embedded", NETWORK) as name:
        machine = Machine("laptop", f"{NETWORK}.11", f"{NETWORK}.1", memory_mb=6144, data=(data, "8G"))
        with running(machine, name, tmp_path_factory.mktemp("machine"), IMAGE) as one:
            one.wait()
            one.run("mount /dev/vdc /media")
            yield one


def run(machine: Running, command: str) -> str:
    """Run a command in the project's folder, as a person does."""
    return machine.run(f"{ENVIRONMENT}; cd /media/project && {command}", seconds=3000)


def test_make_up_ends_with_a_proof(machine: Running) -> None:
    assert machine.run("stat -f -c %T /sys/fs/cgroup") == "cgroup2fs"
    assert machine.run("docker version --format '{{.Server.Version}}'").startswith("26.")
    run(machine, "make up")
    nodes = json.loads(run(machine, "./scripts/deploy.py kubectl -- get nodes -o json"))
    ready = {
        node["metadata"]["name"]: [one["status"] for one in node["status"]["conditions"] if one["type"] == "Ready"]
        for node in nodes["items"]
    }
    assert ready == {"master1": ["True"], "node1": ["True"]}


def test_a_second_run_has_nothing_to_do_and_the_doctor_finds_nothing(machine: Running) -> None:
    events = [json.loads(line) for line in run(machine, "./scripts/deploy.py up --json").splitlines()]
    assert {count["changed"] for count in events[-1]["hosts"].values()} == {0}
    run(machine, "make doctor")


def test_make_down_leaves_no_host(machine: Running) -> None:
    run(machine, "make down")
    assert machine.run("docker ps --all --quiet") == ""
