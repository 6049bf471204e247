# SPDX-License-Identifier: Apache-2.0
"""An inventory that Ansible refuses or that has no control plane is refused in one line, by every playbook."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.control import spec_check
from ansible.module_utils.yunkube.control.cluster_rules import Cluster
from ansible.module_utils.yunkube.control.inventory_files import below, read
from checkout import play

ROOT = Path(__file__).resolve().parents[2]
HOSTS = "all:\n  children:\n    master: {hosts: {master1: {ansible_host: 10.77.0.11}}}\n"
VALUES = {
    "cluster_name": "shop",
    "cluster_provider": "existing",
    "cluster_kubernetes_version": "1.37.2",
    "cluster_pod_cidr": "10.244.0.0/16",
    "cluster_service_cidr": "10.96.0.0/16",
    "cluster_dns_domain": "cluster.local",
}


def written(folder: Path, text: str, hosts: str = HOSTS) -> Path:
    """Write an inventory."""
    (folder / "group_vars/all").mkdir(parents=True, exist_ok=True)
    (folder / "hosts.yml").write_text(hosts)
    (folder / "group_vars/all/cluster.yml").write_text(text)
    return folder


def said(folder: Path, hosts: str, *masters: str) -> list[str]:
    """Return what is reported of these hosts, some of which Ansible used."""
    inventory = read([written(folder, "---\n", hosts)])
    given = Cluster(
        VALUES,
        {name: f"10.77.0.{number}" for number, name in enumerate(masters, 11)},
        {"masters": masters},
        releases=["1.37.2"],
    )
    faults = spec_check.faults_of(inventory, {}, given, folder)
    return [str(fault) for fault in spec_check.in_order(faults)]


@pytest.mark.parametrize(
    ("hosts", "complaint"),
    [
        ("1: {ansible_host: 10.77.0.11}", 'host 1: YAML reads this name as int, not as text; write it in quotes, "1"'),
        ("null: {}", 'host null: YAML reads this name as null, not as text; write it in quotes, "null"'),
        ("1.5: {}", 'host 1.5: YAML reads this name as float, not as text; write it in quotes, "1.5"'),
    ],
)
def test_a_name_that_ansible_refuses_the_file_for_is_named(tmp_path: Path, hosts: str, complaint: str) -> None:
    text = f"all:\n  children:\n    masters:\n      hosts:\n        {hosts}\n"
    assert said(tmp_path, text, "1") == [f"hosts.yml:5: {complaint}"]


def test_files_in_folders_below_count_as_they_do_for_ansible(tmp_path: Path) -> None:
    written(tmp_path, "---\n")
    for name in ("old/2025", "old/group_vars", "host_vars", "manifests"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.yml").write_text(HOSTS.replace("master1", name.replace("/", "-")))
    (tmp_path / "old/group_vars/master.yml").write_text("x_a: 1\n")
    inventory = read([tmp_path])
    assert inventory.hosts["old-2025"] == (tmp_path / "old/2025/a.yml", 3)
    assert set(inventory.hosts) == {"master1", "old-2025"}
    assert not [entry for entry in inventory.entries if entry.key == "x_a"]


def test_a_manifest_beside_the_hosts_is_named(tmp_path: Path) -> None:
    written(tmp_path, "---\n")
    (tmp_path / "web.yml").write_text("apiVersion: v1\nkind: List\nitems: []\n")
    (tmp_path / "more.yml").write_text("all:\n---\nall:\n")
    inventory = read([tmp_path])
    assert [(one.file.name, one.line, one.value[0]) for one in inventory.problems] == [
        ("more.yml", 2, "a second document begins here, and Ansible reads one per file"),
        ("web.yml", 2, "a manifest of Kubernetes, which Ansible takes for a hosts file here"),
    ]
    assert set(inventory.groups) == {"all", "master"}


def test_names_in_quotes_are_text(tmp_path: Path) -> None:
    text = 'all:\n  children:\n    masters:\n      hosts:\n        "1":\n        "null": {}\n    nodes:\n      hosts:\n'
    assert said(tmp_path, text, "1", "null") == []


def test_hosts_in_a_list_are_refused(tmp_path: Path) -> None:
    text = "all:\n  children:\n    masters:\n      hosts: [master1]\n"
    assert said(tmp_path, text) == [
        "hosts.yml:3: group masters: has no hosts; add the control plane's hosts to it",
        "hosts.yml:4: hosts: a list, which Ansible does not read here; write each name as a key, such as `master1:`",
    ]


def check_of(file: Path) -> str:
    """Return how a playbook comes to the check of the inventory."""
    text = file.read_text()
    return next((name for name in ("tasks/has_masters.yml", "hosts.yml", "tasks_from: check.yml") if name in text), "")


def test_every_verb_of_a_cluster_checks_that_there_is_one() -> None:
    stages = {
        "hosts",
        "prepare",
        "masters",
        "nodes",
        "routes",
        "node_marks",
        "kubelets",
        "down",
        "remove",
        "leave",
        "release",
        "cloud_status",
    }  # of site.yml; or about hosts by name; or what a run ends with that was checked
    files = [ROOT / "site.yml", *(ROOT / "playbooks").glob("*.yml")]
    assert [file.stem for file in files if not check_of(file) and file.stem not in stages] == []


@pytest.mark.parametrize("playbook", ["site", "playbooks/verify", "playbooks/status"])
def test_no_playbook_goes_on_without_a_control_plane(tmp_path: Path, playbook: str) -> None:
    written(tmp_path, "---\ncluster_provider: existing\n")
    done = play(tmp_path, f"{playbook}.yml")
    assert done.returncode == 2, done.stdout + done.stderr
    where = f'{tmp_path}/hosts.yml:1: group masters: has no hosts; did you mean that by group "master"?'
    assert "".join(where.split()) in "".join(done.stdout.split())  # Ansible breaks lines


@pytest.mark.parametrize("playbook", ["doctor", "status"])
def test_a_wrong_key_is_a_warning_where_one_only_looks(tmp_path: Path, playbook: str) -> None:
    hosts = "all:\n  children:\n    masters: {hosts: {master1: {ansible_host: 127.0.0.1, ansible_port: 9}}}\n"
    written(tmp_path, "---\ncluster_name: shop\ncluster_provider: existing\ncluster_pod_cdir: 10.9.0.0/16\n", hosts)
    done = play(tmp_path, f"playbooks/{playbook}.yml", "-e", "dashboard_tls=maybe")
    said = "".join(done.stderr.split())  # Ansible breaks lines
    assert f"upwouldrefuse{tmp_path}/group_vars/all/cluster.yml:4:cluster_pod_cdir:unknownkey" in said
    assert "upwouldrefuse-e:dashboard_tls:" in said
    assert re.search(r"^master1 +: ", done.stdout, re.MULTILINE)  # it looked


@pytest.mark.parametrize("file", sorted(ROOT.glob("roles/*/templates/*.yaml.j2")), ids=lambda file: file.name)
def test_names_and_addresses_are_quoted_in_manifests(file: Path) -> None:
    expressions = re.findall(r"\{\{ ([^{}]*?) \}\}", file.read_text())
    free = [text for text in expressions if re.search(r"hostname|_host\b|_ip\b|_dir\b|_image\b|reference", text)]
    assert [text for text in free if not text.endswith("| to_json")] == []


def test_no_sudo_runs_on_the_control_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sudo, seen = tmp_path / "sudo", tmp_path / "seen"
    sudo.write_text(f"#!/bin/sh\necho called >> {seen}\nexit 1\n")
    sudo.chmod(0o755)
    hosts = HOSTS.replace("master:", "masters:")
    become = f"ansible_become: true\nansible_become_exe: {sudo}\n"
    written(tmp_path / "inventory", f"cluster_name: shop\ncluster_provider: existing\n{become}", hosts)
    done = play(tmp_path / "inventory", "playbooks/hosts.yml", "--check", "-e", f"cluster_state_dir={tmp_path}/state")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not seen.exists()


def test_a_program_is_no_inventory_file(tmp_path: Path) -> None:
    script = '#!/usr/bin/env python3\nimport json\nprint(json.dumps({}, indent=2), end="")\n'
    (tmp_path / "hosts").write_text(script)
    inventory = read([tmp_path])
    assert (inventory.entries, inventory.hosts, inventory.problems) == ([], {}, [])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\nb: x\x07y\n", "2: YAML: holds a control character, U+0007; "),
        ("a: 1\nb: &x [*x]\n", "2: YAML: an alias is inside the value that it refers to; "),
        ("a: 1\nb: &x {c: [*x]}\n", "2: YAML: an alias is inside the value that it refers to; "),
        ("a: 1\nb: {<<: 5}\n", "2: YAML: expected a mapping or list of mappings for merging, but found scalar; "),
        ("a: 1\nb: 2026-02-30\n", "2: YAML: 2026-02-30 is no timestamp: day is out of range for month; "),
        ("a: 1\nb: !!timestamp x\n", "2: YAML: x is no timestamp: "),
        ("a: 1\nb: !!bool x\n", "2: YAML: x is no bool: "),
        ("a: 1\nb: !!int x\n", "2: YAML: x is no int: "),
        (f"a: {'[' * 3000}{']' * 3000}\n", ": YAML: is nested too deep; "),
    ],
)
@pytest.mark.parametrize("name", ["group_vars/all/cluster.yml", "hosts.yml"])
def test_what_yaml_refuses_is_named_with_its_line(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    written(tmp_path, "---\n")
    inside = f"all:\n  vars:\n{textwrap.indent(text, '    ')}"
    (tmp_path / name).write_text(inside if name == "hosts.yml" else text)
    shifted = re.sub("^2", "4", complaint) if name == "hosts.yml" else complaint
    (problem,) = read([tmp_path]).problems
    assert f"{problem.line or ''}: {problem.key}: {problem.value[0]}; ".startswith(shifted)
    assert str(problem.file) == str(tmp_path / name)


def test_an_alias_beside_what_it_names_and_a_date_are_no_fault(tmp_path: Path) -> None:
    inventory = read([written(tmp_path, "a: &x [1]\nb: [*x, *x]\nc: 2026-02-28\n")])
    assert inventory.problems == []
    assert [entry.value for entry in inventory.entries if entry.key == "b"] == [[[1], [1]]]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("host_vars/master1.yml", b"node_taints: []\n x: 1\n", "2: YAML: did not find expected key"),
        ("group_vars/nodes.yml", b"---\nansible_user: {{ user }}\n", "2: YAML: is no text: a template"),
        ("group_vars/all/names.yml", b"x_names: {{ x }}\n", "1: YAML: is no text: a template"),
        ("host_vars/master1.yml", b"---\n- ansible_user: x\n", "2: YAML: is a list, and files of variables hold"),
        ("host_vars/master1.yml", b"just words\n", "1: YAML: is a value, and files"),
        ("group_vars/all/cluster.yml", "a: 1\n# 集群\nb: 2\n".encode("gbk"), "2: YAML: is not UTF-8 text; save"),
    ],
)
def test_a_file_of_variables_that_ansible_cannot_read_is_named_with_its_line(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    file = written(tmp_path, "cluster_name: prod\n") / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    (problem, *others) = read([tmp_path]).problems
    assert f"{problem.line}: {problem.key}: {problem.value[0]}; {problem.value[1]}".startswith(complaint)
    assert problem.file == file
    assert others == []


def test_variables_of_hosts_may_be_merged_and_aliased(tmp_path: Path) -> None:
    text = """
all:
  children:
    masters:
      hosts:
        m1: &login {ansible_host: 10.77.0.11, ansible_user: u}
        m2: &other {<<: *login, ansible_host: 10.77.0.12}
        m3: {<<: [*other, *login], ansible_host: 10.77.0.13}
        m4: *other
"""
    inventory = read([written(tmp_path, "---\n", text)])
    assert inventory.problems == []
    found = {host: inventory.where("ansible_host", host) for host in ("m1", "m2", "m3", "m4")}
    assert {host: entry.value for host, entry in found.items() if entry} == {
        "m1": "10.77.0.11",
        "m2": "10.77.0.12",
        "m3": "10.77.0.13",
        "m4": "10.77.0.12",
    }
    assert said(tmp_path, text, "m1", "m2", "m3") == []


@pytest.mark.parametrize(
    "address",
    ["10.77.0.11/24", "10.77.0.300", "http://10.77.0.11", "10.77.0.11:2222", "10.77.0.11,10.77.0.12", "10.77"],
)
def test_what_is_neither_an_address_nor_a_name_is_refused_at_its_line(tmp_path: Path, address: str) -> None:
    folder = written(tmp_path, "cluster_control_plane_endpoint: lb:6443\n", HOSTS.replace("10.77.0.11", f'"{address}"'))
    given = Cluster(
        VALUES | {"cluster_control_plane_endpoint": "lb:6443"},
        {"master1": address},
        {"masters": ["master1"]},
        releases=["1.37.2"],
    )
    faults = [str(fault) for fault in spec_check.faults_of(read([folder]), {}, given, folder)]
    what = f'hosts.yml:3: host master1: "{address}" is neither an address nor a name; write one such as 10.0.0.11'
    assert what in faults


@pytest.mark.parametrize("address", ["k8s-1", "K8S_1.example.com", "10.77.0.11", "{{ x }}", "a.b."])
def test_names_and_addresses_are_taken(tmp_path: Path, address: str) -> None:
    folder = written(tmp_path, "---\n")
    given = Cluster(VALUES, {"master1": address}, {"masters": ["master1"]}, releases=["1.37.2"])
    assert "neither" not in " ".join(str(one) for one in spec_check.faults_of(read([folder]), {}, given, folder))


def test_files_of_variables_for_unknown_hosts_are_reported(tmp_path: Path) -> None:
    folder = written(tmp_path, "---\n")
    for name in ("host_vars/mastre1.yml", "host_vars/master1.yml", "group_vars/node/x.yml", "group_vars/masters.yml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x_a: 1\n")
    found = list(spec_check.unused(read([folder]), ["master1"], ["all", "masters"], folder))
    assert found == [
        "host_vars/mastre1.yml is not read, as there is neither a host nor a group mastre1; did you mean master1?",
        "group_vars/node/x.yml is not read, as there is neither a host nor a group node; name it after one",
    ]


def test_folders_behind_links_are_walked_and_a_circle_of_them_once(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/a.yml").touch()
    (tmp_path / "shared/circle").symlink_to(tmp_path / "shared")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/.hidden").symlink_to(tmp_path / "shared")
    (tmp_path / "mine/all").symlink_to(tmp_path / "shared")
    found = [str(path.relative_to(tmp_path)) for path in below(tmp_path / "mine")]
    assert found == ["mine/all", "mine/all/a.yml", "mine/all/circle"]
    assert list(below(tmp_path / "nowhere")) == []
