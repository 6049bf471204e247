# SPDX-License-Identifier: Apache-2.0
"""What every host of a cluster is like."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from scenario import Cluster, service_up
from testinfra.host import Host

testinfra_hosts = ["ansible://all"]

TOKEN = r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"


@pytest.mark.parametrize("unit", ["containerd", "kubelet"])
def test_runtime_and_kubelet_run_now_and_after_a_restart(host: Host, unit: str) -> None:
    service_up(host, unit)


def test_runtime_and_kubelet_agree_on_the_cgroup_driver(cluster: Cluster, host: Host, name: str) -> None:
    runtime = json.loads(host.check_output("crictl info"))["config"]["containerd"]["runtimes"]["runc"]["options"]
    kubelet = json.loads(cluster.kubectl("get", "--raw", f"/api/v1/nodes/{name}/proxy/configz"))["kubeletconfig"]
    assert kubelet["cgroupDriver"] == ("systemd" if runtime["SystemdCgroup"] else "cgroupfs")


def test_programs_are_those_of_the_bundle(host: Host, entries: list[Any]) -> None:
    wanted = {entry["path"]: entry["sha256"] for entry in entries if "path" in entry}
    found = host.check_output("sha256sum " + shlex.join(wanted))
    assert len(wanted) > 10
    assert {line.split()[1]: line.split()[0] for line in found.splitlines()} == wanted


def test_images_are_those_of_the_bundle(host: Host, entries: list[Any]) -> None:
    listed = host.check_output("ctr --namespace k8s.io images list")
    present = set(re.findall(r"^(\S+)\s+\S+\s+(sha256:\w+)", listed, re.MULTILINE))
    wanted = {(entry["reference"], entry["target"]) for entry in entries if entry["kind"] == "image"}
    assert wanted
    assert wanted <= present


def test_packages_of_the_bundle_are_installed(host: Host, entries: list[Any]) -> None:
    states = host.check_output("dpkg-query --show --showformat='${Package} ${db:Status-Status}\\n'").splitlines()
    wanted = {entry["package"] for entry in entries if entry["kind"] == "package"}
    assert "conntrack" in wanted
    assert {f"{package} installed" for package in wanted} <= set(states)


def test_the_kernel_is_set_up_now_and_at_boot(host: Host) -> None:
    written = host.file("/etc/sysctl.d/99-kubernetes.conf").content_string
    settings = dict(re.findall(r"^(\S+)\s*=\s*(\S+)$", written, re.MULTILINE))
    assert settings["net.ipv4.ip_forward"] == settings["net.bridge.bridge-nf-call-iptables"] == "1"
    assert host.check_output("sysctl -n " + shlex.join(settings)).split() == list(settings.values())
    assert "overlay" in host.file("/proc/filesystems").content_string
    # A kernel that has everything built in, and cannot load a module, has none to list.
    assert host.file("/etc/modules-load.d/kubernetes.conf").exists == host.file("/proc/modules").exists


def test_only_root_reads_what_the_kubelet_speaks_to_the_api_with(host: Host) -> None:
    found = host.check_output(
        "stat --dereference -c '%n %a %U' /etc/kubernetes/kubelet.conf /var/lib/kubelet/pki/*client*"
    )
    assert len(found.splitlines()) > 1
    assert {line.split(" ", 1)[1] for line in found.splitlines()} == {"600 root"}


def test_no_token_stays_on_a_disk_or_in_an_argument_list(host: Host) -> None:
    places = "/etc/kubernetes /run/yunkube /var/lib/yunkube /var/lib/kubelet/config.yaml /root /tmp /var/tmp"
    assert host.file("/etc/kubernetes/kubelet.conf").exists  # the host did join
    assert not host.file("/etc/kubernetes/bootstrap-kubelet.conf").exists
    assert host.run(f"grep -rIlP {shlex.quote(TOKEN)} {places}").stdout == ""
    assert re.findall(TOKEN, host.check_output("ps axww -o args")) == []


def test_names_of_the_cluster_resolve_from_a_host(host: Host) -> None:
    question = (
        bytes.fromhex("0001010000010000000000000a") + b"kubernetes\x07default\x03svc\x07cluster\x05local\0\0\1\0\1"
    )
    program = (
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(5);"
        f" s.sendto({question!r}, ('10.96.0.10', 53)); print(socket.inet_ntoa(s.recv(512)[-4:]))"
    )
    assert host.check_output(f"python3 -c {shlex.quote(program)}") == "10.96.0.1"


@pytest.fixture(scope="module")
def outsider(cluster: Cluster) -> Iterator[str]:
    """A web server on Docker's own bridge: for the hosts, the world outside."""
    image = docker("inspect", "--format", "{{.Image}}", cluster.container("master1"))
    program = "import http.server as h; h.HTTPServer(('', 8000), h.SimpleHTTPRequestHandler).serve_forever()"
    container = docker("run", "--detach", "--rm", "--network", "bridge", image, "python3", "-c", program)
    try:
        yield docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", container)
    finally:
        docker("rm", "--force", "--volumes", container)


def docker(*arguments: str) -> str:
    """Return what docker prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_the_hosts_reach_nothing_outside_their_network(host: Host, outsider: str) -> None:
    reach = f"curl --silent --output /dev/null --max-time 2 --retry 10 --retry-connrefused --retry-delay 0 http://{outsider}:8000/"
    subprocess.run(reach.split(), check=True, timeout=60)  # this machine can
    assert host.run(f"curl --silent --output /dev/null --connect-timeout 1 http://{outsider}:8000/").rc != 0
