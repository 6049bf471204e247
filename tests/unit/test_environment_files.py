# SPDX-License-Identifier: Apache-2.0
"""The environment of kubelet and containerd: what a proxy must not be asked for is named."""

from __future__ import annotations

from typing import Any

import pytest
from role_values import ROLES, Derived, variables_of

OURS = "localhost,127.0.0.1,.svc,.cluster.local,10.244.0.0/16,10.96.0.0/12,10.0.0.11"
CLUSTER = {
    "cluster_project_dir": str(ROLES.parent),
    "cluster_dns_domain": "cluster.local",
    "cluster_pod_cidr": "10.244.0.0/16",
    "cluster_service_cidr": "10.96.0.0/12",
    "cluster_control_plane_endpoint": "10.0.0.11:6443",
    "cluster_registry_host": "",
    "cluster_registry_address": "",
}
FILES = {"container_runtime": "/etc/default/containerd", "kubelet": "/etc/default/kubelet"}


def written(role: str, environment: dict[str, Any], **values: str) -> list[str]:
    """Return the lines of a role's file for its service's environment."""
    derived = {"cluster": ("cluster_no_proxy", "cluster_environment_template"), role: (f"__{role}_environment_file",)}
    host = Derived({**CLUSTER, f"{role}_environment": environment, **values}, **derived)
    (file,) = (one for one in variables_of(role)[f"__{role}_files"] if host.text(one["path"]) == FILES[role])
    assert (file["mode"], file["secret"]) == ("0600", True)
    return [line for line in host.text(file["content"]).splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("role", FILES)
def test_nothing_is_set_by_default(role: str) -> None:
    assert written(role, {}) == []
    assert written(role, {"GODEBUG": "netdns=go"}) == ['GODEBUG="netdns=go"']


@pytest.mark.parametrize("role", FILES)
def test_with_a_proxy_the_clusters_own_places_are_reached_directly(role: str) -> None:
    proxy = {"HTTPS_PROXY": 'http://me:a"b@proxy:3128'}
    assert written(role, proxy) == ['HTTPS_PROXY="http://me:a\\"b@proxy:3128"', f'NO_PROXY="{OURS}"']
    lines = written(role, {"https_proxy": "http://proxy:3128", "no_proxy": "10.0.0.0/8"})
    assert lines == ['https_proxy="http://proxy:3128"', f'NO_PROXY="10.0.0.0/8,{OURS}"']


@pytest.mark.parametrize("role", FILES)
def test_the_clusters_registry_is_one_of_them(role: str) -> None:
    registry = {"cluster_registry_host": "node1", "cluster_registry_address": "10.0.0.21:5000"}
    assert written(role, {"HTTP_PROXY": "http://proxy:3128"}, **registry)[-1] == f'NO_PROXY="{OURS},10.0.0.21"'
