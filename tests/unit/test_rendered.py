# SPDX-License-Identifier: Apache-2.0
"""The lookup `rendered` gives what Ansible's own gives, for every file that a role renders by it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from role_values import rendered

ROLES = Path(__file__).resolve().parents[2] / "roles"
HOST_FILES = sorted(
    file for role in ("cluster", "container_runtime", "kubelet") for file in (ROLES / role / "templates").glob("*.j2")
)
VALUES: dict[str, Any] = {
    "__kubelet_config": "{{ folder }}/config.yaml",
    "__kubelet_environment_file": "/etc/default/kubelet",
    "__kubelet_program": "/opt/kubelet",
    "__container_runtime_environment_file": "/etc/default/containerd",
    "__container_runtime_program": "/opt/containerd",
    "cluster_cgroup_driver": "systemd",
    "cluster_cri_endpoint": "unix:///run/containerd/containerd.sock",
    "cluster_no_proxy": ["localhost"],
    "cluster_pause_image": "registry.k8s.io/pause:3",
    "cluster_registry_address": "10.0.0.1:5000",
    "cluster_registry_ca": "",
    "cluster_registry_host": "",
    "cluster_registry_pull_address": "10.0.0.1:5001",
    "container_runtime_restrict_oom_score_adj": True,
    "container_runtime_selinux": False,
    "folder": "/var/lib/kubelet",
}
MORE = {
    "environment": {"HTTPS_PROXY": "http://a\\b:1", "NAME": "{{ not_rendered }}"},
    "mirrors": ["https://mirror/v2/x", "https://other"],
}


@pytest.mark.parametrize("file", HOST_FILES, ids=lambda file: file.name)
def test_it_renders_as_the_lookup_of_ansible(file: Path) -> None:
    ours = rendered(f"{{{{ lookup('rendered', '{file}', **more) }}}}", **VALUES, more=MORE)
    theirs = rendered(
        f"{{{{ lookup('ansible.builtin.template', '{file}', template_vars=more) }}}}", **VALUES, more=MORE
    )
    assert ours == theirs
    assert ours.endswith("\n")
    assert "{{ folder" not in ours


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(Exception, match="cluster_cri_endpoint"):
        rendered(f"{{{{ lookup('rendered', '{ROLES / 'kubelet/templates/crictl.yaml.j2'}') }}}}")


@pytest.mark.parametrize("role", ["container_runtime", "kubelet"])
def test_what_every_host_is_compared_with_is_rendered_by_it(role: str) -> None:
    text = (ROLES / role / "vars/main.yml").read_text()
    assert re.findall(r"lookup\('([\w.]*(?:template|rendered))'", text).count("rendered") > 2
    assert "builtin.template" not in text
