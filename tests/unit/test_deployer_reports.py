# SPDX-License-Identifier: Apache-2.0
"""A command that reports the state of a cluster never succeeds without having checked it."""

from __future__ import annotations

import json
import subprocess

import pytest
from checkout import ROOT, Deploy, environment
from deployer.arguments import parse
from deployer.errors import DeployError
from deployer.limits import with_localhost

REPORTING = ("verify", "status", "doctor")
WHOLE = ("verify", "status", "doctor", "certs renew", "web apply", "web rollback shop")


@pytest.mark.parametrize("verb", [*REPORTING, "web apply"])
def test_without_a_host_to_ask_it_fails_and_says_where_hosts_belong(deploy: Deploy, verb: str) -> None:
    result = deploy("masters", *verb.split())
    assert result.returncode == 2
    assert "Nothing was checked: no host matches masters in inventory/docker." in result.stderr


@pytest.mark.parametrize("verb", REPORTING)
def test_a_report_that_is_missing_is_a_failure_and_one_that_is_there_a_success(deploy: Deploy, verb: str) -> None:
    empty = deploy("reports", verb, "-e", 'x_result={"nothing": 1}')
    assert empty.returncode == 3
    assert f"`{verb}` ended without a report" in empty.stderr
    assert deploy("reports", verb).returncode == 0


@pytest.mark.parametrize("verb", WHOLE)
def test_what_is_about_the_whole_cluster_takes_no_limit(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        parse([*verb.split(), "--limit", "node1"])
    assert error.value.code == 2
    assert "this command always applies to the whole cluster: omit --limit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("limit", "meant"),
    [
        ("", ""),
        ("node1", "node1,localhost"),
        ("node1,node2", "node1,node2,localhost"),
        ("masters:nodes", "masters,nodes,localhost"),
        ("nodes:!node1", "nodes,!node1,localhost"),
        ("all:!nodes", "all,!nodes,localhost"),
        ("!node1", "all,!node1,localhost"),
        ("nodes[0:2]:masters", "nodes[0:2],masters,localhost"),
        ("node[1:3]", "node[1:3],localhost"),
        ("2001:db8::11", "2001:db8::11,localhost"),
        ("~node.*", "~node.*,localhost"),
    ],
)
def test_a_limit_means_what_it_means_to_ansible_and_this_machine_stays_in(limit: str, meant: str) -> None:
    assert with_localhost(limit) == meant


def test_an_intersection_would_leave_this_machine_out() -> None:
    with pytest.raises(DeployError, match="not supported"):
        with_localhost("nodes:&rack1")


@pytest.mark.parametrize(("limit", "hosts"), [("a:c", "ac"), ("all:!c:!far", "a"), ("!a:!far", "c"), ("c", "c")])
def test_ansible_runs_on_the_hosts_that_the_limit_names(deploy: Deploy, limit: str, hosts: str) -> None:
    result = deploy("far", "up", "--limit", limit)
    assert result.returncode == 0
    assert [line[0] for line in result.stdout.split("Unreachable\n")[1].splitlines()[: len(hosts)]] == list(hosts)


@pytest.mark.parametrize("name", ["verify", "status", "doctor", "web_services", "web_rollback", "certs_renew"])
def test_a_playbook_about_the_whole_cluster_refuses_a_limit_of_ansible_playbook(name: str) -> None:
    argv = [
        str(ROOT / ".venv/bin/ansible-playbook"),
        "-i",
        "inventory/docker",
        f"playbooks/{name}.yml",
        "--limit",
        "node1",
    ]
    result = subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "this playbook is about the whole cluster: leave out --limit" in result.stderr


def test_a_warning_of_the_configuration_is_shown_and_is_an_event(deploy: Deploy) -> None:
    told = 'x_result={"notices": ["host node1 is in neither masters nor nodes and is ignored"]}'
    result = deploy("reports", "up", "-e", told)
    assert result.returncode == 0
    assert "host node1 is in neither masters" in result.stdout
    events = [json.loads(line) for line in deploy("reports", "up", "--json", "-e", told).stdout.splitlines()]
    assert [event["level"] for event in events if event["type"] == "message"] == ["notice"]


def test_a_warning_is_shown_by_a_verb_that_only_reports(deploy: Deploy) -> None:
    told = 'x_result={"status": {}, "notices": ["up would refuse hosts.yml:3: colour: unknown key"]}'
    result = deploy("reports", "status", "-e", told)
    assert "up would refuse hosts.yml:3: colour" in result.stderr
    assert "up would refuse" not in result.stdout
