# SPDX-License-Identifier: Apache-2.0
"""A container runtime on a host that is in no cluster."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from scenario import service_up
from testinfra.host import Host

testinfra_hosts = ["ansible://masters"]

ROOT = "/opt/molecule"  # /run is mounted noexec


def test_it_runs_now_and_after_a_restart(host: Host) -> None:
    service_up(host, "containerd")


def test_its_programs_and_plugins_are_those_of_the_bundle(host: Host, entries: list[Any]) -> None:
    wanted = {entry["path"]: entry["sha256"] for entry in entries if entry["kind"] in ("runtime", "cni")}
    assert {"/usr/local/bin/containerd", "/usr/local/sbin/runc", "/opt/cni/bin/bridge"} <= set(wanted)
    found = host.check_output("sha256sum " + shlex.join(wanted))
    assert {line.split()[1]: line.split()[0] for line in found.splitlines()} == wanted


def test_it_brings_no_more_than_the_runtime(host: Host, entries: list[Any]) -> None:
    others = [entry["path"] for entry in entries if entry["kind"] == "kubernetes"]
    assert "/usr/local/bin/kubelet" in others
    assert [path for path in others if host.file(path).exists] == []


def test_it_is_ready_for_pods_but_for_their_network(host: Host) -> None:
    status = json.loads(host.check_output("crictl info"))
    states = {condition["type"]: condition["status"] for condition in status["status"]["conditions"]}
    assert states == {**states, "RuntimeReady": True, "NetworkReady": False}
    assert status["config"]["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is False  # as declared


def test_it_runs_a_container(host: Host) -> None:
    host.check_output(f"mkdir -p {ROOT} && cp /opt/cni/bin/loopback {ROOT}/")  # says its name, and needs no library
    assert "CNI loopback plugin" in host.check_output(f"ctr run --rm --rootfs {ROOT} molecule /loopback 2>&1")


def test_a_mirror_is_written_where_containerd_looks_for_it(host: Host) -> None:
    text = host.file("/etc/containerd/certs.d/docker.io/hosts.toml").content_string
    assert '[host."https://mirror.example.com"]' in text
    configuration = host.check_output("containerd config dump")
    assert re.search(r"config_path = ['\"]/etc/containerd/certs.d['\"]", configuration)


def test_its_proxy_is_in_its_environment_alone_and_only_root_reads_it(host: Host) -> None:
    assert host.check_output("stat -c '%a %U' /etc/default/containerd") == "600 root"
    environment = host.check_output("tr '\\0' '\\n' < /proc/$(pidof containerd)/environ").splitlines()
    assert "HTTPS_PROXY=http://proxy.example.com:3128" in environment
    without = next(line for line in environment if line.startswith("NO_PROXY="))
    assert {"localhost", "10.96.0.0/16", "10.244.0.0/16"} <= set(without.partition("=")[2].split(","))
