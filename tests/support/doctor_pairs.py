# SPDX-License-Identifier: Apache-2.0
"""Which two faults of the doctor's table can be reported side by side, by the facts that each of them changes."""

from __future__ import annotations

from ansible.module_utils.yunkube.doctor.diagnose import diagnose
from ansible.module_utils.yunkube.doctor.facts import Facts, as_json
from cause_changes import CHANGES
from doctor_record import healthy, silent

# What cannot be told beside another fault: on a host that never joined, or without flannel, nothing is expected of
# flannel's link, of routes and of what it tries; without a CNI configuration, nobody knows which plugins it would name.
TRIED = {
    "overlay-dropped",
    "pod-packets-dropped",
    "service-packets-dropped",
    "services-unreachable",
    "cluster-dns-unreachable",
    "api-service-unreachable",
}
HIDDEN = {
    "host-unreachable": {"host-not-inspected"},
    "host-not-joined": {
        "ip-forward-off",
        "sysctl-not-kept",
        "flannel-link-missing",
        "pod-route-missing",
        "cloud-route-missing",
        *TRIED,
    },
    "join-token-expired": {
        "node-certificate-missing",
        "subnet-env-wrong",
        "flannel-link-missing",
        "pod-route-missing",
        "cloud-route-missing",
    },
    "bundle-image-missing": {"flannel-link-missing", "pod-route-missing"},
    "node-without-pod-cidr": {"flannel-link-missing", "pod-route-missing"},
    "kube-proxy-down": {
        "flannel-link-missing",
        "flannel-lease-missing",
        "pod-route-missing",
        "flannel-address-wrong",
        "flannel-mac-wrong",
    },
    "net-conf-differs": {"pod-network-overlaps"},
    "pod-cidr-doubled": {"subnet-env-wrong"},
    "cni-config-missing": {"cni-plugin-missing"},
}


def named(facts: Facts) -> set[str]:
    """Return the ids of all that is said, as a cause or in a chain."""
    return {name for one in diagnose(facts) for name in (one.id, *one.implied)}


def touched(fault: str) -> set[str]:
    """Return which facts a fault changes."""
    before, after = healthy(), healthy()
    CHANGES[fault](after)
    parts = [[*map(as_json, facts.hosts), as_json(facts.cluster), {"cloud": facts.cloud}] for facts in (before, after)]
    found = set()
    for number, (old, new) in enumerate(zip(*parts, strict=True)):
        found |= {f"{number}.{name}" for name in old if old[name] != new[name]}
    return found


def seen_without_the_api(fault: str) -> bool:
    """Say whether a fault is found on the hosts alone."""
    facts = healthy()
    CHANGES[fault](facts)
    silent(facts)
    return fault in named(facts)


TOUCHED = {fault: touched(fault) for fault in CHANGES}
BLINDING = {fault for fault in CHANGES if "2.answers" in TOUCHED[fault]}
SEEN_ON_HOSTS = {fault for fault in CHANGES if seen_without_the_api(fault)}


def independent(first: str, second: str) -> bool:
    """Say whether they are two facts, and the API reports both."""
    pair = {first, second}
    return not TOUCHED[first] & TOUCHED[second] and (not pair & BLINDING or pair <= BLINDING | SEEN_ON_HOSTS)


# What a host has that explains why kube-proxy is down there: then a difference of its DaemonSet says nothing.
EXPLAINS_KUBE_PROXY = (
    "authority-differs", "clock-skew", "cni-config-missing", "disk-full", "duplicate-hostname", "hostname-changed",
    "kubelet-conf-missing", "kubelet-config-broken", "kubelet-crash-looping", "node-certificate-expired",
    "proxy-in-the-way", "swap-on",
)  # fmt: skip
HIDDEN |= {name: {*HIDDEN.get(name, ()), "kube-proxy-differs"} for name in EXPLAINS_KUBE_PROXY}


def side_by_side(first: str, second: str) -> bool:
    """Say whether both are reported if both are present."""
    hidden = second in HIDDEN.get(first, ()) or first in HIDDEN.get(second, ())
    return independent(first, second) and not hidden
