"""Templates of an inventory that cannot be filled in are found before a run, with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.yunkube.inventory_files import read
from ansible.module_utils.yunkube.references import complaints
from deployer.errors import DeployError
from deployer.inventory import Source

ROOT = Path(__file__).resolve().parents[2]
HOSTS = "all: {children: {masters: {hosts: {master1: {ansible_host: '{{ x_ip }}'}}}}}\n"


def said(folder: Path, text: str, hosts: str = HOSTS, name: str = "cluster.yml") -> list[str]:
    """Return what is said of an inventory with these files."""
    (folder / "group_vars/all").mkdir(parents=True)
    (folder / "hosts.yml").write_text(hosts)
    (folder / "group_vars/all" / name).write_text(text)
    found = complaints(read([folder]), {"cluster_state_dir", "cluster_dns_domain"})
    return [f"{entry.file.name}:{entry.line} {entry.key} {message}; {hint}" for entry, message, hint in found]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("x_ip: 192.0.2.11\n", []),
        ("x_ips: 192.0.2.11\n", ["hosts.yml:1 ansible_host uses x_ip, which nothing sets; did you mean x_ips?"]),
        ("x_ip: 1\ncluster_pod_cidr: '{{ x }}'\n", ["cluster.yml:2 cluster_pod_cidr uses x, which nothing sets"]),
        ("x_ip: 1\nnode_labels: {a: ['{{ y }}']}\n", ["cluster.yml:2 node_labels uses y, which nothing sets"]),
        ("x_ip: '{{ x_net }}.11'\n", ["cluster.yml:1 x_ip uses x_net, which nothing sets"]),
        ("x_ip: 1\nx_of_others: '{{ unknown }}'\n", []),
        ("x_ip: 1\ncluster_name: '{{ cluster_dns_domian }}'\n", ["did you mean cluster_dns_domain?"]),
        ("x_ip: 1\ncluster_name: '{{ x_ip }'\n", ["cluster.yml:2 cluster_name is no template: "]),
        ("x_ip: 1\ncluster_name: '{% if x_ip %}a'\n", ["cluster.yml:2 cluster_name is no template: "]),
        (
            # A default, a test, what Ansible defines, and names of the template itself.
            (
                "x_ip: 1\ncluster_name: \"{{ lookup('env', 'A') | default(x_a | d(inventory_dir), true) }}\"\n"
                "cluster_dns_domain: '{{ (x_b is defined) | ternary(1, 2) }}{{ ansible_facts.fqdn }}{{ groups.a }}'\n"
                "cluster_node_ip: '{% for one in range(3) %}{{ one }}{% endfor %}{{ hostvars[role_name].a }}'\n"
            ),
            [],
        ),
        ("x_ip: 1\ncluster_name: '{{ [1] | product([2]) | list | community.general.json_query(1) }}'\n", []),
        ("x_ip: 1\ncluster_name: '{{ 10 | nosuch }}'\n", ["cluster_name is no template: there is no filter nosuch"]),
        ("x_ip: 1\ncluster_name: '{{ 1 is sux }}'\n", ["cluster_name is no template: there is no test sux"]),
        ("x_ip: 1\ncluster_name: \"{{ 'a' | b64encode is success or [] is superset([]) }}\"\n", []),
        ("x_ip: &a ['{{ x_ip }}']\n", []),
        ("x_ip: !unsafe '{{ x }}'\n", []),
    ],
)
def test_a_name_that_nothing_sets_is_named_with_its_line(tmp_path: Path, text: str, wrong: list[str]) -> None:
    found = said(tmp_path, text)
    assert len(found) == len(wrong), found
    assert all(part in line for part, line in zip(wrong, found, strict=True)), found


@pytest.mark.parametrize(
    ("hosts", "name", "text"),
    [
        (HOSTS, "vault.yml", "$ANSIBLE_VAULT;1.1;AES256\n6162\n"),
        ("plugin: ansible.builtin.constructed\ncompose: {x_ip: \"'1'\"}\n", "a.yml", "cluster_name: '{{ x_ip }}'\n"),
        ("#!/bin/sh\n", "a.yml", "cluster_name: '{{ x_ip }}'\n"),
    ],
)
def test_nothing_is_said_of_names_where_others_may_set_them(tmp_path: Path, hosts: str, name: str, text: str) -> None:
    assert said(tmp_path, text, hosts, name) == []
    (tmp_path / "group_vars/all/b.yml").write_text("cluster_pod_cidr: '{{ broken'\n")
    assert [entry.key for entry, *_ in complaints(read([tmp_path]), set())] == ["cluster_pod_cidr"]


def test_filters_of_the_users_own_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_FILTER_PLUGINS", str(tmp_path))
    assert said(tmp_path, "x_ip: 1\ncluster_name: '{{ 10 | ours }}'\n") == []


def test_the_command_refuses_all_of_them_at_once(tmp_path: Path) -> None:
    said(tmp_path, "cluster_pod_cidr: '{{ x }}'\nx_ok: '{{ cluster_cache_dir }}'\ncluster_name: '{{ x_ok }}'\n")
    with pytest.raises(DeployError) as refused:
        Source(tmp_path).check()
    lines = str(refused.value).splitlines()
    assert [line.partition("; ")[0].removeprefix(f"{tmp_path}/") for line in lines] == [
        "group_vars/all/cluster.yml:1: cluster_pod_cidr: uses x, which nothing sets",
        "hosts.yml:1: ansible_host: uses x_ip, which nothing sets",
    ]
    Source(tmp_path).check(["x", "x_ip"])


def test_the_command_refuses_a_port_that_keeps_a_play_from_starting(tmp_path: Path) -> None:
    said(tmp_path, "ansible_port: abc\nx_ip: 192.0.2.11\n")
    with pytest.raises(DeployError, match="yml:1: ansible_port: abc is no port; write a number from 1 to 65535"):
        Source(tmp_path).check()


@pytest.mark.parametrize("inventory", ["docker", "sample"])
def test_our_own_inventories_pass(inventory: str) -> None:
    Source(ROOT / "inventory" / inventory).check()
