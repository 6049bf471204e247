# SPDX-License-Identifier: Apache-2.0
"""Shapes that people write inventories in: what Ansible reads is read alike, and what it skips has a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.control import spec_check
from ansible.module_utils.yunkube.control.cluster_rules import Cluster
from ansible.module_utils.yunkube.control.config import check_connection
from ansible.module_utils.yunkube.control.ini_reader import hosts_of
from ansible.module_utils.yunkube.control.inventory_files import read, role_options
from ansible.plugins.inventory import BaseInventoryPlugin

ROOT = Path(__file__).resolve().parents[2]
VALUES = {
    "cluster_name": "shop",
    "cluster_provider": "existing",
    "cluster_kubernetes_version": "1.37.2",
    "cluster_pod_cidr": "10.244.0.0/16",
    "cluster_service_cidr": "10.96.0.0/16",
    "cluster_dns_domain": "cluster.local",
}
HOSTS = "all:\n  children:\n    masters:\n      hosts:\n        master1: {ansible_host: 192.0.2.11}\n"


def said(folder: Path, files: dict[str, str]) -> list[str]:
    """Return the faults of an inventory with these files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    given = Cluster(VALUES, {"master1": "192.0.2.11"}, {"masters": ["master1"]}, releases=["1.37.2"])
    faults = spec_check.faults_of(read([folder]), role_options(ROOT / "roles"), given, folder)
    return [str(fault) for fault in spec_check.in_order(faults)]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (
            "    nodes:\n      host:\n        node1: {ansible_host: 192.0.2.21}\n",
            "hosts.yml:7: host: Ansible skips this key of the group nodes; did you mean hosts?",
        ),
        (
            "    nodes:\n      childern:\n        far: {}\n",
            "hosts.yml:7: childern: Ansible skips this key of the group nodes; did you mean children?",
        ),
        (
            "    nodes:\n      hosts:\n        node1: 192.0.2.21\n",
            "hosts.yml:8: host node1: a value, where the host's variables belong; write node1: {ansible_host: ...}",
        ),
        (
            "    nodes: [node1]\n",
            (
                "hosts.yml:6: group nodes: a list, where the group's hosts, children and vars belong; "
                "write `hosts:` below it"
            ),
        ),
        (
            "    nodes:\n      vars: [a]\n",
            "hosts.yml:7: vars: a list, which Ansible does not read here; write `key: value` lines",
        ),
    ],
    ids=["host", "childern", "host-is-text", "group-is-list", "vars-is-list"],
)
def test_what_ansible_skips_in_a_hosts_file_has_a_line(tmp_path: Path, lines: str, complaint: str) -> None:
    assert said(tmp_path, {"hosts.yml": HOSTS + lines}) == [complaint]


def test_a_tag_that_ansible_does_not_know_has_a_line(tmp_path: Path) -> None:
    text = "cluster_name: shop\ncluster_dns_domain: !ENV DOMAIN\nx_list: !other [a]\n"
    found = said(tmp_path, {"hosts.yml": HOSTS, "group_vars/all/cluster.yml": text})
    why = "is none of Ansible's; use !vault or !unsafe, or write the value itself"
    assert found == [
        f"group_vars/all/cluster.yml:2: YAML: the tag !ENV {why}",
        f"group_vars/all/cluster.yml:3: YAML: the tag !other {why}",
    ]


def test_a_file_without_an_extension_may_be_yaml_or_ini(tmp_path: Path) -> None:
    for name, text in (("yaml", HOSTS), ("ini", "[masters]\nmaster1 ansible_host=192.0.2.11\n")):
        (tmp_path / name).mkdir()
        assert said(tmp_path / name, {"hosts": text}) == []
        assert set(read([tmp_path / name]).hosts) == {"master1"}


def test_a_byte_order_mark_in_ini_is_named(tmp_path: Path) -> None:
    found = said(tmp_path, {"hosts.ini": "\ufeff[masters]\nmaster1\n"})
    assert len(found) == 1
    assert found[0].startswith("hosts.ini:1: INI: begins with a byte order mark")


@pytest.mark.parametrize(
    "pattern",
    [
        "node[01:03]",
        "node[01:03]:22",
        "n[1:5:2]",
        "node9:2222",
        "192.0.2.1:9",
        "2001:db8::5",
        "[2001:db8::5]:22",
        "[a:c]",
    ],
)
def test_a_pattern_means_the_hosts_that_it_means_to_ansible(pattern: str) -> None:
    assert hosts_of(pattern) == BaseInventoryPlugin()._expand_hostpattern(pattern)[0]


def test_a_range_with_variables_names_exactly_its_hosts(tmp_path: Path) -> None:
    text = HOSTS.replace("master1", '"master[1:3]:22"')
    files = {"hosts.yml": text}
    assert said(tmp_path, files) == []
    inventory = read([tmp_path])
    assert sorted(inventory.hosts) == ["master1", "master2", "master3"]
    found = list(spec_check.unused(inventory, ["master1", "master2", "master3"], ["masters"], tmp_path))
    assert found == []


def test_a_file_that_a_folder_shadows_is_named_and_does_not_count(tmp_path: Path) -> None:
    files = {
        "hosts.yml": HOSTS,
        "group_vars/all.yml": "cluster_pod_cidr: 10.9.0.0/16\n",
        "group_vars/all/cluster.yml": "cluster_name: shop\n",
        "host_vars/master1.yml": "ansible_port: 1\n",
        "host_vars/master1.yaml": "ansible_port: 2\n",
    }
    assert said(tmp_path, files) == []
    inventory = read([tmp_path])
    assert [entry.value for entry in inventory.entries if entry.key != "ansible_host"] == ["shop", 1]
    assert list(spec_check.unused(inventory, ["master1"], ["masters"], tmp_path)) == [
        "group_vars/all.yml is not read, as there is group_vars/all; move it in there",
        "host_vars/master1.yaml is not read, as there is host_vars/master1.yml; move it in there",
    ]


def test_the_order_of_variable_files_is_ansibles(tmp_path: Path) -> None:
    for name, text in {"all.json": '{"x": 3}', "all.yaml": "x: 2", "all.yml": "x: 1"}.items():
        (tmp_path / "group_vars").mkdir(exist_ok=True)
        (tmp_path / "group_vars" / name).write_text(text)
        (tmp_path / "hosts.yml").write_text(HOSTS)
        binary = Path(sys.executable).with_name("ansible-inventory")
        done = subprocess.run(
            [binary, "-i", tmp_path / "hosts.yml", "--host", "master1"], capture_output=True, text=True, check=True
        )
        entry = read([tmp_path]).where("x")
        assert entry is not None
        assert f'"x": {entry.value}' in done.stdout


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("ansible_host", None, "write the host's address"),
        ("ansible_host", "", "write the host's address"),
        ("ansible_host", "[2001:db8::5]", "write 2001:db8::5"),
        ("ansible_become_method", "foo", "write sudo or su"),
        ("ansible_connection", "winrm", "write ssh"),
        ("ansible_connection", "paramiko", "write ssh"),
        ("ansible_shell_type", "powershell", "write sh"),
        ("ansible_ssh_extra_args", '-o "ProxyJump=x', "close it"),
        ("ansible_ssh_common_args", "-o 'ProxyJump=x", "close it"),
        ("ansible_sudo", True, "write ansible_become"),
        ("ansible_sudo_pass", "x", "write ansible_become_password"),
    ],
)
def test_a_connection_that_cannot_work_is_refused(key: str, value: object, remedy: str) -> None:
    assert [words for _, words in check_connection(key, value) if words.startswith(remedy)] != []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ansible_host", "192.0.2.11"),
        ("ansible_become_method", "community.general.doas"),
        ("ansible_become_method", "su"),
        ("ansible_connection", "community.docker.docker"),
        ("ansible_connection", "local"),
        ("ansible_ssh_common_args", '-o "ProxyCommand=ssh -W %h:%p bastion"'),
        ("ansible_shell_type", "sh"),
    ],
)
def test_a_connection_that_works_is_taken(key: str, value: object) -> None:
    assert list(check_connection(key, value)) == []


def test_a_file_that_sops_encrypted_is_named(tmp_path: Path) -> None:
    text = (
        "ansible_become_password: ENC[AES256_GCM,data:Tr7o=]\nsops:\n  mac: ENC[AES256_GCM,data:x]\n  version: 3.9.0\n"
    )
    found = said(tmp_path, {"hosts.yml": HOSTS, "group_vars/all/secrets.sops.yaml": text})
    assert len(found) == 1
    assert found[0].startswith("group_vars/all/secrets.sops.yaml:2: sops: the file is encrypted by SOPS")


@pytest.mark.parametrize("value", ["state/x", "$HOME/x", "./x"])
def test_a_folder_that_depends_on_the_shell_is_refused(tmp_path: Path, value: str) -> None:
    found = said(tmp_path, {"hosts.yml": HOSTS, "group_vars/all/cluster.yml": f"cluster_state_dir: {value}\n"})
    assert len(found) == 1
    assert found[0].startswith(f"group_vars/all/cluster.yml:1: cluster_state_dir: {value} is not an absolute path")


def test_variables_of_a_host_with_a_domain_stand_in_a_file_of_its_name(tmp_path: Path) -> None:
    said(tmp_path, {"hosts.yml": HOSTS.replace("master1", "m1.example.com"), "host_vars/m1.example.com": "x: 1\n"})
    entry = read([tmp_path]).where("x")
    assert entry is not None
    assert entry.scope == "m1.example.com"
