# SPDX-License-Identifier: Apache-2.0
"""Keys, certificates and kubeconfigs that are missing, do not match, or lead elsewhere."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import BY_HAND, Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import ALL_DOWN, FLANNEL, NODE
from ansible.module_utils.yunkube.doctor.rules.kubelet import CURRENT

ADMIN = "/etc/kubernetes/admin.conf"
SA_PUB = "/etc/kubernetes/pki/sa.pub"


def keys_differ(facts: Facts) -> t.Iterator[Hit]:
    """Masters that check tokens with another key than they are signed with."""
    signing = {host.host: host.service_account.get("sa.key") for host in facts.masters}
    first = next((name for name, digest in signing.items() if digest), "")
    for host in facts.masters:
        public, key = host.service_account.get("sa.pub"), host.service_account.get("sa.key")
        if public and key and public != key:
            evidence = [f"{SA_PUB} is {public}", f"the public key of sa.key is {key}"]
            yield Hit(host.host, evidence, SA_PUB)
        elif key and key != signing[first]:
            evidence = [f"the public key of its sa.key is {key}", f"that of {first} is {signing[first]}"]
            yield Hit(host.host, evidence, SA_PUB, {"undo": ""})


SERVICE_ACCOUNT_KEYS_DIFFER = Rule(
    "service-account-keys-differ",
    title="The keys of service accounts do not match",
    looks="Pods are rejected as Unauthorized: CoreDNS, kube-proxy and flannel among them, after the API restarts.",
    proof=keys_differ,
    remedy=(
        "on {host}: openssl pkey -in /etc/kubernetes/pki/sa.key -pubout -out {target}, then restart the API server's "
        "container; all masters need the same pair"
    ),
    severity="critical",
    before=(*FLANNEL, "kube-proxy-down", *NODE),
    scope="all",
    repair="write_public_key",
    safe=True,
    weight=2,
    link="https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/",
)


def client_missing(facts: Facts) -> t.Iterator[Hit]:
    """Kubelets whose certificate is not where their kubeconfig says."""
    for host in facts.reached:
        if host.joined and host.client.get("wanted") and not host.client["there"] and not host.bootstrap_token:
            others: list[str] = host.client["others"]
            evidence = [f"{CURRENT} is not there", f"beside it: {', '.join(others[-2:]) or 'no other certificate'}"]
            yield Hit(host.host, evidence, CURRENT, {} if others else {"undo": ""})


NODE_CERTIFICATE_MISSING = Rule(
    "node-certificate-missing",
    title="The kubelet's certificate is missing",
    looks="The kubelet exits at its next start: `unable to read client-cert …/kubelet-client-current.pem`.",
    proof=client_missing,
    remedy=(
        "on {host}, where an older kubelet-client-….pem is left, link {target} to it and restart the kubelet; else "
        "{command}, then add it again"
    ),
    call="remove {host}",
    before=("kubelet-config-broken", "kubelet-crash-looping", *NODE),
    repair="link_certificate",
    safe=True,
    link="https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/troubleshooting-kubeadm/",
)


def keys_open(facts: Facts) -> t.Iterator[Hit]:
    """Keys that others than root can read."""
    for host in facts.reached:
        for path, mode in host.open_keys.items():
            yield Hit(host.host, [f"{path} has mode {mode}"], path, {"path": path, "mode": "0600"})


KEY_READABLE = Rule(
    "key-readable",
    title="A private key can be read by other users",
    looks="Nothing; but every user of the host can take over the cluster.",
    proof=keys_open,
    remedy="chmod 0600 {target} on {host}; if others may have read it, replace it",
    severity="warning",
    repair="set_mode",
    safe=True,
    weight=0,
    link="https://kubernetes.io/docs/setup/best-practices/certificates/",
)


def keys_missing(facts: Facts) -> t.Iterator[Hit]:
    """Certificates and keys of the control plane that are gone; their authority can sign others."""
    for host in facts.masters if any(host.joined for host in facts.masters) else ():
        pairs = dict.fromkeys(path.rpartition(".")[0] for path in host.missing_keys)
        for pair in pairs:
            gone = [path for path in host.missing_keys if path.rpartition(".")[0] == pair]
            yield Hit(host.host, [f"{' and '.join(gone)} not there"], f"{pair}.crt", {"path": f"{pair}.crt"})


PKI_FILE_MISSING = Rule(
    "pki-file-missing",
    title="A certificate or key of the control plane is missing",
    looks="Nothing until its component restarts: then it exits with `no such file or directory`.",
    proof=keys_missing,
    remedy=f"on {{host}}: move what is left of the pair away, then kubeadm init phase certs NAME {BY_HAND}",
    severity="critical",
    before=ALL_DOWN,
    scope="all",
    repair="make_certificate",
    safe=True,
    weight=2,
    link="https://kubernetes.io/docs/setup/best-practices/certificates/",
)


def admin_elsewhere(facts: Facts) -> t.Iterator[Hit]:
    """Administrators' kubeconfigs that name another API server than every other kubeconfig."""
    for host in facts.masters:
        own = host.servers.get(ADMIN)
        others = {server for path, server in host.servers.items() if path != ADMIN}
        others |= {other.server for other in facts.reached if other.server}
        if own and others and own not in others:
            yield Hit(host.host, [f"{ADMIN}: {own}", f"all others: {', '.join(sorted(others))}"], ADMIN)


KUBECONFIG_ELSEWHERE = Rule(
    "kubeconfig-elsewhere",
    title="The administrator's kubeconfig leads to another server",
    looks="kubectl on the master hangs or shows another cluster, while the nodes work.",
    proof=admin_elsewhere,
    remedy=f"on {{host}}: move {{target}} away, then kubeadm init phase kubeconfig admin {BY_HAND}",
    before=("api-silent",),
    repair="write_admin_conf",
    safe=True,
    link="https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/",
)


def kubelet_elsewhere(facts: Facts) -> t.Iterator[Hit]:
    """Nodes whose kubelet reports to another server than all other hosts do, and which it does not serve."""
    for host in facts.reached:
        wanted = [other.server for other in facts.reached if other.server and other is not host]
        wanted += [other.servers[ADMIN] for other in facts.masters if ADMIN in other.servers]
        # One that serves it may be meant: a name, or a load balancer of this host's own.
        served = host.probes.get("api") == "ok" and facts.cluster.node(host.name).get("ready")
        if host.server and not host.master and host.server not in wanted and len({*wanted}) == 1 and not served:
            evidence = [f"/etc/kubernetes/kubelet.conf: {host.server}", f"the others: {wanted[0]}"]
            yield Hit(host.host, evidence, "/etc/kubernetes/kubelet.conf", {"server": wanted[0]})


KUBELET_CONF_ELSEWHERE = Rule(
    "kubelet-conf-elsewhere",
    title="The node's kubelet reports to another server",
    looks="The node turns NotReady after the kubelet restarts, as after a move of the control plane's endpoint.",
    proof=kubelet_elsewhere,
    remedy="set `server: {server}` in {target} of {host}, then systemctl restart kubelet",
    before=("api-unreachable", "kubelet-crash-looping", *NODE),
    repair="set_server",
    safe=True,
)
