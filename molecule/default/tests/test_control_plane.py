# SPDX-License-Identifier: Apache-2.0
"""Who may ask the control plane, and how."""

from __future__ import annotations

import re

import pytest
from scenario import Cluster
from testinfra.host import Host

testinfra_hosts = ["ansible://masters"]

# Ports at which other hosts can connect; whatever else listens does so on this host alone.
OPEN = {
    "sshd": {"22"},
    "kube-apiserver": {"6443"},
    "kubelet": {"10250"},
    "kube-proxy": {"10256"},
    "etcd": {"2379", "2380"},
}


@pytest.mark.parametrize("path", ["/api/v1/secrets", "/api/v1/nodes", "/apis/apps/v1/deployments"])
def test_the_api_answers_no_anonymous_request(host: Host, path: str) -> None:
    answer = host.check_output(
        f"curl --silent --insecure --output /dev/null --write-out %{{http_code}} https://127.0.0.1:6443{path}"
    )
    assert answer in ("401", "403")


def test_etcd_and_the_kubelet_ask_for_a_certificate(cluster: Cluster, host: Host, name: str) -> None:
    address = cluster.hosts[name]
    assert host.run(f"curl --silent --insecure --max-time 5 https://{address}:2379/version").rc != 0
    status = "--silent --insecure --output /dev/null --write-out %{http_code}"
    assert host.check_output(f"curl {status} https://{address}:10250/pods") in ("401", "403")


def test_nothing_listens_to_other_hosts_but_what_must(host: Host) -> None:
    listening: dict[str, set[str]] = {}
    for line in host.check_output("ss --listening --tcp --numeric --processes --no-header").splitlines():
        address, _, port = line.split()[3].rpartition(":")
        program = re.search(r'"([^"]+)"', line)
        if not address.startswith("127."):
            listening.setdefault(program[1] if program else line, set()).add(port)
    assert listening == OPEN


def test_only_root_reads_the_keys_of_the_control_plane(host: Host) -> None:
    found = host.check_output("find /etc/kubernetes -name '*.key' -o -name '*.conf' | xargs stat -c '%n %a %U'")
    assert "/etc/kubernetes/pki/ca.key 600 root" in found
    assert {line.split(" ", 1)[1] for line in found.splitlines()} == {"600 root"}


def test_no_host_can_join_any_more_without_a_token_of_its_own(cluster: Cluster) -> None:
    tokens = cluster.get("secrets", "--namespace=kube-system", "--field-selector=type=bootstrap.kubernetes.io/token")
    assert [token["metadata"]["name"] for token in tokens["items"]] == []
