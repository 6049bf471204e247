# SPDX-License-Identifier: Apache-2.0
"""The control plane: its static pods and their certificates, etcd, the API server."""

from __future__ import annotations

import typing as t
from urllib.parse import urlsplit

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor.facts import Facts, HostFacts
from ansible.module_utils.yunkube.doctor.rule import BY_HAND, Hit, Rule
from ansible.module_utils.yunkube.doctor.rules import keys
from ansible.module_utils.yunkube.doctor.rules.consequences import (
    AFTER_API_SERVER,
    AFTER_ETCD,
    ALL_DOWN,
    FLANNEL,
    NODE,
)

STARTING = 30  # seconds that a container may take before it answers
SLOW = 0.05  # of etcd's writes took more than half a second
NEARLY = 0.8  # of its quota
FEW = 200  # writes, too few to judge a disk by
API_CERTIFICATE = "/etc/kubernetes/pki/apiserver.crt"
AUTHORITIES = ("/ca.crt", "front-proxy-ca.crt")
PARTS = ("kube-controller-manager", "kube-scheduler")
RENEW = "https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/"


def manifest_broken(facts: Facts) -> t.Iterator[Hit]:
    """Static pods whose manifest is not there or cannot be read."""
    for host in facts.masters:
        for name, problem in host.manifests.items():
            path = f"/etc/kubernetes/manifests/{name}.yaml"
            said = [line for line in host.journal.get("kubelet", []) if path in line or f"{name}.yaml" in line]
            if problem and host.joined:
                yield Hit(host.host, [f"{path} {problem}", *said[-1:]], path)


MANIFEST_BROKEN = Rule(
    "manifest-broken",
    title="A static pod manifest of the control plane is invalid",
    looks="The component is down and does not restart; for the API server, kubectl says `connection refused`.",
    proof=manifest_broken,
    remedy="fix {target} on {host}, or recreate it: kubeadm init phase control-plane all, or etcd local, " + BY_HAND,
    severity="critical",
    before=ALL_DOWN,
    scope="all",
    link="https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/",
)


def etcd_no_space(facts: Facts) -> t.Iterator[Hit]:
    """An etcd that has exceeded its space quota."""
    for host in facts.masters:
        if "NOSPACE" in host.etcd.get("health", "").upper() or 0 < host.etcd.get("quota", 0) <= host.etcd.get(
            "size", 0
        ):
            size, quota = host.etcd.get("size", 0), host.etcd.get("quota", 0)
            evidence = f"its database is {size / 2**20:.0f} MiB, its quota {quota / 2**20:.0f} MiB"
            yield Hit(host.host, [evidence, f"it says {host.etcd.get('health') or 'nothing'}"])


ETCD_NO_SPACE = Rule(
    "etcd-no-space",
    title="etcd has exceeded its space quota",
    looks="The API serves reads but rejects writes: `mvcc: database space exceeded`.",
    proof=etcd_no_space,
    remedy="on {host}, with etcdctl: compact, defrag, then alarm disarm; raise --quota-backend-bytes if needed",
    severity="critical",
    before=(*ALL_DOWN, "etcd-nearly-full"),
    scope="all",
    repair="free_etcd_space",
    safe=True,
    weight=3,
    link="https://etcd.io/docs/v3.6/op-guide/maintenance/#space-quota",
)


def etcd_fragmented(facts: Facts) -> t.Iterator[Hit]:
    """Etcds whose file is nearly as large as it may be, and mostly empty."""
    for host in facts.masters:
        size, used, quota = (host.etcd.get(key, 0) for key in ("size", "used", "quota"))
        if size < quota and size > NEARLY * quota and 0 < used < size / 2:
            evidence = f"its database is {size / 2**20:.0f} MiB, {used / 2**20:.0f} MiB of it in use"
            yield Hit(host.host, [evidence, f"its quota is {quota / 2**20:.0f} MiB"], "", {"member": host.host.lower()})


ETCD_FRAGMENTED = Rule(
    "etcd-fragmented",
    title="etcd's database is mostly free space, and near its quota",
    looks="Nothing yet. Above the quota etcd rejects all writes: `mvcc: database space exceeded`.",
    proof=etcd_fragmented,
    remedy="on {host}, with etcdctl: defrag; this etcd answers nobody until its file is written again",
    severity="warning",
    repair="defragment_etcd",
    weight=3,
    link="https://etcd.io/docs/v3.6/op-guide/maintenance/#defragmentation",
)


def etcd_nearly_full(facts: Facts) -> t.Iterator[Hit]:
    """Etcds whose data is nearly as large as it may be."""
    for host in facts.masters:
        used, quota = host.etcd.get("used", 0), host.etcd.get("quota", 0)
        if used > NEARLY * quota > 0:
            yield Hit(host.host, [f"its data takes {used / 2**20:.0f} MiB of its quota of {quota / 2**20:.0f} MiB"])


ETCD_NEARLY_FULL = Rule(
    "etcd-nearly-full",
    title="etcd's data has nearly reached its quota",
    looks="Nothing yet. Above the quota etcd rejects all writes: `mvcc: database space exceeded`.",
    proof=etcd_nearly_full,
    remedy="delete objects that nobody needs, or set a higher quota-backend-bytes in etcd's manifest on each master",
    severity="warning",
    link="https://etcd.io/docs/v3.6/op-guide/maintenance/#space-quota",
)


def _renewable(host: HostFacts) -> list[tuple[str, dict[str, t.Any]]]:
    return [
        (path, found)
        for path, found in host.certificates.items()
        if "ends" in found and path.startswith("/etc/kubernetes/") and not path.endswith(AUTHORITIES)
    ]


def _expired(facts: Facts, chosen: t.Callable[[str], bool]) -> t.Iterator[Hit]:
    for host in facts.masters:
        for path, found in _renewable(host):
            if chosen(path) and found["ends"] < host.now:
                days = (host.now - found["ends"]) / 86400
                yield Hit(host.host, [f"{path} ended {days:.1f} days ago"], path, {"path": path})


def api_certificate_expired(facts: Facts) -> t.Iterator[Hit]:
    """API servers whose certificate has expired."""
    yield from _expired(facts, lambda path: path == API_CERTIFICATE)


API_CERTIFICATE_EXPIRED = Rule(
    "api-certificate-expired",
    title="The API server's certificate has expired",
    looks="`x509: certificate has expired or is not yet valid` from kubectl and from every kubelet.",
    proof=api_certificate_expired,
    remedy=f"on {{host}}: kubeadm certs renew apiserver {BY_HAND}, then restart the API server's container",
    severity="critical",
    before=ALL_DOWN,
    scope="all",
    repair="renew_certificate",
    safe=True,
    weight=3,
    link=RENEW,
)


def api_certificate_name(facts: Facts) -> t.Iterator[Hit]:
    """API servers whose certificate is for other names than the one that nodes use."""
    lost = {hit.host for hit in keys.kubelet_elsewhere(facts)}
    used = {urlsplit(host.server).hostname for host in facts.reached if host.server and host.host not in lost}
    for host in facts.masters:
        names: list[str] = host.certificates.get(API_CERTIFICATE, {}).get("names") or []
        for name in sorted(str(one) for one in used if names and one not in names):
            yield Hit(host.host, [f"{API_CERTIFICATE} is for {', '.join(names)}", f"nodes use {name}"], name)


API_CERTIFICATE_NAME = Rule(
    "api-certificate-name",
    title="The API server's certificate lacks a name that clients use",
    looks="`x509: certificate is valid for …, not …` from kubectl and from every kubelet.",
    proof=api_certificate_name,
    remedy=(
        "on {host}: add {target} to the names in cluster.yaml, move apiserver.crt and .key away, then: kubeadm init "
        f"phase certs apiserver {BY_HAND}; restart the API server's container"
    ),
    severity="critical",
    before=ALL_DOWN,
    scope="all",
    link=RENEW,
)


def other_certificate_expired(facts: Facts) -> t.Iterator[Hit]:
    """Certificates of the other components that have expired."""
    yield from _expired(facts, lambda path: path != API_CERTIFICATE)


CONTROL_PLANE_CERTIFICATE_EXPIRED = Rule(
    "control-plane-certificate-expired",
    title="A certificate of the control plane has expired",
    looks="etcd, the scheduler or the controller manager is rejected by its peers.",
    proof=other_certificate_expired,
    remedy=f"on {{host}}: kubeadm certs renew all {BY_HAND}, then restart the control plane's containers",
    severity="critical",
    before=ALL_DOWN,
    scope="all",
    repair="renew_certificate",
    safe=True,
    weight=3,
    link=RENEW,
)


def certificate_ending(facts: Facts) -> t.Iterator[Hit]:
    """Certificates that expire within a month."""
    for host in facts.masters:
        for path, found in _renewable(host):
            if host.now <= found["ends"] < host.now + constants.EXPIRES_SOON_SECONDS:
                days = (found["ends"] - host.now) / 86400
                yield Hit(host.host, [f"{path} ends in {days:.1f} days"], path, {"path": path})


CERTIFICATE_ENDING = Rule(
    "certificate-ending",
    title="A certificate of the control plane expires soon",
    looks="Nothing yet.",
    proof=certificate_ending,
    remedy=f"on {{host}}: kubeadm certs renew all {BY_HAND}, then restart the control plane's containers",
    severity="warning",
    repair="renew_certificate",
    safe=True,
    weight=3,
    link=RENEW,
)


def kubeconfig_missing(facts: Facts) -> t.Iterator[Hit]:
    """Masters without the administrator's kubeconfig."""
    path = "/etc/kubernetes/admin.conf"
    for host in facts.masters:
        if host.joined and path not in host.modes:
            yield Hit(
                host.host, [f"{path} is not there", f"the API server says {host.probes.get('kube-apiserver')}"], path
            )


KUBECONFIG_MISSING = Rule(
    "kubeconfig-missing",
    title="The administrator's kubeconfig is missing",
    looks="kubectl on the master says `The connection to the server localhost:8080 was refused`.",
    proof=kubeconfig_missing,
    remedy=f"on {{host}}: kubeadm init phase kubeconfig admin {BY_HAND}; open no port for it",
    before=("api-silent",),
    repair="write_admin_conf",
    safe=True,
    link="https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/",
)


def down(host: HostFacts, name: str) -> list[str]:
    """Return why a component of the control plane counts as down, nothing if it is healthy or may be starting."""
    probe = host.probes.get(name, "")
    if probe in ("", "ok") or host.manifests.get(name):
        return []
    found = next((one for one in host.containers or [] if one["name"] == name), None)
    if found is None:
        return [f"{name} does not answer: {probe}", "it has no container"] if host.containers is not None else []
    if found["state"] == "running" and host.now - found["made"] < STARTING and found["attempt"] < 2:
        return []
    evidence = f"its container is {found['state']}, after {found['attempt']} restarts"
    return [f"{name} does not answer: {probe}", evidence, *found["last"][-2:]]


def part_down(facts: Facts, *names: str) -> t.Iterator[Hit]:
    """Return the masters on which a component of the control plane is down."""
    for host in facts.masters:
        for name in names:
            if evidence := down(host, name):
                yield Hit(host.host, evidence, name)


ETCD_DOWN = Rule(
    "etcd-down",
    title="etcd is failing",
    looks="The API server goes down as well; kubectl says `connection refused`.",
    proof=lambda facts: part_down(facts, "etcd"),
    remedy="check its last log on {host}: crictl logs $(crictl ps -a -q --name etcd | head -1)",
    severity="critical",
    before=AFTER_ETCD,
    scope="all",
)


API_SERVER_DOWN = Rule(
    "api-server-down",
    title="The API server is failing",
    looks="kubectl says `connection refused`; running pods keep running, nothing new starts.",
    proof=lambda facts: part_down(facts, "kube-apiserver"),
    remedy="check its last log on {host}: crictl logs $(crictl ps -a -q --name kube-apiserver | head -1)",
    severity="critical",
    before=AFTER_API_SERVER,
    scope="all",
)


CONTROL_PLANE_PART_DOWN = Rule(
    "control-plane-part-down",
    title="The scheduler or the controller manager is failing",
    looks="New pods stay Pending, or Deployments create no pods.",
    proof=lambda facts: part_down(facts, *PARTS),
    remedy="check its last log on {host}: crictl logs $(crictl ps -a -q --name {target} | head -1)",
    severity="critical",
    before=("node-without-pod-cidr", *NODE),
    scope="all",
)


def etcd_slow(facts: Facts) -> t.Iterator[Hit]:
    """An etcd with a slow disk."""
    for host in facts.masters:
        if host.etcd.get("fsyncs", 0) > FEW and host.etcd.get("slow", 0) > SLOW:
            evidence = f"{host.etcd['slow']:.0%} of its {host.etcd['fsyncs']:.0f} writes took more than half a second"
            yield Hit(host.host, [evidence])


ETCD_SLOW = Rule(
    "etcd-slow",
    title="etcd's disk is slow",
    looks="Leaders change and API requests take seconds: `apply request took too long`.",
    proof=etcd_slow,
    remedy="put /var/lib/etcd of {host} on a dedicated SSD",
    severity="warning",
    before=("api-unreachable", "api-silent"),
    scope="all",
    link="https://etcd.io/docs/v3.6/op-guide/hardware/",
)


def api_unreachable(facts: Facts) -> t.Iterator[Hit]:
    """Hosts that cannot reach a healthy API server."""
    if any(host.probes.get("kube-apiserver") == "ok" for host in facts.masters):
        for host in facts.reached:
            if host.joined and host.probes.get("api", "ok") not in ("ok", ""):
                yield Hit(host.host, [f"from {host.host}: {host.probes['api']}"])


API_UNREACHABLE = Rule(
    "api-unreachable",
    title="The host cannot reach the API server",
    looks="The node turns NotReady although its kubelet runs; `dial tcp: i/o timeout`.",
    proof=api_unreachable,
    remedy="check routes, firewalls and security groups between {host} and the API server",
    before=(*FLANNEL, "kube-proxy-down", "pod-path-broken", *NODE),
)


def api_silent(facts: Facts) -> t.Iterator[Hit]:
    """An API that does not answer on any master."""
    if not facts.cluster.answers and any(host.master for host in facts.hosts):
        yield Hit("", [facts.cluster.detail or "no master could be queried"])


API_SILENT = Rule(
    "api-silent",
    title="The API does not answer",
    looks="kubectl says `connection refused` or `i/o timeout`.",
    proof=api_silent,
    remedy="check the masters: systemctl status kubelet containerd; crictl ps -a",
    severity="critical",
    symptom=True,
)
