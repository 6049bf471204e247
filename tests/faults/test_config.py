# SPDX-License-Identifier: Apache-2.0
"""A fault in cluster.yml is reported with its line and its remedy, before anything is created."""

from __future__ import annotations

import pytest
from laboratory import Lab, docker

FAULTS = {
    "a misspelt key": ("cluster_pod_cird: 10.1.0.0/16", ["cluster_pod_cird", "cluster_pod_cidr"]),
    "a wrong type": ("docker_hosts_memory_mb: plenty", ["docker_hosts_memory_mb", "plenty"]),
    "ranges that overlap": ("cluster_pod_cidr: 10.96.64.0/18", ["cluster_pod_cidr", "10.96.0.0/16"]),
    "an unknown release": ('cluster_kubernetes_version: "1.2.3"', ["cluster_kubernetes_version", "1.37.2"]),
}


def write(lab: Lab, line: str) -> None:
    """Set a key in cluster.yml, in place of the line that sets it."""
    file = lab.inventory / "group_vars/all/cluster.yml"
    key = line.partition(":")[0]
    kept = [old for old in file.read_text().splitlines() if not old.startswith(f"{key}:")]
    file.write_text("\n".join([*kept, line, ""]))


def pretend(lab: Lab) -> None:
    """Register a cluster in Docker as created on the control machine: without an id, no verb but `up` looks further."""
    state = lab.inventory.parent / "state"
    state.mkdir()
    (state / "id").write_text(f"{'0' * 16}\n")


def test_all_are_named_at_once_with_their_lines_and_remedies_and_nothing_is_created(bare: Lab) -> None:
    for line, _words in FAULTS.values():
        write(bare, line)
    result = bare.deploy("up")
    assert result.code == 2, result.errors
    written = (bare.inventory / "group_vars/all/cluster.yml").read_text().splitlines()
    for line, words in FAULTS.values():
        (fault,) = [one for one in result.faults.splitlines() if f"cluster.yml:{written.index(line) + 1}: " in one]
        for word in words:
            assert word in fault
            assert word in result.errors  # what a person reads
    assert [failure["kind"] for failure in result.failures] == ["config"]
    assert bare.containers() == set()
    assert docker("network", "ls", "--quiet", "--filter", "name=^yunkube-faults$") == ""


def test_a_file_that_is_no_yaml_is_named_with_its_line(bare: Lab) -> None:
    bare.write("cluster_dns_domain: [cluster.local\n")
    result = bare.deploy("up")
    assert result.code == 2
    assert "cluster.yml:" in result.errors
    assert bare.containers() == set()


@pytest.mark.parametrize(
    "verb", ["remove node1 --yes", "add node1", "web apply --yes", "web rollback web", "reattach", "doctor --fix"]
)
def test_no_verb_changes_anything_while_the_inventory_is_wrong(bare: Lab, verb: str) -> None:
    for line, _words in FAULTS.values():
        write(bare, line)
    write(bare, "web_services: [{name: web, image: x, namespace: kube-system}]")
    pretend(bare)
    result = bare.deploy(verb)
    assert result.code == 2, result.errors
    for words in ("cluster_pod_cird", "docker_hosts_memory_mb", "cluster_pod_cidr", "1.2.3", "kube-system"):
        assert words in result.faults
    assert [failure["kind"] for failure in result.failures] == ["config"]
    assert not any(result.changed.values())
    assert bare.containers() == set()


def test_who_looks_or_removes_the_cluster_need_not_correct_a_key_first(bare: Lab) -> None:
    write(bare, FAULTS["a misspelt key"][0])
    pretend(bare)
    looked = bare.deploy("doctor", ansible_host="127.0.0.1", ansible_port="9", ansible_ssh_retries="0")
    assert {one["id"] for one in looked.summary["doctor"]["findings"]} == {"host-unreachable"}, looked.errors
    down = bare.deploy("down --yes")
    assert down.code == 0, down.errors


def test_what_down_removes_must_be_right(bare: Lab) -> None:
    write(bare, FAULTS["a misspelt key"][0])
    write(bare, "teardown_paths: [/var, 7]")
    result = bare.deploy("down --yes")
    assert result.code == 2, result.errors
    assert "/var is a system folder" in result.faults
    assert "teardown_paths[1]" in result.errors
    assert "cluster_pod_cird" not in result.faults
