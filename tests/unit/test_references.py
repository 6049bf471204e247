# SPDX-License-Identifier: Apache-2.0
"""Templates of an inventory that cannot be filled in are found before a run, with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.yunkube.control.inventory_files import read
from ansible.module_utils.yunkube.control.references import complaints
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
        ("x_ips: 192.0.2.11\n", ["hosts.yml:1 ansible_host uses x_ip, which is not set anywhere; did you mean x_ips?"]),
        (
            "x_ip: 1\ncluster_pod_cidr: '{{ x }}'\n",
            ["cluster.yml:2 cluster_pod_cidr uses x, which is not set anywhere"],
        ),
        ("x_ip: 1\nnode_labels: {a: ['{{ y }}']}\n", ["cluster.yml:2 node_labels uses y, which is not set anywhere"]),
        ("x_ip: '{{ x_net }}.11'\n", ["cluster.yml:1 x_ip uses x_net, which is not set anywhere"]),
        ("x_ip: 1\nx_of_others: '{{ unknown }}'\n", []),
        ("x_ip: 1\ncluster_name: '{{ cluster_dns_domian }}'\n", ["did you mean cluster_dns_domain?"]),
        ("x_ip: 1\ncluster_name: '{{ x_ip }'\n", ["cluster.yml:2 cluster_name is not a valid template: "]),
        ("x_ip: 1\ncluster_name: '{% if x_ip %}a'\n", ["cluster.yml:2 cluster_name is not a valid template: "]),
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
        (
            "x_ip: 1\ncluster_name: '{{ 10 | nosuch }}'\n",
            ["cluster_name is not a valid template: there is no filter nosuch"],
        ),
        ("x_ip: 1\ncluster_name: '{{ 1 is sux }}'\n", ["cluster_name is not a valid template: there is no test sux"]),
        ("x_ip: 1\ncluster_name: \"{{ 'a' | b64encode is success or [] is superset([]) }}\"\n", []),
        ("x_ip: &a ['{{ x_ip }}']\n", []),
        ("x_ip: !unsafe '{{ x }}'\n", []),
    ],
)
def test_a_name_that_nothing_sets_is_named_with_its_line(tmp_path: Path, text: str, wrong: list[str]) -> None:
    found = said(tmp_path, text)
    assert len(found) == len(wrong), found
    assert all(part in line for part, line in zip(wrong, found, strict=True)), found


ITSELF = "names itself, so it has no value; set a value, or delete the line"
TWO = "all: {children: {masters: {hosts: {m1: {x_b: '{{ cluster_name }}'}, m2: {x_b: b}}}}}\n"


@pytest.mark.parametrize(
    ("hosts", "text", "wrong"),
    [
        ("", "cluster_name: \"{{ cluster_name | default('a') }}\"\n", [f"cluster.yml:1 cluster_name {ITSELF}"]),
        ("", "cluster_name: \"{{ 'a' if cluster_name is not defined else 'b' }}\"\n", [f"cluster_name {ITSELF}"]),
        ("", "cluster_name: '{% for one in cluster_name %}{% endfor %}'\n", [f"cluster_name {ITSELF}"]),
        ("", "node_labels: {a: '{{ node_labels.a }}'}\n", [f"node_labels {ITSELF}"]),
        ("", "node_labels: '{{ node_labels | combine({}) }}'\n", [f"node_labels {ITSELF}"]),
        (
            "",
            "cluster_name: '{{ x_b }}'\nx_b: \"{{ cluster_name ~ 'a' }}\"\n",
            ["cluster.yml:1 cluster_name refers to x_b (cluster.yml:2), which refers back to it, so it has"],
        ),
        (
            "",
            "cluster_name: '{{ x_b }}'\nx_b: '{{ x_c.d[0] }}'\nx_c: {d: ['{{ x_b }}']}\n",
            ["cluster.yml:2 x_b refers to x_c (cluster.yml:3), which refers back to it"],
        ),
        (
            TWO,
            "cluster_name: '{{ x_b }}'\n",
            ["cluster.yml:1 cluster_name refers to x_b (hosts.yml:1), which refers"],
        ),
        (
            "all: {children: {masters: {hosts: {a: , b: }, vars: {ansible_user: '{{ x_u }}'}}}}\n",
            "x_u: '{{ ansible_user }}'\n",
            ["hosts.yml:1 ansible_user refers to x_u (cluster.yml:1), which refers back to it"],
        ),
        (
            "all: {children: {masters: {hosts: {a: {ansible_host: '{{ ansible_host }}'}}}}}\n",
            "cluster_name: a\n",
            [f"hosts.yml:1 ansible_host {ITSELF}"],
        ),
        # None of these is a loop for Ansible, which looks at a name when it needs it.
        ("", "x_b: '{{ x_b }}'\n", []),
        ("", "cluster_name: \"{{ 'a' | default(cluster_name) }}\"\n", []),
        ("", 'cluster_name: "{{ (1 == 2) | ternary(cluster_name, 3) }}{{ 1 or cluster_name }}"\n', []),
        ("", "cluster_name: \"{{ 'a' if true else cluster_name }}{% if 0 %}{{ cluster_name }}{% endif %}\"\n", []),
        ("", "cluster_name: '{% set cluster_name = 3 %}{{ cluster_name }}'\n", []),
        ("", "cluster_name: '{% for cluster_name in [1] %}{{ cluster_name }}{% endfor %}'\n", []),
        ("", "cluster_name: \"{{ hostvars['master1'].cluster_name }}\"\n", []),
        ("", "node_labels: {a: '{{ node_labels.b }}', b: '1'}\n", []),
        ("all: {hosts: {a: {x_b: '{{ cluster_name }}', x_c: b}}}\n", "cluster_name: '{{ x_c }}'\n", []),
        (
            "all: {hosts: {a: {x_b: '{{ x_c }}', x_c: d}, b: {x_b: d, x_c: '{{ x_b }}'}}}\n",
            "cluster_name: '{{ x_b }}{{ x_c }}'\n",
            [],
        ),
        (  # Every host has its own.
            "all: {hosts: {a: {ansible_user: b}}}\n",
            "ansible_user: \"{{ ansible_user | default('root') }}\"\n",
            [],
        ),
        (  # Which group a host is in is not known here.
            "all: {children: {masters: {hosts: {a: }, vars: {ansible_user: b}}}}\n",
            "ansible_user: \"{{ ansible_user | default('root') }}\"\n",
            [],
        ),
    ],
)
def test_a_template_that_needs_itself_is_named_once(tmp_path: Path, hosts: str, text: str, wrong: list[str]) -> None:
    found = said(tmp_path, text, hosts or "all: {hosts: {master1: }}\n")
    assert len(found) == len(wrong), found
    assert all(part in line for part, line in zip(wrong, found, strict=True)), found


def test_a_loop_is_left_alone_where_what_cannot_be_read_may_end_it(tmp_path: Path) -> None:
    loop = "cluster_name: '{{ cluster_name }}'\n"
    assert len(said(tmp_path, loop, "all: {hosts: {a: }}\n")) == 1
    (tmp_path / "group_vars/all/vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    assert len(list(complaints(read([tmp_path]), set()))) == 1
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/a.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    assert list(complaints(read([tmp_path]), set())) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("\"{{ hostvars['master9'].x_ip }}\"", ["names the host master9, which does not exist; did you mean master1?"]),
        ("\"{{ hostvars['master1'].x_ip ~ hostvars['localhost'].a ~ hostvars[x_ip] }}\"", []),
        ("\"{{ hostvars['master9'].x_ip | default('a') }}\"", []),
        ("\"{{ 'a' if true else hostvars['master9'].x_ip }}\"", []),
        ("\"{{ hostvars['master9'] is defined }}\"", []),
    ],
)
def test_a_host_that_there_is_not_is_named(tmp_path: Path, text: str, wrong: list[str]) -> None:
    found = said(tmp_path, f"x_ip: a\ncluster_name: {text}\n")
    assert len(found) == len(wrong), found
    assert all(f"cluster.yml:2 cluster_name {part}" in line for part, line in zip(wrong, found, strict=True)), found


@pytest.mark.parametrize(
    ("hosts", "wrong"),
    [
        (
            "all: {children: {masters: {hosts: {a: , b: }}, nodes: {hosts: {c: }}}}\n",
            ["cluster.yml:2 ansible_host uses x_ips[inventory_hostname], which lacks b, c; add them to x_ips"],
        ),
        ("all: {children: {masters: {hosts: {a: , b: {ansible_host: b}}}}}\n", []),
        ("all: {children: {masters: {hosts: {a: }}, storage: {hosts: {b: }}}}\n", []),
        ("all: {children: {masters: {hosts: {a: , b: }, vars: {x_ips: {a: b, b: c}}}}}\n", []),
    ],
)
def test_a_dictionary_that_lacks_a_host_is_named(tmp_path: Path, hosts: str, wrong: list[str]) -> None:
    found = said(tmp_path, "x_ips: {a: 192.0.2.1}\nansible_host: '{{ x_ips[inventory_hostname] }}'\n", hosts)
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
        "group_vars/all/cluster.yml:1: cluster_pod_cidr: uses x, which is not set anywhere",
        "hosts.yml:1: ansible_host: uses x_ip, which is not set anywhere",
    ]
    Source(tmp_path).check(["x", "x_ip"])


def test_the_command_refuses_a_port_that_keeps_a_play_from_starting(tmp_path: Path) -> None:
    said(tmp_path, "ansible_port: abc\nx_ip: 192.0.2.11\n")
    with pytest.raises(DeployError, match="yml:1: ansible_port: abc is no port; write a number from 1 to 65535"):
        Source(tmp_path).check()


@pytest.mark.parametrize("inventory", ["docker", "sample"])
def test_our_own_inventories_pass(inventory: str) -> None:
    Source(ROOT / "inventory" / inventory).check()
