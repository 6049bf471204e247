"""The environment of kubelet and containerd: what a proxy must not be asked for is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

ROLES = Path(__file__).resolve().parents[2] / "roles"
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


@pytest.fixture(scope="module", autouse=True)
def _lookups() -> None:
    init_plugin_loader()


def written(role: str, environment: dict[str, Any], **values: str) -> list[str]:
    """Return the lines of a role's file for its service's environment."""
    derived = {"cluster": ("cluster_no_proxy", "cluster_environment_template"), role: (f"__{role}_environment_file",)}
    variables: dict[str, Any] = {**CLUSTER, f"{role}_environment": environment, **values}
    for owner, names in derived.items():
        of_role = yaml.safe_load((ROLES / owner / "vars/main.yml").read_text())
        variables |= {name: trust_as_template(of_role[name]) for name in names}
    templar = Templar(DataLoader(), variables)
    files = yaml.safe_load((ROLES / role / "vars/main.yml").read_text())[f"__{role}_files"]
    (file,) = (one for one in files if templar.template(trust_as_template(one["path"])) == FILES[role])
    assert (file["mode"], file["secret"]) == ("0600", True)
    text = templar.template(trust_as_template(file["content"]))
    return [line for line in text.splitlines() if line and not line.startswith("#")]


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
