# SPDX-License-Identifier: Apache-2.0
"""An inventory of another project becomes one of ours, and what has no counterpart is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.yunkube.control import spec_check
from ansible.module_utils.yunkube.control.cluster_rules import Cluster
from ansible.module_utils.yunkube.control.inventory_files import read, role_options
from deployer.cli import main
from deployer.host_marks import taints
from deployer.peers import PEERS, arguments

ROOT = Path(__file__).resolve().parents[2]

KUBESPRAY = {
    "inventory.ini": """\
[all:vars]
ansible_become=true
[kube_control_plane]
cp1 ansible_host=192.0.2.11 ip=10.9.0.11 etcd_member_name=etcd1
CP2 ansible_host=192.0.2.12 ip=192.0.2.12
[etcd]
cp1
store1 ansible_host=192.0.2.31
[kube_node]
CP2
w_1 ansible_host=192.0.2.21 node_labels='{"zone": "b"}' node_taints='["dedicated=web:NoSchedule"]'
[k8s_cluster:children]
kube_control_plane
kube_node
""",
    "group_vars/all/all.yml": """\
ansible_user: ops
ansible_become_password: tops3cret
http_proxy: http://user:hunter22@proxy.example:3128
apiserver_loadbalancer_domain_name: k8s.example.com
loadbalancer_apiserver: {address: 192.0.2.5, port: 8443}
containerd_registries_mirrors:
- {prefix: docker.io, mirrors: [{host: "https://mirror.example.com", capabilities: [pull]}]}
""",
    "group_vars/k8s_cluster/k8s-cluster.yml": """\
kube_version: v1.37.2
kube_service_addresses: 10.233.0.0/18
pods_base: "10.233.64.0"
kube_pods_subnet: "{{ pods_base }}/18"
kube_network_node_prefix: 25
kube_network_plugin: calico
kube_proxy_mode: ipvs
kubelet_max_pods: 200
cluster_name: cluster.local
dns_domain: "{{ cluster_name }}"
container_manager: containerd
dashboard_enabled: false
supplementary_addresses_in_ssl_keys: [192.0.2.9]
kubeadm_certificate_key: "{{ lookup('password', inventory_dir + '/credentials/key length=64') }}"
etcd_token: !vault |
  $ANSIBLE_VAULT;1.1;AES256
  6162
""",
}
KUBEASZ = {
    "hosts": """\
[etcd]
192.0.2.11
[kube_master]
192.0.2.11 k8s_nodename='master-01'
192.0.2.12
[kube_node]
192.0.2.21 k8s_nodename=''
[harbor]
192.0.2.8 NEW_INSTALL=false
[all:vars]
CONTAINER_RUNTIME="containerd"
CLUSTER_NETWORK="flannel"
PROXY_MODE="iptables"
SERVICE_CIDR="10.68.0.0/16"
CLUSTER_CIDR="172.20.0.0/16"
NODE_PORT_RANGE="30000-32000"
CLUSTER_DNS_DOMAIN="cluster.local."
ansible_ssh_port=2222
bin_dir="/opt/kube/bin"
""",
    "config.yml": """\
K8S_VER: "1.30.1"
MAX_PODS: 110
FLANNEL_BACKEND: host-gw
MASTER_CERT_HOSTS: ["k8s.example.com"]
NODE_CIDR_LEN: 24
minio_root_password: "0123secret"
K8S_NODENAME: "{{ k8s_nodename }}"
""",
}
K3S = {
    "inventory.yml": """\
k3s_cluster:
  children:
    server: {hosts: {192.0.2.11: {}}}
    agent:
      hosts:
        pi.2: {ansible_host: 192.0.2.12, extra_agent_args: "--node-label zone=b --node-taint a=b:NoExecute"}
  vars:
    ansible_port: 22
    ansible_user: debian
    k3s_version: v1.31.12+k3s1
    token: "changeme!"
    api_endpoint: "{{ hostvars[groups['server'][0]]['ansible_host'] | default(groups['server'][0]) }}"
    extra_server_args: >-
      --cluster-cidr=10.42.0.0/16 --service-cidr 10.43.0.0/16 --disable traefik --flannel-backend host-gw
    server_config_yaml: |
      tls-san: [k3s.example.com]
      kubelet-arg: [max-pods=80]
    registries_config_yaml: |
      mirrors: {docker.io: {endpoint: ["https://mirror.example.com"]}}
"""
}
PROJECTS = {"kubespray": KUBESPRAY, "kubeasz": KUBEASZ, "k3s-ansible": K3S}


def written(folder: Path, project: str) -> Path:
    """Write the inventory of a project."""
    for name, text in PROJECTS[project].items():
        file = folder / "theirs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder / "theirs" / ("inventory.yml" if project == "k3s-ansible" else "")


def imported(folder: Path, project: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Import it; return the hosts by group, and what cluster.yml says."""
    assert main(["import", project, str(written(folder, project)), "-i", str(folder / "mine")]) == 0
    hosts = yaml.safe_load((folder / "mine/hosts.yml").read_text())["all"]["children"]
    cluster = yaml.safe_load((folder / "mine/group_vars/all/cluster.yml").read_text())
    return {group: content["hosts"] for group, content in hosts.items()}, cluster


def test_kubespray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(written(tmp_path, "kubespray").rglob("*"))
    hosts, cluster = imported(tmp_path, "kubespray")
    assert hosts == {
        "masters": {
            "cp1": {"ansible_host": "192.0.2.11", "cluster_node_ip": "10.9.0.11"},
            "cp2": {"ansible_host": "192.0.2.12", "node_taints": []},
        },
        "nodes": {
            "w-1": {
                "ansible_host": "192.0.2.21",
                "node_labels": {"zone": "b"},
                "node_taints": [{"key": "dedicated", "value": "web", "effect": "NoSchedule"}],
            }
        },
    }
    assert cluster == {
        "cluster_name": "mine",
        "cluster_provider": "existing",
        "ansible_user": "ops",
        "cluster_kubernetes_version": "1.37.2",
        "cluster_pod_cidr": "10.233.64.0/18",
        "cluster_service_cidr": "10.233.0.0/18",
        "cluster_dns_domain": "cluster.local",
        "cluster_control_plane_endpoint": "k8s.example.com:8443",
        "cluster_kubelet_config": {"maxPods": 200},
        "container_runtime_environment": {"HTTP_PROXY": "http://user:hunter22@proxy.example:3128"},
        "container_runtime_registry_mirrors": {"docker.io": ["https://mirror.example.com"]},
        "dashboard_provider": "none",
        "master_certificate_names": ["192.0.2.9"],
    }
    said = capsys.readouterr().out
    assert "kube_network_plugin: the pod network is flannel" in said
    assert "kube_network_node_prefix: every node gets a /24" in said
    assert "kube_proxy_mode: kube-proxy uses iptables" in said
    assert "host store1: in etcd: etcd runs on the masters" in said
    assert "ansible_become_password: put it into group_vars/all/vault.yml" in said
    assert "etcd_token, pods_base" in said
    assert "hunter22" not in said
    assert "tops3cret" not in said
    assert sorted((tmp_path / "theirs").rglob("*")) == before  # no lookup ran


def test_kubeasz(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts, cluster = imported(tmp_path, "kubeasz")
    assert hosts == {
        "masters": {"master-01": {"ansible_host": "192.0.2.11"}, "master2": {"ansible_host": "192.0.2.12"}},
        "nodes": {"node1": {"ansible_host": "192.0.2.21"}},
    }
    assert cluster == {
        "cluster_name": "mine",
        "cluster_provider": "existing",
        "cluster_pod_cidr": "172.20.0.0/16",
        "cluster_service_cidr": "10.68.0.0/16",
        "cluster_dns_domain": "cluster.local",
        "cluster_kubelet_config": {"maxPods": 110},
        "flannel_backend": "host-gw",
        "master_certificate_names": ["k8s.example.com"],
        "master_cluster_configuration": {
            "apiServer": {"extraArgs": [{"name": "service-node-port-range", "value": "30000-32000"}]}
        },
        "ansible_port": 2222,
    }
    said = capsys.readouterr().out
    assert "K8S_VER: 1.30.1 is not among the releases" in said
    assert "host 192.0.2.8: in harbor: set cluster_registry_address to it" in said
    assert "minio_root_password" in said
    assert "0123secret" not in said


def test_k3s_ansible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts, cluster = imported(tmp_path, "k3s-ansible")
    assert hosts == {
        "masters": {"master1": {"ansible_host": "192.0.2.11", "node_taints": []}},
        "nodes": {
            "pi.2": {
                "ansible_host": "192.0.2.12",
                "node_labels": {"zone": "b"},
                "node_taints": [{"key": "a", "value": "b", "effect": "NoExecute"}],
            }
        },
    }
    assert cluster == {
        "cluster_name": "mine",
        "cluster_provider": "existing",
        "ansible_port": 22,
        "ansible_user": "debian",
        "cluster_pod_cidr": "10.42.0.0/16",
        "cluster_service_cidr": "10.43.0.0/16",
        "flannel_backend": "host-gw",
        "master_certificate_names": ["k3s.example.com"],
        "cluster_kubelet_config": {"maxPods": 80},
        "container_runtime_registry_mirrors": {"docker.io": ["https://mirror.example.com"]},
    }
    said = capsys.readouterr().out
    assert "token: each joining host gets its own token" in said
    assert "mine: master master1; node pi.2\n" in said
    assert "k3s_version: 1.31.12 is not among the releases" in said
    assert "extra_server_args: disable" in said
    assert "changeme" not in said


DEFAULTS = {
    "cluster_kubernetes_version": "1.37.2",
    "cluster_pod_cidr": "10.244.0.0/16",
    "cluster_service_cidr": "10.96.0.0/16",
    "cluster_dns_domain": "cluster.local",
}


@pytest.mark.parametrize("project", PROJECTS)
def test_what_is_written_passes_our_own_check(tmp_path: Path, project: str) -> None:
    hosts, cluster = imported(tmp_path, project)
    options = role_options(ROOT / "roles")
    addresses = {name: given["ansible_host"] for group in hosts.values() for name, given in group.items()}
    groups = {group: list(names) for group, names in hosts.items()}
    values = DEFAULTS | {key: value for key, value in cluster.items() if not key.startswith("ansible_")}
    given = Cluster(values, addresses, groups, releases=["1.37.2"])
    faults = spec_check.faults_of(read([tmp_path / "mine"]), options, given, tmp_path / "mine")
    assert [str(fault) for fault in faults] == []


@pytest.mark.parametrize("project", PROJECTS)
def test_every_counterpart_is_a_key_of_ours(tmp_path: Path, project: str) -> None:
    _, cluster = imported(tmp_path, project)
    ours = {*role_options(ROOT / "roles"), "ansible_user", "ansible_port"}
    assert set(cluster) <= ours


def test_k3s_ansible_of_another_maker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "group_vars").mkdir(parents=True)
    (theirs / "hosts.ini").write_text(
        "[master]\n192.0.2.11\n[node]\n192.0.2.21\n[k3s_cluster:children]\nmaster\nnode\n"
    )
    (theirs / "group_vars/all.yml").write_text(
        "apiserver_endpoint: 192.0.2.222\nkube_vip_tag_version: v0.8.2\ncluster_cidr: 10.52.0.0/16\n"
        "k3s_master_taint: \"{{ true if groups['node'] | default([]) | length >= 1 else false }}\"\n"
        "proxy_env: {HTTPS_PROXY: 'http://proxy.example:3128'}\n"
        'extra_server_args: "--tls-san {{ ansible_facts.x }}"\n'
    )
    assert main(["import", "k3s-ansible", str(theirs), "-i", str(tmp_path / "mine")]) == 0
    hosts = yaml.safe_load((tmp_path / "mine/hosts.yml").read_text())["all"]["children"]
    cluster = yaml.safe_load((tmp_path / "mine/group_vars/all/cluster.yml").read_text())
    taint = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    assert hosts["masters"]["hosts"]["master1"]["node_taints"] == [taint]
    assert cluster["cluster_pod_cidr"] == "10.52.0.0/16"
    assert cluster["cluster_control_plane_endpoint"] == "192.0.2.222:6443"
    assert cluster["container_runtime_environment"] == {"HTTPS_PROXY": "http://proxy.example:3128"}
    said = capsys.readouterr().out
    assert "kube_vip_tag_version: Yunkube announces no virtual address" in said
    assert "extra_server_args: is a template that needs facts, a lookup or an encrypted value (" in said
    assert "group_vars/all.yml:6)" in said


def test_what_cannot_be_imported_ends_with_2_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = written(tmp_path, "kubeasz")
    mine = tmp_path / "mine"
    for argv, message in (
        (["kubespray", str(tmp_path / "nowhere"), "-i", str(mine)], "nowhere does not exist"),
        (["k3s-ansible", str(theirs / "hosts"), "-i", str(mine)], "has no host in server or master"),
        (["kubeasz", str(theirs)], "inventory/docker exists"),
        (["kubeasz", str(theirs), "-i", str(theirs)], "theirs exists"),
    ):
        assert main(["import", *argv]) == 2
        assert message in capsys.readouterr().err
    (theirs / "config.yml").write_text("a: b\nc: [\n")
    assert main(["import", "kubeasz", str(theirs), "-i", str(mine)]) == 2
    assert "config.yml:3: is not valid YAML" in capsys.readouterr().err
    (theirs / "hosts").write_text("[kube_master\n")
    (theirs / "config.yml").unlink()
    assert main(["import", "kubeasz", str(theirs), "-i", str(mine)]) == 2
    assert "hosts" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_a_disk_that_is_full_leaves_nothing_half_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = written(tmp_path, "kubeasz")
    write = Path.write_text

    def full(path: Path, text: str, **options: Any) -> int:
        if path.name == "cluster.yml":
            raise OSError(28, "No space left on device", str(path))
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    assert main(["import", "kubeasz", str(theirs), "-i", str(tmp_path / "mine")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_values_that_cannot_be_read_are_named_and_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = {
        "kubespray": (
            "[kube_control_plane]\ncp1 kubelet_max_pods=abc\n[kube_node]\n",
            'containerd_registries_mirrors: [{prefix: docker.io, mirrors: ["a"]}]\n',
            ["kubelet_max_pods", "containerd_registries_mirrors"],
        ),
        "k3s-ansible": (
            "[server]\ncp1\n[agent]\n",
            (
                "server_config_yaml: '{'\nextra_server_args: --kubelet-arg=max-pods=few\nextra_agent_args: \"'\"\n"
                "registries_config_yaml: 'mirrors: {docker.io: a}'\n"
            ),
            ["server_config_yaml", "extra_server_args: kubelet-arg", "registries_config_yaml"],
        ),
    }
    for project, (hosts, settings, keys) in broken.items():
        (tmp_path / project / "group_vars").mkdir(parents=True)
        (tmp_path / project / "hosts").write_text(hosts)
        (tmp_path / project / "group_vars/all.yml").write_text(settings)
        assert main(["import", project, str(tmp_path / project), "-i", str(tmp_path / "ours" / project)]) == 0
        told = capsys.readouterr().out
        assert [key for key in keys if f"{key}: has a value that cannot be read" not in told] == [], told


def test_arguments_and_taints_of_k3s_are_read() -> None:
    assert arguments("extra_server_args", "--a=b --c d --e --f 'g h'") == {
        "a": ["b"],
        "c": ["d"],
        "e": [""],
        "f": ["g h"],
    }
    assert arguments("server_config_yaml", "a: b\nc: [d]\n") == {"a": ["b"], "c": ["d"]}
    assert arguments("server_config_yaml", None) == arguments("extra_server_args", "") == {}
    assert taints(["a=b:NoSchedule", "c:NoExecute", "bad"]) == [
        {"key": "a", "value": "b", "effect": "NoSchedule"},
        {"key": "c", "effect": "NoExecute"},
    ]
    assert set(PEERS) == set(PROJECTS)
