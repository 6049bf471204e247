# SPDX-License-Identifier: Apache-2.0
"""A host that passes every check, and what is asked of it."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible.module_utils.yunkube.host.requirements import Host

NEEDS: dict[str, t.Any] = {
    "endpoint": "10.0.0.11:6443",
    "master": True,
    "node": "master1",
    "firewall_sources": ["10.0.0.0/24"],
    "architecture": "amd64",
    "node_ip": "10.0.0.11",
    "registry_ports": [],
    "cidrs": {"cluster_pod_cidr": "10.244.0.0/16", "cluster_service_cidr": "10.96.0.0/16"},
    "reserved_cidrs": {},
    "control_time": 1000.0,
    "max_skew": 30,
    "memory_mb": 1700,
    "cpus": 2,
    "disk_mb": {"/": 1024},
    "families": ["Debian", "RedHat"],
    "systems": {"debian": "12", "ubuntu": "22.04"},
    "turn_swap_off": True,
    "kubelet_config": {},
    "kubeadm_ignores": [],
    "ignores": [],
    "programs": {"openssl": "backup_certificate"},
    "timezone": "Europe/Berlin",
    "cluster": "ours",
    "cluster_id": "0123456789abcdef",
}

FIT = Host(
    hostname="master1",
    machine_id="1",
    product_uuid="",
    member=False,
    record=None,
    node="",
    joined="",
    foreign=(),
    systemd=True,
    firewall="",
    system="debian",
    system_version="12",
    family="Debian",
    kernel="6.1.0-40-amd64",
    architecture="amd64",
    memory_mb=2000,
    cpus=2,
    swap=True,
    cgroup_version=2,
    clock=1000.5,
    has_node_ip=True,
    missing_features=(),
    free_mb={"/": 5000},
    listeners={6443: "kube-apiserver (process 5)"},
    routes=(
        ("eth0", ipaddress.IPv4Network("10.0.0.0/24")),
        ("cni0", ipaddress.IPv4Network("10.244.0.0/24")),
        ("flannel.1", ipaddress.IPv4Network("10.244.1.0/24")),
    ),
    resolver_file="/etc/resolv.conf",
    nameservers=("10.0.0.1",),
    missing_programs=(),
    has_timezone=True,
)
