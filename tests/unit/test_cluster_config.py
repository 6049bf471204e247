# SPDX-License-Identifier: Apache-2.0
"""What a user hears about a wrong inventory, before anything changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.yunkube.control import spec_check
from ansible.module_utils.yunkube.control.cluster_rules import Cluster, findings, warnings
from ansible.module_utils.yunkube.control.config import check_value
from ansible.module_utils.yunkube.control.inventory_files import read, role_options
from checkout import play

ROOT = Path(__file__).resolve().parents[2]
HOSTS = """\
---
all:
  children:
    masters:
      hosts:
        master1: {ansible_host: 10.77.0.11}
    nodes:
      hosts:
        node1: {ansible_host: 10.77.0.21}
"""
VALUES = {
    "cluster_name": "docker",
    "cluster_provider": "docker",
    "cluster_kubernetes_version": "1.37.2",
    "cluster_pod_cidr": "10.244.0.0/16",
    "cluster_service_cidr": "10.96.0.0/16",
    "cluster_dns_domain": "cluster.local",
    "cluster_control_plane_host": "master1",
    "cluster_control_plane_endpoint": "10.77.0.11:6443",
    "docker_hosts_subnet": "10.77.0.0/24",
}
OPTIONS: dict[str, Any] = {
    "cluster_name": {"type": "str"},
    "cluster_provider": {"type": "str", "choices": ["docker", "existing"]},
    "cluster_pod_cidr": {"type": "str"},
    "cluster_kubelet_config": {"type": "dict"},
    "cluster_ignore_preflight_errors": {"type": "list", "elements": "str"},
    "web_service_replicas": {"type": "int"},
    "web_service_tls": {"type": "bool"},
    "web_service_ports": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str"}, "port": {"type": "int", "required": True, "description": "The port."}},
    },
}


def cluster(hosts: dict[str, str] | None = None, groups: dict[str, list[str]] | None = None, **values: Any) -> Cluster:
    """Return a cluster that is right but for what the test says."""
    return Cluster(
        values={**VALUES, **values},
        hosts=hosts or {"master1": "10.77.0.11", "node1": "10.77.0.21"},
        groups=groups or {"masters": ["master1"], "nodes": ["node1"]},
        written=set(values),
        releases=["1.36.4", "1.37.2"],
    )


def said(tmp_path: Path, text: str, hosts: str = HOSTS, given: Cluster | None = None) -> list[str]:
    """Return the lines that a user reads for this cluster.yml."""
    (tmp_path / "group_vars/all").mkdir(parents=True, exist_ok=True)
    (tmp_path / "hosts.yml").write_text(hosts)
    (tmp_path / "group_vars/all/cluster.yml").write_text(text)
    inventory = read([tmp_path])
    return [
        str(fault)
        for fault in spec_check.in_order(spec_check.faults_of(inventory, OPTIONS, given or cluster(), tmp_path))
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("cluster_pod_cird: 10.0.0.0/16", "cluster_pod_cird: unknown key; did you mean cluster_pod_cidr?"),
        ("ansible_port: abc", "ansible_port: abc is no port; write a number from 1 to 65535"),
        ("ansible_become: maybe", "ansible_become: maybe is neither true nor false; write true or false"),
        ("http_proxy: http://p", "http_proxy: unknown key; did you mean container_runtime_environment?"),
        ("frobnicate: 1", "frobnicate: unknown key; see docs/cluster.md; variables of your own start with x_"),
        ("cluster_name: 7", 'cluster_name: wants a string, not the number 7; write it in quotes, "7"'),
        ("cluster_name: 1.30", "cluster_name: wants a string, not a number; write it in quotes"),
        ("cluster_name: no", 'cluster_name: wants a string, not false; write it in quotes, "false"'),
        ("cluster_name:", "cluster_name: has no value; write one, or remove the line to take the default"),
        (
            "cluster_provider: exsting",
            "cluster_provider: exsting is not one of docker, existing; did you mean existing?",
        ),
        (
            "cluster_ignore_preflight_errors: Swap",
            'cluster_ignore_preflight_errors: wants a list, not the string "Swap"; write [Swap]',
        ),
        (
            "cluster_ignore_preflight_errors: [Swap, 1]",
            'cluster_ignore_preflight_errors[1]: wants a string, not the number 1; write it in quotes, "1"',
        ),
        ("cluster_kubelet_config: [a]", "cluster_kubelet_config: wants a dictionary, not a list; write a dictionary"),
        (
            'web_service_replicas: "3"',
            'web_service_replicas: wants a whole number, not the string "3"; write 3 without quotes',
        ),
        ("web_service_replicas: true", "web_service_replicas: wants a whole number, not true; write a whole number"),
        (
            'web_service_tls: "true"',
            'web_service_tls: wants true or false, not the string "true"; write true or false, without quotes',
        ),
        (
            "web_service_ports: [{port: 1, nane: x}]",
            "web_service_ports[0].nane: unknown key; did you mean name?",
        ),
        ("web_service_ports: [{name: x}]", "web_service_ports[0].port: missing; add it: The port."),
    ],
)
def test_a_wrong_line_is_named_with_its_place_and_its_remedy(tmp_path: Path, line: str, complaint: str) -> None:
    assert said(tmp_path, f"---\n\n{line}\n") == [f"group_vars/all/cluster.yml:3: {complaint}"]


@pytest.mark.parametrize(
    "line",
    [
        "ansible_user: root",
        "molecule_file: x",
        "x_anything: {a: 1}",
        'cluster_kubelet_config: "{{ x_config }}"',
        "cluster_name: !unsafe 'a{{b'",
        "cluster_kubelet_config: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162",
        "web_service_tls: yes",
        "x_base: &base {port: 1}\nweb_service_ports: [{<<: *base, name: a}]",
    ],
)
def test_what_may_stand_there_is_left_alone(tmp_path: Path, line: str) -> None:
    assert said(tmp_path, f"---\n{line}\n") == []


def test_a_key_that_comes_twice_is_a_fault_at_any_depth(tmp_path: Path) -> None:
    text = "---\ncluster_name: a\ncluster_name: b\ncluster_kubelet_config:\n  maxPods: 1\n  maxPods: 2\n"
    assert said(tmp_path, text) == [
        "group_vars/all/cluster.yml:3: cluster_name: set twice, in line 2 too; keep one of them",
        "group_vars/all/cluster.yml:6: maxPods: set twice, in line 5 too; keep one of them",
    ]


def test_all_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/node1.yml").write_text("---\nkubelet_typo: 1\n")
    hosts = HOSTS.replace("{ansible_host: 10.77.0.21}", "{ansible_host: 10.77.0.11, cluster_nam: x}")
    twins = cluster(hosts={"master1": "10.77.0.11", "node1": "10.77.0.11"})
    assert [line.split(";")[0] for line in said(tmp_path, "---\ncluster_name: 1\n", hosts, twins)] == [
        "group_vars/all/cluster.yml:2: cluster_name: wants a string, not the number 1",
        "host_vars/node1.yml:2: kubelet_typo: unknown key",
        "hosts.yml:9: cluster_nam: unknown key",
        "hosts.yml:9: host node1: has the address of host master1, 10.77.0.11",
    ]


def test_a_file_that_is_encrypted_as_a_whole_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "group_vars/all").mkdir(parents=True)
    (tmp_path / "group_vars/all/vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    assert said(tmp_path, "---\ncluster_name: docker\n") == []


def test_the_keys_of_an_ini_inventory_are_checked_too(tmp_path: Path) -> None:
    ini = "[masters]\nmaster1 ansible_host=10.77.0.11 cluster_nam=x\n\n[all:vars]\ncluster_pod_cird=10.0.0.0/8\n"
    (tmp_path / "hosts").write_text(ini)
    assert [(entry.key, entry.line, entry.scope) for entry in read([tmp_path]).entries] == [
        ("ansible_host", 2, "master1"),
        ("cluster_nam", 2, "master1"),
        ("cluster_pod_cird", 5, "all"),
    ]


def test_a_cluster_that_is_right_has_no_findings() -> None:
    assert list(findings(cluster())) == []
    assert list(warnings(cluster())) == []


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"cluster_name": "My_Cluster"}, '"My_Cluster" is not a DNS label'),
        ({"cluster_dns_domain": "a..b"}, '"a..b" is not a domain'),
        ({"cluster_pod_cidr": "10.244.0.0"}, "10.244.0.0 has no prefix"),
        ({"cluster_pod_cidr": "10.244.1.0/16"}, "10.244.1.0/16 does not start on its network's address"),
        ({"cluster_pod_cidr": "fd00::/64"}, '"fd00::/64" is not an IPv4 network'),
        ({"cluster_pod_cidr": "10.244.0.0/25"}, "/25 is out of bounds"),
        ({"cluster_pod_cidr": "10.244.0.0/24"}, "10.244.0.0/24 has room for 1 hosts and there are 2"),
        ({"cluster_service_cidr": "10.96.0.0/29"}, "/29 is out of bounds"),
        ({"cluster_service_cidr": "10.96.0.0/11"}, "/11 is out of bounds"),
        ({"cluster_pod_cidr": "10.96.0.0/12"}, "10.96.0.0/12 overlaps cluster_service_cidr 10.96.0.0/16"),
        ({"cluster_service_cidr": "10.244.0.0/20"}, "10.244.0.0/20 overlaps cluster_pod_cidr 10.244.0.0/16"),
        ({"docker_hosts_subnet": "10.78.0.0/24"}, "10.77.0.11 is not an address in docker_hosts_subnet 10.78.0.0/24"),
        ({"cluster_control_plane_host": "node1"}, "node1 is not in group masters"),
        ({"cluster_control_plane_endpoint": "10.0.0.1"}, '"10.0.0.1" is not host:port'),
        (
            {"cluster_control_plane_endpoint": "127.0.0.1:6443"},
            "the API's endpoint is 127.0.0.1:6443, each host itself",
        ),
        (
            {"cluster_control_plane_endpoint": "localhost:6443"},
            "the API's endpoint is localhost:6443, each host itself",
        ),
        ({"cluster_control_plane_endpoint": "10.0.0.1:99999"}, '"10.0.0.1:99999" is not host:port'),
        ({"cluster_ignore_preflight_errors": ["all"]}, "all would hide the next fault, too"),
        ({"cluster_bundle_url": "ftp://x"}, "ftp://x is not a URL"),
    ],
)
def test_values_that_cannot_be_are_refused(changed: dict[str, Any], complaint: str) -> None:
    found = list(findings(cluster(**changed)))
    assert complaint in [message for _, message, _ in found]
    assert all(remedy for _, _, remedy in found)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"cluster_registry_host": "node2"}, "node2 is in neither masters nor nodes"),
        ({"cluster_addons_host": "elsewhere"}, "elsewhere is in neither masters nor nodes"),
        ({"cluster_registry_address": "harbor.example"}, '"harbor.example" is not host:port'),
    ],
)
def test_what_stands_on_one_host_stands_on_one_that_there_is(changed: dict[str, Any], complaint: str) -> None:
    ((key, message, remedy),) = findings(cluster(**changed))
    assert (key, message) == (next(iter(changed)), complaint)
    assert remedy


def test_a_folder_of_the_system_does_not_go_with_the_cluster() -> None:
    found = list(findings(cluster(teardown_paths=["/srv/data", "/var/lib/", "/"])))
    assert [(key, message.split()[0]) for key, message, _ in found] == [
        ("teardown_paths", "/var/lib/"),
        ("teardown_paths", "/"),
    ]


def test_an_overlap_is_reported_where_there_is_a_line_to_edit() -> None:
    [(key, _, _)] = findings(cluster(cluster_service_cidr="10.244.0.0/16"))
    assert key == "cluster_service_cidr"


@pytest.mark.parametrize(
    ("hosts", "groups", "complaint"),
    [
        ({}, {"nodes": ["node1"], "all": ["node1"]}, ("group masters", "has no hosts")),
        ({}, {"masters": ["master1"], "nodes": ["master1"]}, ("host master1", "in masters and in nodes")),
        ({"a": "10.77.0.1"}, {"masters": ["a"]}, ("host a", "10.77.0.1 is this machine's own, the gateway")),
        ({"a": "10.77.0.255"}, {"masters": ["a"]}, ("host a", "10.77.0.255 is the network's")),
        (
            {"Node_1": "10.77.0.9"},
            {"masters": ["Node_1"]},
            ("host Node_1", "not a DNS name, which a Kubernetes node's name must be"),
        ),
        (
            {"a": "10.244.3.4"},
            {"masters": ["a"]},
            ("cluster_pod_cidr", "10.244.0.0/16 contains the address of host a, 10.244.3.4"),
        ),
    ],
)
def test_hosts_that_cannot_be_are_refused(
    hosts: dict[str, str], groups: dict[str, list[str]], complaint: tuple[str, str]
) -> None:
    assert complaint in [(key, message) for key, message, _ in findings(cluster(hosts, groups))]


def test_a_group_that_was_probably_meant_is_named() -> None:
    remedies = [remedy for _, _, remedy in findings(cluster(groups={"master": ["a"], "nodes": []}))]
    assert 'did you mean that by group "master"?' in remedies


def test_existing_hosts_may_be_anywhere_and_have_names_for_addresses() -> None:
    given = cluster({"a": "one.example.com"}, {"masters": ["a"]}, cluster_provider="existing")
    assert [finding for finding in findings(given) if finding[0] != "cluster_control_plane_host"] == []


def test_what_counts_for_the_cluster_is_not_set_for_some_hosts(tmp_path: Path) -> None:
    hosts = HOSTS + "  vars: {cluster_name: a, cluster_kubelet_config: {}}\n"
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/nodes.yml").write_text(
        "---\ncluster_provider: existing\nx_a: 1\ncluster_kubelet_config: {}\n"
    )
    [line] = said(tmp_path, "---\n", hosts)
    assert line.startswith("group_vars/nodes.yml:2: cluster_provider: is set for nodes alone")
    assert line.endswith("move it to group_vars/all/cluster.yml")


def test_a_file_that_is_no_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    [line] = said(tmp_path, "---\ncluster_name: [a\n\nb: c\n")
    assert line.startswith("group_vars/all/cluster.yml:4: YAML: ")


def test_folders_that_go_are_judged_for_whatever_host_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "hosts.yml").write_text(HOSTS)
    (tmp_path / "host_vars/node1.yml").write_text('teardown_paths: [/opt, "{{ x_data }}"]\n')
    inventory = read([tmp_path])
    assert [path for entry in inventory.entries for path in spec_check.paths_of(entry)] == ["/opt"]


def test_an_even_number_of_masters_and_a_host_without_a_role_are_warned_of() -> None:
    given = cluster({"a": "10.77.0.2", "b": "10.77.0.3", "c": "10.77.0.4"}, {"masters": ["a", "b"], "nodes": []})
    assert [text.split(";")[0] for text in warnings(given)] == [
        "masters has 2 hosts",
        "host c is in neither masters nor nodes and is ignored",
    ]
    workers = cluster({"a": "10.77.0.2", "c": "10.77.0.4"}, {"masters": ["a"], "workers": ["c"]})
    assert [text.partition("; ")[2] for text in warnings(workers)] == ['did you mean nodes by group "workers"?']


def test_the_roles_of_the_project_are_read() -> None:
    options = role_options(ROOT / "roles")
    assert {"cluster_pod_cidr", "cluster_kubelet_config"} <= set(options)


@pytest.mark.parametrize("inventory", ["alicloud", "docker", "sample"])
def test_the_inventories_that_we_ship_are_right(inventory: str) -> None:
    options = role_options(ROOT / "roles")
    faults = spec_check.faults_of(read([ROOT / "inventory" / inventory]), options, cluster(), ROOT)
    assert [str(fault) for fault in faults] == []


def test_a_plain_playbook_ends_in_the_faults_and_changes_nothing(tmp_path: Path) -> None:
    said(tmp_path, "---\ncluster_pod_cird: 10.0.0.0/16\ncluster_service_cidr: 10.244.0.0/16\n")
    done = play(tmp_path, "site.yml")
    assert done.returncode == 2, done.stdout + done.stderr
    file = tmp_path / "group_vars/all/cluster.yml"
    assert f"{file}:2: cluster_pod_cird: unknown key; did you mean cluster_pod_cidr?" in done.stdout
    assert f"{file}:3: cluster_service_cidr: 10.244.0.0/16 overlaps cluster_pod_cidr 10.244.0.0/16" in done.stdout
    assert "changed=0" in done.stdout
    assert "changed=1" not in done.stdout


@pytest.mark.parametrize(
    ("services", "complaints"),
    [
        ([{"name": "web", "image": "web:1", "node_port": 31111, "replicas": 0}], []),
        ([{"name": "web", "image": "a"}, {"name": "web", "image": "a", "namespace": "b"}], []),
        ([{"name": "web", "image": "a"}, {"name": "web", "image": "b", "namespace": "default"}], ["declared twice"]),
        ([{"name": "Web_1", "image": "a"}], ['name "Web_1" is not a DNS label']),
        ([{"name": "1web", "image": "a"}], ['name "1web" is not a DNS label']),
        ([{"name": "registry", "image": "a", "namespace": "registry"}], ["namespace registry is reserved"]),
        ([{"name": "web", "image": "a", "namespace": "kube-system"}], ["namespace kube-system is reserved"]),
        (
            [{"name": "web", "image": "a", "env": {"A": {"secret": "db", "key": "k"}}, "env_from": [{"secret": "s"}]}],
            [],
        ),
        ([{"name": "web", "image": "a", "env": {"A": {"secret": "db"}}}], ["env A: names no key"]),
        ([{"name": "web", "image": "a", "env": {"A": ["b"]}}], ["env A: is a list"]),
        ([{"name": "web", "image": "a", "env_from": [{"secret": "s", "config_map": "c"}]}], ["env_from[0]: names no"]),
        ([{"name": "web", "image": "a", "namespace": "a.b"}], ['namespace "a.b" is not a DNS label']),
        ([{"name": "web"}], ["neither image nor manifests"]),
        ([{"name": "web", "image": "a", "manifests": ["b"]}], ["both image and manifests"]),
        ([{"name": "web", "image": "a", "node_port": 8080}], ["node_port 8080 is out of range"]),
        (
            [{"name": "a", "image": "a", "node_port": 31111}, {"name": "b", "image": "b", "node_port": 31111}],
            ["node_port 31111 is that of default/a"],
        ),
        (
            [{"name": "web", "image": "a", "port": 70000, "replicas": -1}],
            ["port 70000 is not a valid port", "replicas -1 is negative"],
        ),
    ],
)
def test_web_services_must_fit_together(services: list[Any], complaints: list[str]) -> None:
    found = [(key, message) for key, message, remedy in findings(cluster(web_services=services)) if remedy]
    assert len(found) == len(complaints)
    for (key, message), complaint in zip(found, complaints, strict=True):
        assert key == "web_services"
        assert complaint in message


def test_an_unknown_key_of_a_web_service_hides_no_other_fault(tmp_path: Path) -> None:
    options = role_options(ROOT / "roles")
    (tmp_path / "group_vars/all").mkdir(parents=True)
    (tmp_path / "hosts.yml").write_text(HOSTS)
    services = [{"name": "web", "image": "web:1", "nodeport": 31111}, {"name": "shop", "image": "a", "port": 0}]
    (tmp_path / "group_vars/all/cluster.yml").write_text(f"web_services: {json.dumps(services)}\n")
    given = cluster(web_services=services)
    faults = [str(fault) for fault in spec_check.faults_of(read([tmp_path]), options, given, tmp_path)]
    assert faults == [
        "group_vars/all/cluster.yml:1: web_services[0].nodeport: unknown key; did you mean node_port?",
        "group_vars/all/cluster.yml:1: web_services: default/shop: port 0 is not a valid port; use one from 1 to 65535",
    ]


DIGEST = f"ghcr.io/headlamp-k8s/headlamp@sha256:{'0a' * 32}"


@pytest.mark.parametrize(
    ("values", "complaints"),
    [
        ({"dashboard_provider": "kube_web_view", "dashboard_node_port": 30443}, []),
        ({"dashboard_provider": "kube_web_view", "dashboard_node_port": 80}, ["80 is out of range"]),
        ({"dashboard_provider": "none", "dashboard_node_port": 80}, []),
        ({"dashboard_provider": "headlamp"}, []),
        ({"dashboard_provider": "headlamp", "dashboard_headlamp_image": ""}, []),  # not set
        ({"dashboard_provider": "headlamp", "dashboard_headlamp_image": "r/headlamp:v1"}, ["names no digest"]),
        ({"dashboard_provider": "headlamp", "dashboard_headlamp_image": "r/h@sha256:12"}, ["names no digest"]),
        ({"dashboard_provider": "headlamp", "dashboard_headlamp_image": DIGEST}, []),
        ({"dashboard_provider": "headlamp", "dashboard_headlamp_allow_tag": True}, []),
        (
            {
                "dashboard_provider": "kube_web_view",
                "dashboard_node_port": 30443,
                "web_services": [{"name": "web", "image": "a", "node_port": 30443}],
            },
            ["node_port 30443 is that of the dashboard"],
        ),
    ],
)
def test_a_dashboard_has_a_port_and_an_image_pinned_by_digest(values: dict[str, Any], complaints: list[str]) -> None:
    found = [message for _, message, remedy in findings(cluster(**values)) if remedy]
    assert len(found) == len(complaints), found
    assert all(text in message for text, message in zip(complaints, found, strict=True))


@pytest.mark.parametrize(
    ("key", "value", "kind"), [("registry_password", 83614, "str"), ("kubelet_environment", "A=hidden-83614", "dict")]
)
def test_a_fault_of_a_secret_value_does_not_repeat_it(key: str, value: Any, kind: str) -> None:
    ((name, message, remedy),) = check_value(key, value, {"type": kind, "no_log": True})
    assert name == key
    assert "83614" not in message + remedy
    assert message.startswith("wants ")


def test_a_cluster_without_a_name_is_refused_at_its_line(tmp_path: Path) -> None:
    (line,) = said(tmp_path, 'cluster_provider: docker\ncluster_name: ""\n', given=cluster(cluster_name=""))
    assert line.startswith("group_vars/all/cluster.yml:2: cluster_name: has no value; give it a name")
    assert [key for key, _, _ in findings(cluster(cluster_name=""))] == ["cluster_name"]
