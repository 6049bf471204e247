# SPDX-License-Identifier: Apache-2.0
"""The kubeadm of each locked release asks for the images of its lock, and takes what the roles write for it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.yunkube.build.components import Builder
from ansible.module_utils.yunkube.control.locks import file_of
from lock_files import COMPONENTS, RELEASE, RELEASES
from role_values import ROLES, Derived

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "yunkube"
VALUES: dict[str, Any] = {
    "inventory_hostname": "master1",
    "ansible_host": "192.0.2.11",
    "cluster_id": "0" * 16,
    "cluster_name": "test",
    "cluster_node_ip": "192.0.2.11",
    "cluster_is_master": True,
    "cluster_image_repository": "registry.k8s.io",
    "cluster_control_plane_endpoint": "192.0.2.11:6443",
    "cluster_pod_cidr": "10.244.0.0/16",
    "cluster_service_cidr": "10.96.0.0/16",
    "cluster_dns_domain": "cluster.local",
    "cluster_cgroup_driver": "systemd",
    "cluster_kubelet_config": {"failCgroupV1": False},
    "cluster_slow_factor": 1,
    "node_taints": [{"key": "example.test/own", "value": "yes", "effect": "NoSchedule"}],
    "__node_tokens": {
        "tokens": {"master1": {"token": "abcdef.0123456789abcdef"}},
        "ca_cert_hash": "sha256:" + "0" * 64,
        "certificate_key": "0" * 64,
    },
}

pytestmark = pytest.mark.parametrize(
    "release",
    [
        pytest.param(
            release,
            marks=pytest.mark.skipif(
                release != RELEASE and not os.environ.get("YUNKUBE_FULL"),
                reason="compiles a second Kubernetes: tests/run unit --full",
            ),
        )
        for release in RELEASES
    ],
)


def lock_of(release: str) -> dict[str, Any]:
    """Return what the lock of a release says."""
    found: dict[str, Any] = yaml.safe_load(file_of(COMPONENTS, release).read_text())
    return found


@functools.cache
def programs(release: str) -> Path:
    """Return the folder of a release's programs, built if they are not in the cache."""
    return Builder(lock_of(release), COMPONENTS.parent, CACHE).programs("kubernetes")


def kubeadm(release: str, *arguments: str) -> str:
    """Return what the kubeadm of a release prints; it must succeed."""
    done = subprocess.run(
        [str(programs(release) / "kubeadm"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def written(release: str, template: str, **more: object) -> str:
    """Return what a role writes for kubeadm."""
    defaults = yaml.safe_load((ROLES / "master/defaults/main.yml").read_text())
    names = ("key_algorithm", "certificate_names", "cluster_configuration", "kube_proxy_config")
    values = VALUES | {f"master_{name}": defaults[f"master_{name}"] for name in names}
    values |= {"cluster_kubernetes_version": release, **more}
    derived = Derived(
        values,
        master=(
            "master_declared",
            "__master_cluster_configuration",
            "__master_controller_manager_arguments",
            "__master_leader_election",
        ),
        cluster=("cluster_kubeadm_timeouts", "cluster_api_port", "cluster_cri_endpoint"),
    )
    return derived.text((ROLES / template).read_text())


def test_programs_say_their_release(release: str) -> None:
    assert kubeadm(release, "version", "--output=short") == f"v{release}\n"
    said = subprocess.run([programs(release) / "kubelet", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout == f"Kubernetes v{release}\n"


def test_the_lock_has_every_image_that_kubeadm_asks_for_and_no_other_of_its_registry(release: str) -> None:
    asked = kubeadm(release, "config", "images", "list", f"--kubernetes-version=v{release}").split()
    references = {image["reference"] for image in lock_of(release)["images"]}
    assert {reference for reference in references if reference.startswith("registry.k8s.io/")} == set(asked)


@pytest.mark.parametrize("template", ["master/templates/kubeadm.yaml.j2", "node/templates/join.yaml.j2"])
def test_kubeadm_takes_what_the_roles_write(release: str, template: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(written(release, template))
    assert "ok" in kubeadm(release, "config", "validate", f"--config={tmp_path}/config.yaml")
    text = written(release, template).replace("kubeletExtraArgs", "kubeletExtraArg")
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(AssertionError, match="kubeletExtraArg"):
        kubeadm(release, "config", "validate", f"--config={tmp_path}/config.yaml")


def test_leases_of_the_control_plane_last_as_long_as_slow_hosts_need(release: str) -> None:
    documents = yaml.safe_load_all(written(release, "master/templates/kubeadm.yaml.j2", cluster_slow_factor=5))
    [cluster] = [one for one in documents if one["kind"] == "ClusterConfiguration"]
    for part in ("controllerManager", "scheduler"):
        given = {one["name"]: one["value"] for one in cluster[part]["extraArgs"]}
        assert given["leader-elect-lease-duration"] == "75s"
        assert given["leader-elect-renew-deadline"] == "50s"


@pytest.mark.parametrize("factor", [1, 5])
def test_the_kubelet_waits_for_a_slow_control_plane_before_it_restarts_it(
    release: str, factor: int, tmp_path: Path
) -> None:
    derived = Derived(VALUES | {"cluster_slow_factor": factor}, cluster=("cluster_kubeadm_patches", "__cluster_probes"))
    patches = json.loads(derived.text("{{ cluster_kubeadm_patches | to_json }}"))
    (tmp_path / "patches").mkdir()
    for target, patch in patches.items():
        (tmp_path / f"patches/{target}.json").write_text(json.dumps(patch))
    documents = list(yaml.safe_load_all(written(release, "master/templates/kubeadm.yaml.j2")))
    [init] = [one for one in documents if one["kind"] == "InitConfiguration"]
    init["patches"] = {"directory": "/patches"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump_all(documents))
    for phase in (("control-plane", "all"), ("etcd", "local")):
        kubeadm(release, "init", "phase", *phase, "--config=/config.yaml", f"--rootfs={tmp_path}")
    manifests = [*(tmp_path / "etc/kubernetes/manifests").glob("*.yaml")]
    assert {path.stem for path in manifests} == set(patches) - {"corednsdeployment"}
    for path in manifests:
        [container] = yaml.safe_load(path.read_text())["spec"]["containers"]
        startup, liveness = container["startupProbe"], container["livenessProbe"]
        assert startup["periodSeconds"] * startup["failureThreshold"] == 240 * factor, path
        assert liveness["periodSeconds"] * liveness["failureThreshold"] == 80 * factor, path
