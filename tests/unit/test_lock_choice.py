# SPDX-License-Identifier: Apache-2.0
"""Any Kubernetes release that has a lock can be chosen; of others a person hears what to write in their place."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.yunkube.control import cluster_rules
from ansible.module_utils.yunkube.control.locks import locked_releases

KEY = "cluster_kubernetes_version"
RELEASES = ["1.37.2", "1.36.10", "1.36.9"]


def findings(wanted: str, releases: list[str]) -> list[cluster_rules.Finding]:
    """Return what is said of a choice."""
    return list(cluster_rules.release(cluster_rules.Cluster({KEY: wanted}, releases=releases)))


@pytest.mark.parametrize("wanted", RELEASES)
def test_any_release_that_has_a_lock_can_be_chosen(wanted: str) -> None:
    assert findings(wanted, RELEASES) == []


@pytest.mark.parametrize(
    ("wanted", "remedy"),
    [
        ("1.99.0", "write 1.37.2"),
        ("1.36.11", "write 1.36.10, or make a lock of it: make lock K8S=1.36.11"),
        ("v1.36.11", "write 1.36.10, or make a lock of it: make lock K8S=1.36.11"),
        ("1.36", "write 1.36.10"),
        ("v1.36.9", "write 1.36.9, without the v"),
        ("latest", "write 1.37.2"),
    ],
)
def test_a_release_without_a_lock_is_refused_with_those_that_have_one(wanted: str, remedy: str) -> None:
    refusal = (KEY, f"{wanted} has no lock in components/, which has 1.36.9, 1.36.10, 1.37.2", remedy)
    assert findings(wanted, RELEASES) == [refusal]


def test_a_checkout_without_any_lock_is_named_as_such() -> None:
    remedy = "restore components/ from the project's repository"
    assert findings("1.37.2", []) == [(KEY, "1.37.2 has no lock in components/, which has none", remedy)]


def test_releases_are_sorted_by_their_numbers(tmp_path: Path) -> None:
    for release in RELEASES:
        (tmp_path / f"kubernetes-{release}.yml").touch()
        (tmp_path / f"kubernetes-{release}.packages").touch()
    assert locked_releases(tmp_path) == ["1.36.9", "1.36.10", "1.37.2"]
