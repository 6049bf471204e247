# SPDX-License-Identifier: Apache-2.0
"""`versions` says of each locked release how long it is supported, what works with it, and who has it."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.yunkube.build import cached_bundles
from ansible.module_utils.yunkube.control.locks import file_of
from deployer.arguments import parse
from deployer.cli import dispatch
from deployer.cluster import DEFAULT_STATE_DIR
from deployer.commands.versions import in_words
from deployer.errors import DeployError
from deployer.versions import DEFAULTS, versions
from lock_files import COMPONENTS, RELEASE, RELEASES

TODAY = dt.date(2026, 11, 30)
SUPPORT = {"released": "2026-01-02", "maintenance": "2027-01-02", "ends": "2027-03-02"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with two locks, the newer one the default."""
    (tmp_path / DEFAULTS).parent.mkdir(parents=True)
    (tmp_path / DEFAULTS).write_text('---\ncluster_kubernetes_version: "1.9.10"\n')
    (tmp_path / "components").mkdir()
    for release in ("1.9.10", "1.9.9"):
        write(tmp_path, release)
    return tmp_path


def write(root: Path, release: str, **values: Any) -> None:
    """Write a lock."""
    components = [{"name": "kubernetes", "version": release}, {"name": "etcd", "version": "3.1.0"}]
    lock = {"architecture": "amd64", "cluster_tested": True, "support": SUPPORT, "components": components} | values
    file_of(root / "components", release).write_text(yaml.safe_dump(lock))


def give(root: Path, name: str, release: str = "", *, made: bool = True) -> None:
    """Have a cluster in the states, with a link to a bundle's programs."""
    state, bundle = root / "states" / name, root / "cache/bundles" / name
    (bundle / "bin").mkdir(parents=True)
    state.mkdir(parents=True)
    (state / "bin").symlink_to(bundle / "bin")
    if release:
        (bundle / "manifest.json").write_text(json.dumps({"kubernetes": release}))
    if made:
        (state / "id").write_text("0" * 16)


def told(root: Path, today: dt.date = TODAY) -> dict[str, Any]:
    """Return what is found."""
    return versions(root, root / "cache", sorted((root / "states").glob("*")), today)


def test_releases_come_in_the_order_of_their_numbers(root: Path) -> None:
    assert [(one["kubernetes"], one["default"]) for one in told(root)["releases"]] == [
        ("1.9.9", False),
        ("1.9.10", True),
    ]


@pytest.mark.parametrize(
    ("today", "state"),
    [
        ("2027-01-01", "supported"),
        ("2027-01-02", "maintenance"),
        ("2027-03-02", "maintenance"),
        ("2027-03-03", "ended"),
    ],
)
def test_the_day_decides_what_the_dates_of_support_mean(root: Path, today: str, state: str) -> None:
    support = told(root, dt.date.fromisoformat(today))["releases"][0]["support"]
    assert support == {"state": state, **SUPPORT}


@pytest.mark.parametrize(
    ("support", "state"),
    [(None, "unknown"), ({}, "unknown"), ({"ends": None}, "unknown"), ({"ends": "2027-03-02"}, "supported")],
)
def test_dates_that_the_lock_does_not_know_are_unknown(root: Path, support: Any, state: str) -> None:
    write(root, "1.9.9", support=support)
    found = told(root)["releases"][0]["support"]
    assert (found["state"], found["maintenance"]) == (state, "unknown")


def test_a_cluster_stands_by_the_release_of_its_bundle(root: Path) -> None:
    give(root, "b", "1.9.9")
    give(root, "a", "1.9.9")
    give(root, "down", "1.9.9", made=False)
    give(root, "older", "1.8.0")
    give(root, "pruned")
    found = told(root)
    assert [one["clusters"] for one in found["releases"]] == [["a", "b"], []]
    assert found["without_lock"] == {"1.8.0": ["older"], "unknown": ["pruned"]}


def test_a_person_reads_it_in_two_tables(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, "1.9.9", cluster_tested=False, support=None)
    give(root, "lab", "1.9.10")
    give(root, "pruned")
    in_words(told(root))
    assert capsys.readouterr().out.splitlines() == [
        "",
        "Kubernetes        Support           Tested          With kubelet  With kubectl  Clusters",
        "1.9.9             unknown           no cluster yet  1.6 to 1.9    1.8 to 1.10   none here",
        "1.9.10 (default)  until 2027-03-02  yes             1.6 to 1.9    1.8 to 1.10   lab",
        "",
        "Component  1.9.9  1.9.10",
        "etcd       3.1.0  3.1.0",
        "",
        "pruned: Kubernetes unknown, its bundle is not in the cache",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("components: [\n", r"kubernetes-1\.9\.9\.yml:\d: is not valid YAML"), ("---\n{}\n", "is no lock: KeyError")],
)
def test_a_file_that_is_no_lock_is_named(root: Path, text: str, complaint: str) -> None:
    file_of(root / "components", "1.9.9").write_text(text)
    with pytest.raises(DeployError, match=complaint):
        told(root)


def test_the_projects_own_locks_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(parse(["versions", "--json"])) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["default"], [one["kubernetes"] for one in found["releases"]]) == (RELEASE, RELEASES)
    assert all(one["architectures"] == ["amd64", "arm64"] for one in found["releases"])
    assert dispatch(parse(["versions"])) == 0
    assert f"{RELEASE} (default)" in capsys.readouterr().out


def test_states_are_looked_for_where_a_role_puts_them() -> None:
    defaults = yaml.safe_load((COMPONENTS.parent / DEFAULTS).read_text())
    assert defaults["cluster_state_dir"] == f"{Path(DEFAULT_STATE_DIR).parent}/{{{{ cluster_name }}}}"


def test_a_cluster_that_runs_have_noted_is_found_wherever_its_state_is(root: Path) -> None:
    give(root, "lab", "1.9.10")
    (root / "elsewhere").mkdir()
    (root / "states/lab").rename(root / "elsewhere/prod")
    assert told(root)["releases"][1]["clusters"] == []
    cached_bundles.remember(root / "cache", root / "elsewhere/prod/bin", ["lab"])
    assert told(root)["releases"][1]["clusters"] == ["prod"]
    assert cached_bundles.users(root / "cache") == {"lab": ["prod"]}


def test_the_verb_asks_where_the_bundles_verbs_do(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(root, "lab", RELEASE)
    monkeypatch.setattr("deployer.bundles.states", lambda: [root / "states/lab"])
    monkeypatch.setattr("deployer.bundle.cache", lambda: root / "cache")
    assert dispatch(parse(["versions", "--json"])) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["kubernetes"]: one["clusters"] for one in found["releases"]}[RELEASE] == ["lab"]
