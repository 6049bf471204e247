# SPDX-License-Identifier: Apache-2.0
"""The container runtime of a host, and the images that pods of the cluster need."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import (
    ALL_DOWN,
    FLANNEL,
    KUBELET,
    NODE,
    PULLS,
    RUNTIME,
)
from ansible.module_utils.yunkube.doctor.rules.units import state_of, stopped

CONTAINERD_FILES = "/etc/containerd/config.toml and what it imports"


def runtime_broken(facts: Facts) -> t.Iterator[Hit]:
    """A containerd that fails as soon as it starts."""
    for host in facts.reached:
        if host.crashes("containerd"):
            yield Hit(host.host, [state_of(host, "containerd"), *host.journal.get("containerd", [])[-2:]])


CONTAINERD_CONFIG_BROKEN = Rule(
    "containerd-config-broken",
    title="containerd is failing",
    looks="systemd keeps restarting it; its journal says why.",
    proof=runtime_broken,
    remedy="{command} rewrites its configuration; see `journalctl -u containerd` there",
    call="up --limit {host}",
    before=RUNTIME,
)


CONTAINERD_STOPPED = Rule(
    "containerd-stopped",
    title="containerd is not running",
    looks="Running containers keep running, but no pod starts or stops; the node turns NotReady.",
    proof=lambda facts: stopped(facts, "containerd"),
    remedy="systemctl enable --now containerd on {host}",
    before=RUNTIME,
    repair="start_unit",
    safe=True,
)


def socket_gone(facts: Facts) -> t.Iterator[Hit]:
    """A containerd that runs and does not answer."""
    for host in facts.reached:
        if host.joined and host.runs("containerd") and not host.socket and not host.crashes("containerd"):
            path = constants.CONTAINERD_SOCKET
            there = "nothing answers on it" if path in host.modes else "is not there"
            yield Hit(host.host, ["containerd runs", f"{path} {there}"], path, {"unit": "containerd", "again": True})


CONTAINERD_SOCKET_GONE = Rule(
    "containerd-socket-gone",
    title="containerd runs, but its socket does not answer",
    looks="The kubelet and crictl cannot connect: `connection refused` or `no such file or directory`.",
    proof=socket_gone,
    remedy="systemctl restart containerd on {host}; running containers are not affected",
    before=KUBELET,
    repair="start_unit",
    safe=True,
)


def cgroup_drivers(facts: Facts) -> t.Iterator[Hit]:
    """A kubelet and a runtime with different cgroup drivers."""
    for host in facts.reached:
        ours, theirs = host.kubelet.get("cgroupDriver", ""), host.runtime.get("cgroupDriver", "")
        if {ours, theirs} == {"systemd", "cgroupfs"}:
            evidence = ["/var/lib/kubelet/config.yaml: cgroupDriver " + ours, f"{CONTAINERD_FILES}: {theirs}"]
            yield Hit(host.host, evidence, arguments={"driver": theirs})


CGROUP_DRIVERS_DIFFER = Rule(
    "cgroup-drivers-differ",
    title="The kubelet and containerd use different cgroup drivers",
    looks="Pods on a loaded host are killed at random, or the kubelet does not start.",
    proof=cgroup_drivers,
    remedy="use one driver on {host}: {command} sets containerd's, unless conf.d overrides it; then restart both",
    call="up --limit {host}",
    before=("kubelet-crash-looping", *NODE),
    repair="set_cgroup_driver",
    link="https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/configure-cgroup-driver/",
)


def sandbox_image(facts: Facts) -> t.Iterator[Hit]:
    """Hosts without the sandbox image of every pod."""
    for host in facts.reached:
        wanted = host.runtime.get("sandbox")
        if wanted and host.images is not None and wanted not in host.images:
            yield Hit(host.host, [f"{wanted} is not among the {len(host.images)} images of the host"], wanted)


SANDBOX_IMAGE_MISSING = Rule(
    "sandbox-image-missing",
    title="The pod sandbox (pause) image is missing",
    looks="New pods stay in ContainerCreating: `failed to get sandbox image`.",
    proof=sandbox_image,
    remedy="{command} reimports it",
    call="up --limit {host}",
    before=(*FLANNEL, *NODE),
    repair="images",
    safe=True,
    weight=2,
)


def bundle_image(facts: Facts) -> t.Iterator[Hit]:
    """Images of the cluster's own pods that a host does not have."""
    for host in facts.reached:
        if host.images is None:
            continue
        wanted = {image for pod in facts.pods_on(host.name) if pod["system"] for image in pod["images"]}
        for image in sorted(wanted - {*host.images, host.runtime.get("sandbox")}):
            pods = [pod["name"] for pod in facts.pods_on(host.name) if image in pod["images"]]
            yield Hit(host.host, [f"{image} is not on the host", f"needed by {', '.join(pods)}"], image)


BUNDLE_IMAGE_MISSING = Rule(
    "bundle-image-missing",
    title="An image of the cluster's own pods is missing",
    looks="The pod waits in ErrImagePull or ErrImageNeverPull: images of the bundle are never pulled.",
    proof=bundle_image,
    remedy="{command} reimports it",
    call="up --limit {host}",
    before=(*PULLS, *ALL_DOWN),
    repair="images",
    safe=True,
    weight=2,
)
