# SPDX-License-Identifier: Apache-2.0
"""What a test can ask for: the scenario's cluster, its bundle, and the host at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from scenario import Cluster, Json
from testinfra.host import Host


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The cluster of the scenario's inventory."""
    inventory = Path(request.config.getoption("--ansible-inventory"))
    name = yaml.safe_load((inventory / "group_vars/all/cluster.yml").read_text())["cluster_name"]
    groups = yaml.safe_load((inventory / "hosts.yml").read_text())["all"]["children"].values()
    hosts = {host: about["ansible_host"] for group in groups for host, about in group["hosts"].items()}
    return Cluster(name, Path(f"~/.local/state/yunkube/{name}").expanduser(), hosts)


@pytest.fixture(scope="session")
def manifest(cluster: Cluster) -> Json:
    """What the bundle consists of."""
    return json.loads(((cluster.state / "bin").resolve().parent / "manifest.json").read_text())


@pytest.fixture
def name(host: Host) -> str:
    """The host's name in the inventory."""
    return str(host.backend.host)


@pytest.fixture
def entries(host: Host, manifest: Json) -> list[Json]:
    """What of the bundle is meant for the host."""
    purpose = "master" if "masters" in host.ansible.get_variables()["group_names"] else "node"
    system = host.check_output(". /etc/os-release && echo $ID$VERSION_ID")
    return [
        entry
        for entry in manifest["files"]
        if purpose in entry["purpose"] and entry.get("distribution", system) == system
    ]
