# SPDX-License-Identifier: Apache-2.0
"""A Debian 13 host that is ready to join a cluster."""

from __future__ import annotations

import json
import shlex
from typing import Any

from scenario import service_up
from testinfra.host import Host

testinfra_hosts = ["ansible://masters"]


def test_it_is_debian_13(host: Host) -> None:
    assert host.check_output(". /etc/os-release && echo $VERSION_CODENAME") == "trixie"


def test_the_runtime_runs_now_and_after_a_restart(host: Host) -> None:
    service_up(host, "containerd")


def test_the_runtime_is_ready_for_pods_but_for_their_network(host: Host) -> None:
    conditions = json.loads(host.check_output("crictl info"))["status"]["conditions"]
    states = {condition["type"]: condition["status"] for condition in conditions}
    assert states["RuntimeReady"] is True
    assert states["NetworkReady"] is False  # the cluster brings it


def test_the_kubelet_waits_for_its_cluster(host: Host) -> None:
    assert host.run("systemctl is-enabled kubelet").stdout.strip() == "enabled"
    assert host.run("systemctl is-active kubelet").stdout.strip() != "active"
    assert host.run("systemctl is-failed containerd kubelet").stdout.split().count("failed") == 0


def test_packages_are_this_distributions_own(host: Host, entries: list[Any]) -> None:
    wanted = {entry["package"] for entry in entries if entry["kind"] == "package"}
    assert "libipset13t64" in wanted  # a name that Debian 12 does not know
    states = host.check_output("dpkg-query --show --showformat='${Package} ${db:Status-Status}\\n'").splitlines()
    assert {f"{package} installed" for package in wanted} <= set(states)


def test_programs_are_those_of_the_bundle_and_start(host: Host, entries: list[Any]) -> None:
    wanted = {entry["path"]: entry["sha256"] for entry in entries if "path" in entry}
    found = host.check_output("sha256sum " + shlex.join(wanted))
    assert {line.split()[1]: line.split()[0] for line in found.splitlines()} == wanted
    assert host.run("runc --version && kubelet --version && iptables --version && nft --version").rc == 0
