# SPDX-License-Identifier: Apache-2.0
"""What is decided at the first run: kubeadm takes these values once and ignores a later change of them.

The one list of such keys: the generated page marks them, and a run that would apply one that differs from the running
cluster is refused. Runs on the control machine, which has a YAML parser.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from ansible.module_utils.yunkube.control.locks import numbers
from ansible.module_utils.yunkube.control.values import Path, alike, at, leaves, shown
from ansible.module_utils.yunkube.control.yaml_reader import load_generated
from ansible.module_utils.yunkube.host import identity

# Key of the inventory: the field of kubeadm's ClusterConfiguration that holds it.
FIELDS: Final[Mapping[str, Path]] = {
    "cluster_kubernetes_version": ("kubernetesVersion",),  # that an upgrade may change
    "cluster_pod_cidr": ("networking", "podSubnet"),
    "cluster_service_cidr": ("networking", "serviceSubnet"),
    "cluster_dns_domain": ("networking", "dnsDomain"),
    "cluster_control_plane_endpoint": ("controlPlaneEndpoint",),
    "cluster_image_repository": ("imageRepository",),
    "master_certificate_names": ("apiServer", "certSANs"),
    "master_key_algorithm": ("encryptionAlgorithm",),
}
RELEASE: Final = "cluster_kubernetes_version"
KUBELET: Final = "kubelet "  # before its release, where that is what differs
# Those that are held elsewhere, and by what they are compared.
OTHERS: Final[Mapping[str, str]] = {
    "cluster_cgroup_driver": "ConfigMap kube-system/kubelet-config",
    "master_cluster_configuration": "ConfigMap kube-system/kubeadm-config, field by field",
    "master_kube_proxy_config": "ConfigMap kube-system/kube-proxy, field by field",
}
IDENTITY: Final = "cluster_name"  # what stands for the cluster's id where a difference names its key
WHOSE_API: Final = (
    "see where /etc/kubernetes/admin.conf of the control plane host points; "
    "if this is the cluster, correct its ConfigMap kube-system/yunkube"
)
COMPARED: Final = (*FIELDS, *OTHERS)
# Fields that neither kubeadm nor this project fills, so that what is there was declared.
_NEVER_FILLED: Final[tuple[Path, ...]] = (
    *((part, field) for part in ("apiServer", "scheduler") for field in ("extraArgs", "extraEnvs", "extraVolumes")),
    *((("controllerManager", field)) for field in ("extraEnvs", "extraVolumes")),
    *(("etcd", "local", field) for field in ("extraArgs", "extraEnvs", "serverCertSANs", "peerCertSANs")),
    ("featureGates",),
)


class Wording(NamedTuple):
    """A difference as text."""

    message: str
    remedy: str
    commands: tuple[str, ...] = ()  # that the remedy names


class Difference(NamedTuple):
    """One key, as it is declared and as the running cluster has it."""

    key: str
    declared: Any
    running: Any


def differences(declared: Mapping[str, Any], running: Mapping[str, Any]) -> Iterator[Difference]:
    """Compare what is declared with the texts that `cluster_values` found.

    `declared` has C(cluster) (kubeadm's ClusterConfiguration as it would be written now), C(overlay) (the part of it
    that is master_cluster_configuration), C(proxy) (master_kube_proxy_config), C(cgroup_driver) and C(identity), the
    cluster's C(name) and C(id). Of another cluster nothing else is compared.
    """
    ours, theirs = declared["identity"], running.get("identity") or {}
    if theirs.get("id") and ours["id"] != theirs["id"]:
        names = [identity.named(one["name"], one["id"]) for one in (ours, theirs)]
        yield Difference(IDENTITY, *names)
        return
    cluster = load_generated(running.get("cluster"))
    if cluster:
        yield from _fields(declared, cluster)
        yield from _kubelet(declared, cluster, str(running.get("kubelet_version") or ""))
        yield from _overlay("master_cluster_configuration", declared["overlay"], cluster)
        yield from _removed(declared["cluster"], cluster)
    proxy = load_generated(running.get("proxy"))
    if proxy:
        yield from _overlay("master_kube_proxy_config", declared["proxy"], proxy)
    kubelet = load_generated(running.get("kubelet"))
    driver = kubelet.get("cgroupDriver", "systemd")  # as kubeadm has it where nothing is said
    if kubelet and driver != declared["cgroup_driver"]:
        yield Difference("cluster_cgroup_driver", declared["cgroup_driver"], driver)


def _fields(declared: Mapping[str, Any], cluster: Any) -> Iterator[Difference]:
    for key, path in FIELDS.items():
        ours, theirs = at(declared["cluster"], path), at(cluster, path)
        if theirs is None or at(declared["overlay"], path) is not None:
            continue  # a cluster that kubeadm did not make so; or compared with the overlay
        if key == "master_certificate_names":
            # The first name is the address of the host that ran kubeadm init, which may have changed since.
            if any(name not in theirs for name in ours[1:]) or any(name not in ours for name in theirs[1:]):
                yield Difference(key, ours[1:], theirs[1:])
        elif ours != theirs:
            prefix = "v" if key == RELEASE else ""
            yield Difference(key, str(ours).removeprefix(prefix), str(theirs).removeprefix(prefix))


def _kubelet(declared: Mapping[str, Any], cluster: Any, kubelet: str) -> Iterator[Difference]:
    """Yield a host's kubelet of another release than its cluster, which an upgrade has not reached yet."""
    wanted = at(declared["cluster"], FIELDS[RELEASE])
    if kubelet and wanted == at(cluster, FIELDS[RELEASE]) != kubelet:
        yield Difference(RELEASE, str(wanted).removeprefix("v"), f"{KUBELET}{kubelet.removeprefix('v')}")


def _overlay(key: str, overlay: Any, running: Any) -> Iterator[Difference]:
    for path, ours in leaves(overlay):
        theirs = at(running, path)
        if isinstance(ours, list) and isinstance(theirs, list):
            different = not all(any(alike(item, other) for other in theirs) for item in ours)
        else:
            different = not alike(ours, theirs)
        if different and path:
            yield Difference(".".join((key, *path)), ours, theirs)


def _removed(wanted: Any, cluster: Any) -> Iterator[Difference]:
    for path in _NEVER_FILLED:
        ours, theirs = at(wanted, path) or [], at(cluster, path) or []
        if isinstance(theirs, list):
            names = [item.get("name") if isinstance(item, Mapping) else item for item in ours]
            left = [item for item in theirs if (item.get("name") if isinstance(item, Mapping) else item) not in names]
            if left:
                yield Difference(".".join(("master_cluster_configuration", *path)), ours or None, theirs)
        elif any(name not in (ours or {}) for name in theirs):
            yield Difference(".".join(("master_cluster_configuration", *path)), ours or None, theirs)


def in_words(difference: Difference) -> Wording:
    """Say what differs, and what to do about it."""
    key, ours, theirs = difference
    if key == RELEASE:
        return _release_in_words(str(ours), str(theirs))
    return Wording(*_in_words(key, ours, theirs))


def _release_in_words(ours: str, theirs: str) -> Wording:
    if theirs.startswith(KUBELET):
        message = f"{ours} is declared, and a host has {theirs}: an upgrade is not finished"
        return Wording(message, "`upgrade` continues with the hosts that are left", commands=("upgrade",))
    message, write = f"{ours} is declared and the running cluster has {theirs}", f"write `{RELEASE}: {theirs}`"
    if numbers(ours) < numbers(theirs):
        return Wording(f"{message}, which is newer; a cluster is never downgraded", write)
    return Wording(message, f"`upgrade` brings the cluster there; or {write}", commands=("upgrade",))


def _in_words(key: str, ours: Any, theirs: Any) -> tuple[str, str]:
    if key == IDENTITY:
        return f"the API that answers is that of the cluster {theirs}, not of {ours}", WHOSE_API
    without = theirs is None or (not theirs and isinstance(theirs, list))
    message = (
        f"{shown(ours)} is declared and the running cluster has {'none' if without else shown(theirs)}; "
        "this is decided at the first run and not changed later"
    )
    if without:
        return message, f"remove it from {key.partition('.')[0]}"
    if key == "cluster_control_plane_endpoint":
        return message, f"write `{key}: {theirs}`; it stays so when the address of a host in the inventory changes"
    return message, f"write `{key}: {shown(theirs)}`"
