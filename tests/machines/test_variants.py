# SPDX-License-Identifier: Apache-2.0
"""Machines as people have them join a cluster, are proved, and leave it as they were: `make test-machines`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import mixed_lab
import pytest
from laboratory import Lab
from machine_variants import VARIANTS, Variant
from virtual_machine import Machine, Running, running

LAB = ("variants", "10.67.0", 1, 0)


@pytest.fixture(scope="module", name="lab")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A cluster of a master in Docker."""
    lab = Lab.at(tmp_path_factory.mktemp("lab"), *LAB, "cluster_slow_factor: 5\n")  # an emulated processor
    lab.clear()
    mixed_lab.make_master(lab)
    mixed_lab.declare(lab)
    result = lab.deploy("up", seconds=600)
    assert result.code == 0, result.errors
    yield lab
    lab.clear()


def differences(node: Running, scripts: dict[str, str]) -> list[str]:
    """Return what scripts print otherwise than expected."""
    found = {script: node.run(script, check=False) for script in scripts}
    return [f"{script}: {found[script]!r}, not {text!r}" for script, text in scripts.items() if found[script] != text]


@contextlib.contextmanager
def leaving(lab: Lab, node: str) -> Iterator[None]:
    """Forget a node in the end, also one whose test has failed: the next one's run would wait for it."""
    try:
        yield
    finally:
        mixed_lab.declare(lab)
        lab.kubectl("delete", "node", node, "--ignore-not-found", "--wait=false")


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_machine_joins_and_leaves_as_it_was(
    lab: Lab, variant: Variant, tmp_path_factory: pytest.TempPathFactory
) -> None:
    number = 1 + VARIANTS.index(variant)
    name, address = f"node{number}", f"{lab.network}.{30 + number}"
    variables = {name: value for one in variant.conditions for name, value in one.variables.items()}
    checks = {
        when: {script: text for one in variant.conditions for script, text in getattr(one, when).items()}
        for when in ("before", "joined", "left")
    }
    machine = Machine(
        name, address, lab.gateway, "\n".join(one.first_boot for one in variant.conditions), disks=variant.disks,
        password=str(variables.get("ansible_become_password", "")), kernel=variant.kernel,
    )  # fmt: skip
    with (
        leaving(lab, name),
        running(machine, f"yunkube-{lab.name}", tmp_path_factory.mktemp(variant.name), variant.image) as node,
    ):
        node.wait()
        for condition in variant.conditions:
            node.run(condition.booted)
        mixed_lab.declare(lab, node, **variables)
        assert differences(node, checks["before"]) == []

        added = lab.deploy("add", name, seconds=1200)
        assert added.code == 0, added.errors
        assert all(row["ok"] for row in added.summary["table"])
        wrong = differences(node, checks["joined"])

        again = lab.deploy("up", seconds=300)
        assert again.code == 0, again.errors
        wrong += [f"{count} changes of {host} at a second run" for host, count in again.changed.items() if count]
        doctor = lab.deploy("doctor", seconds=300).summary["doctor"]
        found = [one["id"] for one in doctor["findings"]]
        wrong += [json.dumps(doctor)] if found != [fault for one in variant.conditions for fault in one.found] else []

        removed = lab.deploy("remove", name, "--yes", "--force", seconds=600)
        assert removed.code == 0, removed.errors
        wrong += differences(node, checks["left"])
    assert wrong == []
