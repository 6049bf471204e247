# SPDX-License-Identifier: Apache-2.0
"""Fewer hosts on Alibaba Cloud than there are: what is asked, and in which order hosts go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deployer import surplus
from deployer.arguments import Request, parse
from deployer.cluster import Cluster, find_cluster
from deployer.errors import DeployError, Exit
from deployer.inventory import Source

HOSTS = ("master-1", "node-1", "node-2", "node-3", "node-x")
YES = ("cloud up", "--yes")


def cluster_of(folder: Path, **variables: object) -> Cluster:
    """Return a cluster of five hosts."""
    given = {"cluster_provider": "alicloud", "alicloud_hosts_masters": 1, **variables}
    return Cluster("prod", Source(folder), folder / "state", given, HOSTS)


class Runs:
    """What was run in place of playbooks, with what the API says of nodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *nodes: str, code: Exit = Exit.OK) -> None:
        """Set the nodes that the API lists."""
        self.requests: list[Request] = []
        self.code = code
        found = [{"metadata": {"name": name}} for name in nodes]
        monkeypatch.setattr(surplus, "ask", lambda *_: found or None)
        monkeypatch.setattr(surplus, "run_verb", self.run)

    def run(self, request: Request, _: Cluster) -> Exit:
        """Note a run."""
        self.requests.append(request)
        return self.code


def asked(*words: str) -> Request:
    """Return a request as the command line makes it."""
    verb, *options = words
    return parse([*verb.split(), *options])


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"alicloud_hosts_nodes": 1}, ["node-2", "node-3"]),
        ({"alicloud_hosts_nodes": "2"}, ["node-3"]),
        ({"alicloud_hosts_nodes": 3}, []),
        ({"alicloud_hosts_nodes": "two"}, []),
        ({}, []),
        ({"alicloud_hosts_nodes": 1, "cluster_provider": "existing"}, []),
    ],
)
def test_hosts_with_higher_numbers_than_declared_are_too_many(
    tmp_path: Path, variables: dict[str, Any], names: list[str]
) -> None:
    assert surplus.surplus(cluster_of(tmp_path, **variables)) == names


def test_they_leave_the_cluster_before_their_instances_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, "master-1", "node-1", "node-3")  # node-2 never joined
    cluster = cluster_of(tmp_path, alicloud_hosts_nodes=1)
    request, code = surplus.without_surplus(asked(*YES, "-e", "node_leave_force=true"), cluster)
    (removal,) = runs.requests
    assert (removal.verb, removal.hosts) == ("remove", ("node-3",))
    assert removal.extra_vars["node_leaving"] == ["node-3"]
    assert removal.extra_vars["node_leave_force"]
    assert (request.verb, request.extra_vars[surplus.AGREED], code) == ("cloud up", True, Exit.OK)


def test_hosts_that_do_not_leave_keep_their_instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Runs(monkeypatch, *HOSTS, code=Exit.FAILED)
    _, code = surplus.without_surplus(asked(*YES), cluster_of(tmp_path, alicloud_hosts_nodes=1))
    assert code == Exit.FAILED


def test_hosts_that_never_joined_are_released_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, "master-1")
    request, code = surplus.without_surplus(asked(*YES), cluster_of(tmp_path, alicloud_hosts_nodes=1))
    assert (runs.requests, request.extra_vars[surplus.AGREED], code) == ([], True, Exit.OK)


@pytest.mark.parametrize(("nodes", "message"), [((), "its API does not answer"), (HOSTS, "release their instances")])
def test_a_failed_query_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: tuple[str, ...], message: str
) -> None:
    runs = Runs(monkeypatch, *nodes)
    with pytest.raises(DeployError, match=f"node-2, node-3: more than declared.*{message}"):
        surplus.without_surplus(asked("cloud up"), cluster_of(tmp_path, alicloud_hosts_nodes=1))
    assert runs.requests == []


def test_the_inventory_says_how_many_there_shall_be(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yml"
    counts = "alicloud_hosts_masters: 1, alicloud_hosts_nodes: '{{ 1 + 1 }}'"
    variables = f"{{cluster_name: prod, cluster_provider: alicloud, {counts}}}"
    file.write_text(f"all: {{hosts: {{{', '.join(f'{name}: ' for name in HOSTS)}}}, vars: {variables}}}\n")
    assert surplus.surplus(find_cluster(str(file), {})) == ["node-3"]


@pytest.mark.parametrize(("answer", "code"), [(True, Exit.OK), (False, Exit.USAGE)])
def test_at_a_terminal_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bool, code: Exit) -> None:
    runs = Runs(monkeypatch, *HOSTS)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(surplus, "confirmed", lambda *_: answer)
    cluster = cluster_of(tmp_path, alicloud_hosts_nodes=1)
    assert surplus.without_surplus(asked("cloud up"), cluster)[1] == code
    assert len(runs.requests) == answer


def test_a_plan_reports_what_would_be_removed_and_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch)
    request, code = surplus.without_surplus(asked("cloud plan"), cluster_of(tmp_path, alicloud_hosts_nodes=1))
    assert (request.extra_vars[surplus.AGREED], code, runs.requests) == (True, Exit.OK, [])


@pytest.mark.parametrize(("words", "nodes"), [(YES, 3), ((*YES, "-e", f"{surplus.AGREED}=true"), 1)])
def test_where_all_is_declared_or_agreed_to_without_a_cluster_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], nodes: int
) -> None:
    runs = Runs(monkeypatch)
    request = asked(*words)
    assert surplus.without_surplus(request, cluster_of(tmp_path, alicloud_hosts_nodes=nodes)) == (request, Exit.OK)
    assert runs.requests == []


def test_hosts_of_a_cluster_that_answers_leave_it_though_their_release_is_agreed_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(monkeypatch, *HOSTS)
    request, code = surplus.without_surplus(
        asked(*YES, "-e", f"{surplus.AGREED}=true"), cluster_of(tmp_path, alicloud_hosts_nodes=1)
    )
    assert [(run.verb, run.hosts) for run in runs.requests] == [("remove", ("node-2", "node-3"))]
    assert (request.extra_vars[surplus.AGREED], code) == (True, Exit.OK)
