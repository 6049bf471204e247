# SPDX-License-Identifier: Apache-2.0
"""Labs run side by side, so each has a network and a name of its own."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent for path in (ROOT / "molecule").glob("*/molecule.yml"))
# name, network: as the fixtures of tests/lifecycle, tests/faults and tests/machines take them.
LAB = re.compile(r'"([a-z][a-z0-9-]*)", "(10\.\d+\.\d+)(?:\.0/24)?"')


def settings(scenario: Path) -> dict[str, str]:
    """Return what a scenario says of its cluster."""
    found = yaml.safe_load((scenario / "inventory/group_vars/all/cluster.yml").read_text())
    assert isinstance(found, dict)
    return found


def labs() -> list[tuple[str, str]]:
    """Return name and network of every lab."""
    made = [(one["cluster_name"], one["docker_hosts_subnet"].removesuffix(".0/24")) for one in map(settings, SCENARIOS)]
    for path in [path for kind in ("lifecycle", "faults", "machines") for path in (ROOT / "tests" / kind).glob("*.py")]:
        made += LAB.findall(path.read_text())
    return made


def test_no_two_labs_have_a_name_or_a_network_in_common() -> None:
    made = labs()
    assert len(made) > 20
    assert [name for name, count in Counter(name for name, _ in made).items() if count > 1] == []
    assert [network for network, count in Counter(network for _, network in made).items() if count > 1] == []


def test_what_testinfra_reads_is_the_scenarios_own() -> None:
    assert len(SCENARIOS) >= 7
    for scenario in SCENARIOS:
        cluster = settings(scenario)
        connection = (scenario / "inventory/group_vars/all/connection.yml").read_text()
        assert set(re.findall(r"yunkube/([^/]+)/", connection)) == {cluster["cluster_name"]}, scenario.name
        groups = yaml.safe_load((scenario / "inventory/hosts.yml").read_text())["all"]["children"].values()
        addresses = [about["ansible_host"] for group in groups for about in group["hosts"].values()]
        network = cluster["docker_hosts_subnet"].removesuffix("0/24")
        assert [address for address in addresses if not address.startswith(network)] == [], scenario.name


def test_every_role_that_a_prepared_host_can_take_has_a_scenario() -> None:
    names = {scenario.name for scenario in SCENARIOS}
    assert {"prepare_host", "container_runtime", "registry", "dashboard", "web_service", "troubleshoot"} <= names
    for name in names - {"default", "prepare_host"}:
        text = (ROOT / "molecule" / name / "converge.yml").read_text()
        assert re.findall(r"- role: (\S+)", text) == [name]
