# SPDX-License-Identifier: Apache-2.0
"""The kubelet of a host: its configuration, its kubeconfig, its certificate."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import BY_HAND, Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import ALL_DOWN, KUBELET, NODE
from ansible.module_utils.yunkube.doctor.rules.units import state_of, stopped

CONFIG_ERRORS = ("ubelet config", "KubeletConfiguration", "invalid configuration")
CURRENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"


def kubelet_config(facts: Facts) -> t.Iterator[Hit]:
    """A kubelet that does not like its configuration, or has none."""
    for host in facts.reached:
        lines = host.journal.get("kubelet", [])
        complaints = [line for line in lines if any(word in line for word in CONFIG_ERRORS)]
        missing = not host.joined and "/etc/kubernetes/kubelet.conf" in host.modes
        if missing:
            yield Hit(host.host, ["/var/lib/kubelet/config.yaml is not there"])
        elif host.crashes("kubelet") and complaints:
            yield Hit(host.host, [state_of(host, "kubelet"), *complaints[-2:]])


KUBELET_CONFIG_BROKEN = Rule(
    "kubelet-config-broken",
    title="The kubelet rejects its configuration",
    looks="systemd keeps restarting the kubelet; the node turns NotReady.",
    proof=kubelet_config,
    remedy=(
        "on {host}: kubeadm upgrade node phase kubelet-config --patches FOLDER (docs/kubeadm.md says how), then "
        "systemctl restart kubelet"
    ),
    before=KUBELET,
    repair="write_kubelet_config",
    safe=True,
    weight=2,
    link="https://kubernetes.io/docs/tasks/administer-cluster/kubelet-config-file/",
)


KUBELET_STOPPED = Rule(
    "kubelet-stopped",
    title="The kubelet is not running",
    looks="The node turns NotReady after 40 seconds; its containers keep running.",
    proof=lambda facts: stopped(facts, "kubelet"),
    remedy="systemctl enable --now kubelet on {host}",
    before=ALL_DOWN,
    repair="start_unit",
    safe=True,
)


def kubelet_conf(facts: Facts) -> t.Iterator[Hit]:
    """A node that has lost its way to the API."""
    for host in facts.reached:
        if host.joined and "/etc/kubernetes/kubelet.conf" not in host.modes and not host.bootstrap_token:
            yield Hit(host.host, ["/etc/kubernetes/kubelet.conf is not there"])


KUBELET_CONF_MISSING = Rule(
    "kubelet-conf-missing",
    title="The node's kubeconfig is missing",
    looks="The kubelet exits with `unable to load bootstrap kubeconfig`.",
    proof=kubelet_conf,
    remedy=(
        "{command}, then add it again; on a master, its old files deleted: kubeadm init phase kubeconfig kubelet "
        + BY_HAND
    ),
    call="remove {host}",
    before=("kubelet-crash-looping", *NODE),
)


def node_certificate(facts: Facts) -> t.Iterator[Hit]:
    """Nodes whose certificate has expired; the kubelet renews it by itself long before."""
    for host in facts.reached:
        found = host.certificates.get(CURRENT, {})
        if "ends" in found and found["ends"] < host.now:
            yield Hit(host.host, [f"{CURRENT} ended {(host.now - found['ends']) / 86400:.1f} days ago"], CURRENT)


NODE_CERTIFICATE_EXPIRED = Rule(
    "node-certificate-expired",
    title="The node's certificate has expired",
    looks="The API rejects the kubelet as Unauthorized, and the node turns NotReady.",
    proof=node_certificate,
    remedy=(
        "{command}, then add it again; on a master, its old files deleted: kubeadm init phase kubeconfig kubelet "
        + BY_HAND
    ),
    call="remove {host}",
    before=("kubelet-crash-looping", *NODE),
    link="https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/",
)


def node_certificate_soon(facts: Facts) -> t.Iterator[Hit]:
    """Nodes whose certificate should have been renewed by now."""
    for host in facts.reached:
        found = host.certificates.get(CURRENT, {})
        if "ends" in found and host.now <= found["ends"] < host.now + constants.EXPIRES_SOON_SECONDS:
            yield Hit(host.host, [f"{CURRENT} ends in {(found['ends'] - host.now) / 86400:.1f} days"], CURRENT)


NODE_CERTIFICATE_ENDING = Rule(
    "node-certificate-ending",
    title="The node's certificate expires soon and was not renewed",
    looks="Nothing yet: the kubelet normally renews it long before it expires, but has not.",
    proof=node_certificate_soon,
    remedy="see `journalctl -u kubelet | grep certificate` on {host}, and whether kube-controller-manager signs",
    severity="warning",
)


def kubelet_crash(facts: Facts) -> t.Iterator[Hit]:
    """A kubelet that fails for a reason of its own."""
    for host in facts.reached:
        if host.joined and host.crashes("kubelet"):
            yield Hit(host.host, [state_of(host, "kubelet"), *host.journal.get("kubelet", [])[-2:]])


KUBELET_CRASH_LOOPING = Rule(
    "kubelet-crash-looping",
    title="The kubelet is failing",
    looks="systemd keeps restarting it; the node turns NotReady.",
    proof=kubelet_crash,
    remedy="check its log: journalctl -u kubelet on {host}",
    before=ALL_DOWN,
)
