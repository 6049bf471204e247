# SPDX-License-Identifier: Apache-2.0
"""What stands inside of the inventory's dictionaries and lists, where an argument spec ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.yunkube.control import spec_check
from ansible.module_utils.yunkube.control.cluster_rules import Cluster
from ansible.module_utils.yunkube.control.inventory_files import read, role_options
from ansible.module_utils.yunkube.control.shapes import SHAPES

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("line", "complaints"),
    [
        ('container_runtime_registry_mirrors: {docker.io: "https://m"}', ['write docker.io: ["https://m"]']),
        ('container_runtime_registry_mirrors: {docker.io: [{host: "https://m"}]}', ['write docker.io: ["https://m"]']),
        ("container_runtime_registry_mirrors: {docker.io: [m.example.com]}", ["m.example.com is not a URL"]),
        ('container_runtime_registry_mirrors: {docker.io: ["https://m", "{{ x }}"]}', []),
        ('cluster_download_mirrors: {dl.k8s.io: ["https://m/dl.k8s.io", "{{ x }}"]}', []),
        ("cluster_download_mirrors: {dl.k8s.io: [m.example.com]}", ["m.example.com is not a URL"]),
        ('cluster_download_mirrors: {"https://dl.k8s.io/": ["https://m"]}', ["write dl.k8s.io"]),
        ('cluster_download_mirrors: {dl.k8s.io: ["https://me:secret@m/x"]}', ["a mirror's URL has a user in it"]),
        ('cluster_download_mirrors: {dl.k8s.io: ["https://m/?url="]}', ["leave out what begins with ? or #"]),
        (
            'master_certificate_names: ["https://k8s.example.com", "a.example.com:6443", my_lb.a, "a.b, 203.0.113.5"]',
            ["write k8s.example.com", "write a.example.com", "my_lb.a", "a.b, 203.0.113.5"],
        ),
        ('master_certificate_names: ["*.k8s.example.com", k8s, 203.0.113.5, "2001:db8::1"]', []),
        ("node_taints: [{key: dedicated, value: web, effect: noschedule}]", ["write NoSchedule"]),
        ("node_taints: [{value: web, effect: soon}]", ["has no key", "write one of NoSchedule"]),
        ("node_taints: [{key: a, effect: NoExecute}]", []),
        ('node_labels: {zone: "b", example.com/role: web, empty: "", t: "{{ x }}"}', []),
        (
            "node_labels: {gpu: yes}",
            [
                "gpu: wants text, not bool",
            ],
        ),
        ("node_labels: {gpu: true, zone: 1}", ['write gpu: "true"', 'write zone: "1"']),
        ("node_labels: {a b: c, -/d: e, f/: g}", ["a b", "-/d", "f/"]),
        ('node_labels: {"*.example.com/a": b, "*/a": b}', ['"*.example.com/a" is no name', '"*/a" is no name']),
        (
            'node_taints: [{key: a b, effect: NoExecute}, {key: "*.b/c", value: d e, effect: NoExecute}]',
            ['"a b" is no key of a taint', '"*.b/c" is no key of a taint', 'value "d e" is none'],
        ),
        ('node_taints: [{key: example.com/a, value: "b", effect: NoExecute}]', []),
        ("node_labels: {a: b c, kubernetes.io/os: linux}", ['"b c" is no value', "kubernetes.io/os is set by"]),
        ("prepare_host_systems: {ubuntu: 22.04, debian: 12}", ["ubuntu: wants a version in quotes", 'debian: "12"']),
        ('prepare_host_systems: {debian: "12", ubuntu: bookworm}', ['"bookworm" is not a version']),
        ("prepare_host_disk_mb: {/var/lib: 20G, /: 10, /opt: a}", ["write 20480", "/opt: a is not"]),
        (
            "master_cluster_configuration: {apiServer: {extraArgs: {service-node-port-range: 20000-32767}}}",
            ['extraArgs: [{name: service-node-port-range, value: "20000-32767"}]'],
        ),
        ("master_cluster_configuration: {etcd: {local: {extraArgs: {a: 1}}}}", ["etcd.local.extraArgs"]),
        ('master_cluster_configuration: {apiServer: {extraArgs: [{name: a, value: "1"}]}}', []),
        ("prepare_host_swap: off", ['YAML reads it as false; write it in quotes, "off"']),
        ("prepare_host_swap: on", ['YAML reads it as true; write one of "off", "leave", in quotes']),
        ("prepare_host_firewall: no", ['write it in quotes, "off"']),
    ],
)
def test_what_stands_inside_of_a_value_is_checked(tmp_path: Path, line: str, complaints: list[str]) -> None:
    (tmp_path / "group_vars/all").mkdir(parents=True)
    (tmp_path / "group_vars/all/cluster.yml").write_text(f"{line}\n")
    options = role_options(ROOT / "roles")
    faults = [
        str(one)
        for one in spec_check.faults_of(read([tmp_path]), options, Cluster({}), tmp_path)
        if one.check in SHAPES or one.check.startswith("prepare_host")
    ]
    assert len(faults) == len(complaints), faults
    for fault, complaint in zip(faults, complaints, strict=True):
        assert fault.startswith("group_vars/all/cluster.yml:1: ")
        assert complaint in fault
