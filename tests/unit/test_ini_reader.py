# SPDX-License-Identifier: Apache-2.0
"""An INI inventory is read as Ansible reads it, and what Ansible refuses is named with its line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.yunkube.control import ini_reader
from ansible.module_utils.yunkube.control.config import check_entry
from ansible.module_utils.yunkube.control.inventory_files import read, role_options
from checkout import ROOT, environment

GOOD = """\
# 集群
[masters]
master1 ansible_host=10.77.0.11 x_port=22 x_text="a b" x_true=True x_low=true x_list='["a", "b"]' # first
[nodes]
node[01:03] x_none=None x_float=1.30
web[a:c:2].example.com:2222 x_version=1.37.2
[k8s:children]
masters
nodes
[k8s:vars]
x_quoted = "prod"
x_map={'a': 1}
; all of it
[all:vars]
x_url=http://a/b=c#d
"""


def test_hosts_and_values_are_those_of_ansible(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(GOOD)
    argv = [str(ROOT / ".venv/bin/ansible-inventory"), "-i", str(tmp_path / "hosts"), "--list"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env=environment(), cwd=tmp_path)
    theirs: dict[str, dict[str, Any]] = json.loads(done.stdout)["_meta"]["hostvars"]
    inventory = read([tmp_path])
    assert inventory.problems == []
    groups = {"master1": "masters", **{host: "nodes" for host in inventory.hosts if host != "master1"}}
    assert (
        set(inventory.hosts)
        == set(theirs)
        == {"master1", *(f"node0{n}" for n in (1, 2, 3)), *(f"web{n}.example.com" for n in "ac")}
    )
    for host, given in theirs.items():
        scopes = (host, groups[host], "k8s", "all")
        ours = {entry.key: entry.value for entry in inventory.entries if entry.scope in scopes}
        assert ours == {key: value for key, value in given.items() if key != "ansible_port"}, host
    assert inventory.hosts["node02"] == (tmp_path / "hosts", 5)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[masters\nm1\n", '1: INI: "[masters" is no section; write [group]'),
        ("[masters:child]\nm1\n", '1: INI: "[masters:child]" is no section'),
        ("[masters]\nm1 ansible_host = 10.0.0.1\n", '2: INI: "ansible_host" is no variable; write key=value, without'),
        ("[masters]\nm1 a='b\n", "2: INI: a quote is not closed"),
        ("[masters]\nm1\n[all:vars]\ncluster_name\n", '4: INI: "cluster_name" is no variable; write key=value'),
        ("[masters]\nm1\n[k8s:children]\nmasters\nworker\n", "5: INI: [k8s:children]: there is no group worker"),
        ("[masters]\nm1\n[master:vars]\na=b\n", "3: INI: [master:vars]: there is no group master"),
        (
            "[nodes]\nn[1:3] ansible_host=10.0.0.[1:3]\n",
            "2: INI: ansible_host: a range counts in the host's name alone",
        ),
    ],
)
def test_what_ansible_refuses_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "hosts.ini").write_text(text)
    (problem,) = read([tmp_path]).problems
    assert f"{problem.line}: {problem.key}: {'; '.join(problem.value)}".startswith(complaint)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("prepare_host_swap=of", "of is not one of off, leave; did you mean off?"),
        ("dashboard_tls=maybe", 'wants true or false, not the string "maybe"; write True or False: in INI'),
        ("dashboard_tls=true", 'wants true or false, not the string "true"; write True or False: in INI'),
        ("dashboard_tls=True", ""),
        ("cluster_ignore_preflight_errors=NumCPU", "wants a list, not the string \"NumCPU\"; write ['NumCPU']"),
        ("cluster_ignore_preflight_errors=['NumCPU']", ""),
        ("node_labels=role=web", "wants a dictionary, not the string \"role=web\"; write {'name': 'value'}"),
        ("prepare_host_memory_mb=1700", ""),
        ("cluster_kubernetes_version=1.37.2", ""),
        ("cluster_pod_cidr=10.244.0.0/16", ""),
    ],
)
def test_values_are_checked(tmp_path: Path, line: str, complaint: str) -> None:
    (tmp_path / "hosts").write_text(f"[masters]\nm1\n[all:vars]\n{line}\n")
    options = role_options(ROOT / "roles")
    faults = [
        f"{fault.line}: {fault.message}; {fault.remedy}"
        for entry in read([tmp_path]).entries
        for fault in check_entry(entry, options, tmp_path)
    ]
    assert len(faults) == bool(complaint), faults
    assert not complaint or faults[0].startswith(f"4: {complaint}")


def test_ranges_are_ansibles() -> None:
    assert ini_reader.expanded("n[08:10]") == ["n08", "n09", "n10"]
    assert ini_reader.expanded("n[1:5:2]-[a:b]") == ["n1-a", "n1-b", "n3-a", "n3-b", "n5-a", "n5-b"]
    assert ini_reader.expanded("n[x]") == ["n[x]"]
