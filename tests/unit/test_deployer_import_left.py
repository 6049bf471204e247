# SPDX-License-Identifier: Apache-2.0
"""What an import cannot take over is named, with its place: nothing of another project's inventory vanishes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from deployer.cli import main
from deployer.peers import CONNECTION, PEERS


def report(
    folder: Path, capsys: pytest.CaptureFixture[str], project: str, files: dict[str, str]
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Import an inventory of these files; return the hosts, what cluster.yml says, and what was printed."""
    for name, text in files.items():
        (folder / "theirs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "theirs" / name).write_text(text)
    status = main(["import", project, str(folder / "theirs"), "-i", str(folder / "mine")])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    groups = yaml.safe_load((folder / "mine/hosts.yml").read_text())["all"]["children"]
    hosts = {name: given for group in groups.values() for name, given in group["hosts"].items()}
    cluster = yaml.safe_load((folder / "mine/group_vars/all/cluster.yml").read_text())
    return hosts, cluster, printed.out.replace(f"{folder}/theirs/", "")


def test_connection_settings_are_taken_over_or_named_with_their_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory = """\
[kube_control_plane]
cp1 ansible_host="{{ lookup('env', 'HOST') }}" ip="{{ ansible_eth1.ipv4.address }}" ansible_become_method=doas
[kube_node]
w1 ansible_ssh_extra_args='-o ProxyJump=ops@192.0.2.99' ansible_connection=ssh ansible_ssh_user="{{ ansible_x }}"
w2 ansible_become_user=admin ansible_port=2222 ansible_python_interpreter="{{ ansible_playbook_python }}"
"""
    keys = (
        "ansible_ssh_private_key_file: '{{ x_keys }}/id'\nx_keys: '{{ playbook_dir | dirname }}/keys'\n"
        "ansible_timeout: 30\nansible_winrm_scheme: http\nansible_ssh_retries: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n"
    )
    hosts, cluster, said = report(
        tmp_path, capsys, "kubespray", {"inventory.ini": inventory, "group_vars/all/ssh.yml": keys}
    )
    assert hosts == {
        "cp1": {"ansible_become_method": "doas"},
        "w1": {"ansible_ssh_extra_args": "-o ProxyJump=ops@192.0.2.99", "ansible_connection": "ssh"},
        "w2": {"ansible_port": 2222},
    }
    assert cluster["ansible_timeout"] == 30
    assert "ansible_ssh_private_key_file" not in cluster
    template = "is a template that needs facts, a lookup or an encrypted value"
    python = "is made of ansible_playbook_python, which differs here"
    folder = "is made of playbook_dir, which differs here"
    for line in (
        f"  ansible_host of cp1: {template} (inventory.ini:2)",
        f"  ip of cp1: {template} (inventory.ini:2)",
        f"  ansible_user of w1: {template} (inventory.ini:4)",
        f"  ansible_ssh_private_key_file: {folder} (group_vars/all/ssh.yml:1)",
        f"  ansible_python_interpreter of w2: {python} (inventory.ini:5)",
        "  ansible_ssh_retries: is encrypted (group_vars/all/ssh.yml:5)",
        "  ansible_become_user: Yunkube's plays become root where needed",
    ):
        assert f"{line}\n" in said, (line, said)
    assert "ansible_winrm_scheme" in said


VAULT = "$ANSIBLE_VAULT;1.1;AES256\n6162\n"


@pytest.mark.parametrize(
    ("project", "files", "lines"),
    [
        (
            "kubespray",
            {"hosts.yml": "all: {children: {kube_control_plane: {hosts: {m0: }}, kube_node: {hosts: [m1]}}}\n"},
            ["hosts.yml:1: hosts: a list, which Ansible does not read here"],
        ),
        (
            "kubespray",
            {"a.ini": "[kube_control_plane]\nm0\n", "b.ini": "[kube_node\nm1\n"},
            ['b.ini:1: "[kube_node" is no section'],
        ),
        (
            "kubespray",
            {
                "a.ini": "[kube_control_plane]\nm0\n[kube_node]\n",
                "group_vars/all/vault.yml": VAULT,
                "host_vars/m0/x": VAULT,
            },
            [
                "group_vars/all/vault.yml: is encrypted: none of its settings are imported",
                "host_vars/m0/x: is encrypted: none of its settings are imported",
            ],
        ),
        (
            "kubeasz",
            {"hosts": "[kube_master]\nm0\n", "config.yml": "- MAX_PODS: 3\n"},
            ["config.yml: is a list, not a dictionary: none of its settings are imported"],
        ),
        (
            "kubeasz",
            {"hosts": "[kube_master]\nm0\n", "config.yml": VAULT},
            ["config.yml: is encrypted: none of its settings are imported"],
        ),
    ],
)
def test_a_part_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], project: str, files: dict[str, str], lines: list[str]
) -> None:
    _, _, said = report(tmp_path, capsys, project, files)
    assert [line for line in lines if f"  {line}\n" not in said] == [], said


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("hosts.yml", VAULT, "has no host in kube_control_plane or kube-master, and {}/hosts.yml is encrypted"),
        ("hosts", VAULT, "{}/hosts is encrypted"),
        (
            "hosts.yml",
            "all: {children: {kube_control_plane: {hosts: [m0]}, kube_node: {hosts: {m1: }}}}\n",
            "{}/hosts.yml:1: hosts: a list, which Ansible does not read here",
        ),
    ],
)
def test_the_reason_for_no_master_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, message: str
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / name).write_text(text)
    for source in (tmp_path / "theirs", tmp_path / "theirs" / name):
        assert main(["import", "kubespray", str(source), "-i", str(tmp_path / "mine")]) == 2
        assert message.format(tmp_path / "theirs") in capsys.readouterr().err


def test_kubespray_values_that_are_not_clear_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inventory = """\
[kube_control_plane]
m0
[kube_node]
n1 node_labels='zone=a,b=' node_taints='dedicated' http_proxy=http://n1.example
n2 node_labels='zone' node_taints='["a=b:NoSchedule", "a=b:noschedule"]'
n3 node_labels="{{ ansible_facts.x }}" kubelet_max_pods=99
"""
    settings = """\
kubelet_max_pods: 110
no_proxy: localhost
additional_no_proxy: .example
kube_pods_subnet: [10.9.0.0/16]
loadbalancer_apiserver: 192.0.2.5
containerd_registries_mirrors:
- mirrors: [{host: "https://a.example"}]
- {prefix: quay.io, mirrors: [{host: "https://b.example", skip_verify: true}]}
- {prefix: ghcr.io, mirrors: []}
"""
    hosts, cluster, said = report(
        tmp_path, capsys, "kubespray", {"inventory.ini": inventory, "group_vars/all.yml": settings}
    )
    assert hosts == {
        "m0": {},
        "n1": {"node_labels": {"zone": "a", "b": ""}},
        "n2": {"node_taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}]},
        "n3": {},
    }
    assert cluster["container_runtime_environment"] == {"NO_PROXY": "localhost"}
    assert cluster["container_runtime_registry_mirrors"] == {"quay.io": ["https://b.example"]}
    assert "from no_proxy\n" in said
    taint = "has a taint that is not key=value:EFFECT, with an effect of NoSchedule, PreferNoSchedule, NoExecute"
    for line in (
        f"node_taints of n1: {taint} (inventory.ini:4)",
        f"node_taints of n2: {taint} (inventory.ini:5)",
        "node_labels of n2: has a label that is not key=value (inventory.ini:5)",
        "node_labels of n3: is a template that needs facts, a lookup or an encrypted value (inventory.ini:6)",
        "http_proxy: is set for n1, and the value of m0 applies to the cluster",
        "kubelet_max_pods of n3: the value of m0 applies to the cluster",
        "additional_no_proxy: use no_proxy instead",
        "kube_pods_subnet: has a value that cannot be read: a list, not text (group_vars/all.yml:4)",
        "loadbalancer_apiserver: has a value that cannot be read: text, not a dictionary (group_vars/all.yml:5)",
        "containerd_registries_mirrors: entry 0: has no prefix: the registry that it mirrors",
        "containerd_registries_mirrors: skip_verify: only the URL of a mirror is supported",
        "containerd_registries_mirrors: ghcr.io: has no mirror with a host",
    ):
        assert f"  {line}\n" in said, (line, said)


def test_k3s_values_that_are_not_clear_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inventory = """\
k3s_cluster:
  children:
    server:
      hosts:
        s1: {extra_server_args: ["--secrets-encryption", "--tls-san=a.example", -v 3, stray, "--node-ip 10.9.0.1"]}
        s2: {extra_server_args: "--disable traefik --node-taint bad", ansible_host: 10.9.0.2}
    agent:
      hosts:
        a1:
          extra_agent_args: "--kubelet-arg=max-pods=200 --node-ip=10.9.0.3 --node-label x --docker"
          agent_config_yaml: "node-label: [a=b, {c: d}]"
        a2: {extra_agent_args: "--node-ip 10.9.0.4,fd00::4", proxy_env: {HTTP_PROXY: a}, agent_config_yaml: "{{ x_y }}"}
  vars:
    server_config_yaml: "- a"
    registries_config_yaml: "mirrors: [docker.io]"
"""
    hosts, cluster, said = report(tmp_path, capsys, "k3s-ansible", {"inventory.yml": inventory})
    assert hosts == {
        "s1": {"cluster_node_ip": "10.9.0.1", "node_taints": []},
        "s2": {"ansible_host": "10.9.0.2", "node_taints": []},
        "a1": {"cluster_node_ip": "10.9.0.3", "node_labels": {"a": "b"}},
        "a2": {},
    }
    assert cluster["master_certificate_names"] == ["a.example"]
    unread = "has a value that cannot be read"
    kubelets = "all kubelets share the settings in cluster_kubelet_config"
    for line in (
        f"server_config_yaml: {unread}: a list, not a dictionary (inventory.yml:14)",
        f"registries_config_yaml: {unread}: mirrors is a list, not a dictionary (inventory.yml:15)",
        f"extra_agent_args of a1: kubelet-arg: {kubelets} (inventory.yml:10)",
        "extra_agent_args of a1: node-label: has a label that is not key=value (inventory.yml:10)",
        "extra_agent_args of a1: docker: has no counterpart (inventory.yml:10)",
        "agent_config_yaml of a1: node-label: has a label that is not key=value (inventory.yml:11)",
        "extra_agent_args of a2: node-ip: is not one address (inventory.yml:12)",
        "agent_config_yaml of a2: is a template that needs facts, a lookup or an encrypted value (inventory.yml:12)",
        "proxy_env: is set for a2, and the value of s1 applies to the cluster",
    ):
        assert f"  {line}\n" in said, (line, said)
    assert "extra_server_args of s2: node-taint: has a taint that is not" in said
    assert "extra_server_args of s2: disable: the first server's value applies" in said
    assert "extra_server_args: secrets-encryption," in said
    assert "extra_server_args: stray, extra_server_args: v" in said


def test_what_only_the_second_server_of_k3s_has_is_named_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory = "[server]\ns1\ns2 extra_server_args='--disable traefik --node-taint a=b:NoExecute'\n[agent]\n"
    hosts, _, said = report(tmp_path, capsys, "k3s-ansible", {"hosts.ini": inventory})
    assert hosts["s2"] == {"node_taints": [{"key": "a", "value": "b", "effect": "NoExecute"}]}
    reason = "the first server's value applies to the cluster"
    assert f"  extra_server_args of s2: disable: {reason} (hosts.ini:3)\n" in said
    assert "empty" not in said


@pytest.mark.parametrize("project", PEERS)
@pytest.mark.parametrize("value", [[None], {"a": [1]}, "'", "- a", 1.5])
def test_no_value_ends_in_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], project: str, value: object
) -> None:
    peer = PEERS[project]
    keys = {*peer.settings, *CONNECTION, "node_labels", "node_taints", peer.address or "x", peer.name or "x"}
    hosts = f"[{peer.masters[0]}]\nm0\nm1\n[{peer.nodes[0]}]\nn0\n"
    report(
        tmp_path, capsys, project, {"hosts": hosts, "group_vars/all.yml": yaml.safe_dump(dict.fromkeys(keys, value))}
    )
