"""Faults of the control plane: etcd, the API server, their certificates and manifests, and who may join."""

from __future__ import annotations

import datetime as dt
import typing as t
from urllib.parse import urlsplit

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor.facts import Facts, HostFacts
from ansible.module_utils.yunkube.doctor.fault import BY_HAND, CONTROL_PLANE, FLANNEL, NODE, Fault, Hit

STARTING = 30  # seconds that a container may take before it answers
SLOW = 0.05  # of etcd's writes took more than half a second
FEW = 200  # writes, too few to judge a disk by
CA = "/etc/kubernetes/pki/ca.crt"
CURRENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"
API_CERTIFICATE = "/etc/kubernetes/pki/apiserver.crt"
AUTHORITIES = ("/ca.crt", "front-proxy-ca.crt")
PARTS = ("kube-controller-manager", "kube-scheduler")
ALL_DOWN = (*CONTROL_PLANE, *FLANNEL, "kube-proxy-down", *NODE)


def manifest_broken(facts: Facts) -> t.Iterator[Hit]:
    """Static pods whose manifest is not there or cannot be read."""
    for host in facts.masters:
        for name, problem in host.manifests.items():
            path = f"/etc/kubernetes/manifests/{name}.yaml"
            said = [line for line in host.journal.get("kubelet", []) if path in line or f"{name}.yaml" in line]
            if problem and host.joined:
                yield Hit(host.host, [f"{path} {problem}", *said[-1:]], path)


def api_certificate_expired(facts: Facts) -> t.Iterator[Hit]:
    """API servers whose certificate nobody takes any more."""
    yield from _expired(facts, lambda path: path == API_CERTIFICATE)


def other_certificate_expired(facts: Facts) -> t.Iterator[Hit]:
    """Certificates of the other parts that are over."""
    yield from _expired(facts, lambda path: path != API_CERTIFICATE)


def _expired(facts: Facts, chosen: t.Callable[[str], bool]) -> t.Iterator[Hit]:
    for host in facts.masters:
        for path, found in _renewable(host):
            if chosen(path) and found["ends"] < host.now:
                days = (host.now - found["ends"]) / 86400
                yield Hit(host.host, [f"{path} ended {days:.1f} days ago"], path, {"path": path})


def certificate_ending(facts: Facts) -> t.Iterator[Hit]:
    """Certificates that are over within a month."""
    for host in facts.masters:
        for path, found in _renewable(host):
            if host.now <= found["ends"] < host.now + constants.EXPIRES_SOON_SECONDS:
                days = (found["ends"] - host.now) / 86400
                yield Hit(host.host, [f"{path} ends in {days:.1f} days"], path, {"path": path})


def _renewable(host: HostFacts) -> list[tuple[str, dict[str, t.Any]]]:
    return [
        (path, found)
        for path, found in host.certificates.items()
        if "ends" in found and path.startswith("/etc/kubernetes/") and not path.endswith(AUTHORITIES)
    ]


def api_certificate_name(facts: Facts) -> t.Iterator[Hit]:
    """API servers whose certificate is for other names than the one that nodes use."""
    used = {urlsplit(host.server).hostname for host in facts.reached if host.server}
    for host in facts.masters:
        names: list[str] = host.certificates.get(API_CERTIFICATE, {}).get("names") or []
        for name in sorted(str(one) for one in used if names and one not in names):
            yield Hit(host.host, [f"{API_CERTIFICATE} is for {', '.join(names)}", f"nodes use {name}"], name)


def authority_differs(facts: Facts) -> t.Iterator[Hit]:
    """Hosts that trust another cluster's authority."""
    pins = {host.host: host.certificates[CA]["pin"] for host in facts.masters if "pin" in host.certificates.get(CA, {})}
    if not pins:
        return
    first, wanted = next(iter(pins.items()))
    for host in facts.reached:
        pin = host.certificates.get(CA, {}).get("pin")
        if pin and pin != wanted:
            yield Hit(host.host, [f"{CA} is {pin[:23]}…", f"that of {first} is {wanted[:23]}…"], CA)


def etcd_no_space(facts: Facts) -> t.Iterator[Hit]:
    """An etcd that has raised its alarm for room."""
    for host in facts.masters:
        if "NOSPACE" in host.etcd.get("health", "").upper() or 0 < host.etcd.get("quota", 0) <= host.etcd.get(
            "size", 0
        ):
            size, quota = host.etcd.get("size", 0), host.etcd.get("quota", 0)
            evidence = f"its database is {size / 2**20:.0f} MiB, its quota {quota / 2**20:.0f} MiB"
            yield Hit(host.host, [evidence, f"it says {host.etcd.get('health') or 'nothing'}"])


def etcd_slow(facts: Facts) -> t.Iterator[Hit]:
    """An etcd whose disk keeps it waiting."""
    for host in facts.masters:
        if host.etcd.get("fsyncs", 0) > FEW and host.etcd.get("slow", 0) > SLOW:
            evidence = f"{host.etcd['slow']:.0%} of its {host.etcd['fsyncs']:.0f} writes took more than half a second"
            yield Hit(host.host, [evidence])


def down(host: HostFacts, name: str) -> list[str]:
    """Return why a part of the control plane is held to be down, nothing where it is well or may be starting."""
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
    """Return the masters on which a part of the control plane is down."""
    for host in facts.masters:
        for name in names:
            if evidence := down(host, name):
                yield Hit(host.host, evidence, name)


def kubeconfig_missing(facts: Facts) -> t.Iterator[Hit]:
    """Masters without the administrator's kubeconfig."""
    path = "/etc/kubernetes/admin.conf"
    for host in facts.masters:
        if host.joined and path not in host.modes:
            yield Hit(
                host.host, [f"{path} is not there", f"the API server says {host.probes.get('kube-apiserver')}"], path
            )


def api_unreachable(facts: Facts) -> t.Iterator[Hit]:
    """Hosts that do not get to an API that is well."""
    if any(host.probes.get("kube-apiserver") == "ok" for host in facts.masters):
        for host in facts.reached:
            if host.joined and host.probes.get("api", "ok") not in ("ok", ""):
                yield Hit(host.host, [f"from {host.host}: {host.probes['api']}"])


def api_silent(facts: Facts) -> t.Iterator[Hit]:
    """An API that does not answer whoever asks."""
    if not facts.cluster.answers and any(host.master for host in facts.hosts):
        yield Hit("", [facts.cluster.detail or "no master could be asked"])


def token_expired(facts: Facts) -> t.Iterator[Hit]:
    """Hosts that joined with a token that has expired, and wait for a certificate in vain."""
    if not facts.cluster.answers:
        return
    for host in facts.reached:
        if not host.bootstrap_token or CURRENT in host.certificates:
            continue
        ends = facts.cluster.tokens.get(host.bootstrap_token)
        if ends is None:
            yield Hit(host.host, [f"the cluster has no token {host.bootstrap_token} (any more)"])
        elif ends and dt.datetime.fromisoformat(ends).timestamp() < host.now:
            yield Hit(host.host, [f"token {host.bootstrap_token} ended at {ends}"])


def not_joined(facts: Facts) -> t.Iterator[Hit]:
    """Hosts of the inventory that never became nodes."""
    for host in facts.reached:
        known = facts.cluster.node(host.name)
        if not host.joined and "/etc/kubernetes/kubelet.conf" not in host.modes and not known:
            yield Hit(host.host, ["it has no /etc/kubernetes/kubelet.conf", "the API knows no node of its name"])


RENEW = "https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/"

JOINING = (
    Fault(
        "host-not-joined",
        "The host is in the inventory, but not in the cluster",
        "The node is missing from `get nodes`, as after a join with an expired token or a wrong CA hash.",
        not_joined,
        "{command}: it joins with its own token and CA hash",
        call="add {host}",
        explains=("node-not-ready", "api-silent"),
    ),
    Fault(
        "join-token-expired",
        "The host joined with a token that has expired",
        "The kubelet exits with `Unauthorized` and gets no certificate; the node does not register.",
        token_expired,
        "{command}: it joins with a fresh token",
        call="up --limit {host}",
        explains=("kubelet-conf-missing", "kubelet-crash-looping", "node-not-ready"),
        link="https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-token/",
    ),
    Fault(
        "authority-differs",
        "The host trusts another cluster's CA",
        "`x509: certificate signed by unknown authority`; a join with the wrong CA hash, or a cloned disk.",
        authority_differs,
        "{command}, then add it again: the CA is checked by its hash",
        call="remove {host}",
        explains=("kubelet-crash-looping", *FLANNEL, *NODE),
    ),
)

FAULTS = (
    Fault(
        "manifest-broken",
        "A static pod manifest of the control plane is invalid",
        "The component is down and does not restart; for the API server, kubectl says `connection refused`.",
        manifest_broken,
        f"fix {{target}} on {{host}}, or recreate it: kubeadm init phase control-plane all, or etcd local, {BY_HAND}",
        severity="critical",
        explains=ALL_DOWN,
        scope="all",
        link="https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/",
    ),
    Fault(
        "etcd-no-space",
        "etcd has exceeded its space quota",
        "The API serves reads but rejects writes: `mvcc: database space exceeded`.",
        etcd_no_space,
        "on {host}, with etcdctl: compact, defrag, then alarm disarm; raise --quota-backend-bytes if needed",
        severity="critical",
        explains=ALL_DOWN,
        scope="all",
        link="https://etcd.io/docs/v3.6/op-guide/maintenance/#space-quota",
    ),
    Fault(
        "api-certificate-expired",
        "The API server's certificate has expired",
        "`x509: certificate has expired or is not yet valid` from kubectl and from every kubelet.",
        api_certificate_expired,
        f"on {{host}}: kubeadm certs renew apiserver {BY_HAND}, then restart the API server's container",
        severity="critical",
        explains=ALL_DOWN,
        scope="all",
        repair="renew_certificate",
        safe=True,
        weight=3,
        link=RENEW,
    ),
    Fault(
        "api-certificate-name",
        "The API server's certificate lacks a name that clients use",
        "`x509: certificate is valid for …, not …` from kubectl and from every kubelet.",
        api_certificate_name,
        "on {host}: add {target} to the names in cluster.yaml, move apiserver.crt and .key away, then: kubeadm init "
        f"phase certs apiserver {BY_HAND}; restart the API server's container",
        severity="critical",
        explains=ALL_DOWN,
        scope="all",
        link=RENEW,
    ),
    Fault(
        "control-plane-certificate-expired",
        "A certificate of the control plane has expired",
        "etcd, the scheduler or the controller manager is rejected by its peers.",
        other_certificate_expired,
        f"on {{host}}: kubeadm certs renew all {BY_HAND}, then restart the control plane's containers",
        severity="critical",
        explains=ALL_DOWN,
        scope="all",
        repair="renew_certificate",
        safe=True,
        weight=3,
        link=RENEW,
    ),
    Fault(
        "certificate-ending",
        "A certificate of the control plane expires soon",
        "Nothing yet.",
        certificate_ending,
        f"on {{host}}: kubeadm certs renew all {BY_HAND}, then restart the control plane's containers",
        severity="warning",
        repair="renew_certificate",
        safe=True,
        weight=3,
        link=RENEW,
    ),
    Fault(
        "kubeconfig-missing",
        "The administrator's kubeconfig is missing",
        "kubectl on the master says `The connection to the server localhost:8080 was refused`.",
        kubeconfig_missing,
        f"on {{host}}: kubeadm init phase kubeconfig admin {BY_HAND}; open no port for it",
        explains=("api-silent",),
        repair="write_admin_conf",
        safe=True,
        link="https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/",
    ),
    Fault(
        "etcd-down",
        "etcd is failing",
        "The API server goes down as well; kubectl says `connection refused`.",
        lambda facts: part_down(facts, "etcd"),
        "check its last log on {host}: crictl logs $(crictl ps -a -q --name etcd | head -1)",
        severity="critical",
        explains=ALL_DOWN,
        scope="all",
    ),
    Fault(
        "api-server-down",
        "The API server is failing",
        "kubectl says `connection refused`; running pods keep running, nothing new starts.",
        lambda facts: part_down(facts, "kube-apiserver"),
        "check its last log on {host}: crictl logs $(crictl ps -a -q --name kube-apiserver | head -1)",
        severity="critical",
        explains=ALL_DOWN,
        scope="all",
    ),
    Fault(
        "control-plane-part-down",
        "The scheduler or the controller manager is failing",
        "New pods stay Pending, or Deployments create no pods.",
        lambda facts: part_down(facts, *PARTS),
        "check its last log on {host}: crictl logs $(crictl ps -a -q --name {target} | head -1)",
        severity="critical",
        explains=("node-without-pod-cidr", *NODE),
        scope="all",
    ),
    Fault(
        "etcd-slow",
        "etcd's disk is slow",
        "Leaders change and API requests take seconds: `apply request took too long`.",
        etcd_slow,
        "put /var/lib/etcd of {host} on a dedicated SSD",
        severity="warning",
        explains=("api-unreachable", "api-silent"),
        scope="all",
        link="https://etcd.io/docs/v3.6/op-guide/hardware/",
    ),
)

# After the network's faults, which may be why.
SYMPTOMS = (
    Fault(
        "api-unreachable",
        "The host cannot reach the API server",
        "The node turns NotReady although its kubelet runs; `dial tcp: i/o timeout`.",
        api_unreachable,
        "check routes, firewalls and security groups between {host} and the API server",
        explains=(*FLANNEL, "kube-proxy-down", *NODE),
    ),
    Fault(
        "api-silent",
        "The API does not answer",
        "kubectl says `connection refused` or `i/o timeout`.",
        api_silent,
        "check the masters: systemctl status kubelet containerd; crictl ps -a",
        severity="critical",
        generic=True,
    ),
)
