# SPDX-License-Identifier: Apache-2.0
"""As doctor_changes.py: objects, keys, files and settings that somebody changed."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from data_plane_changes import CHANGES
from doctor_record import break_pod, changes, container, master, node, not_ready, silent, stuck, users

__all__ = ["CHANGES", "declared"]

COREFILE = "/etc/coredns/Corefile:1 - Syntax error: Unexpected token '{', expecting '}'"
HOOK = 'Error creating: Internal error occurred: failed calling webhook "policy.example.com": failed to call webhook'


@changes("file-system-read-only")
def _read_only(facts: Facts) -> None:
    node(facts).read_only = ["/var/lib/kubelet"]
    said = "FailedMount: mkdir /var/lib/kubelet/pods/x: read-only file system"
    users(facts, problem="container web waits: ContainerCreating", reason="ContainerCreating", warnings=[said])


@changes("sysctl-not-kept")
def _sysctl(facts: Facts) -> None:
    node(facts).boot_sysctls = {"net.ipv4.ip_forward": {"value": "0", "file": "/etc/sysctl.d/99-z.conf"}}


@changes("unit-not-reloaded")
def _reload(facts: Facts) -> None:
    node(facts).units["kubelet"]["NeedDaemonReload"] = "yes"


@changes("hostname-changed")
def _hostname(facts: Facts) -> None:
    node(facts).hostname = "other"
    not_ready(facts)


@changes("proxy-in-the-way")
def _proxy(facts: Facts) -> None:
    node(facts).proxied = {"kubelet": "proxy.example.com"}
    not_ready(facts)


@changes("iptables-modes-mixed")
def _modes(facts: Facts) -> None:
    node(facts).kube_chains = {"iptables-nft": 3, "iptables-legacy": 1}


@changes("nameserver-silent")
def _resolver(facts: Facts) -> None:
    master(facts).resolvers = {"10.0.0.2": "ok"}
    node(facts).resolvers = {"10.0.0.3": "no answer in 1 s"}


@changes("cluster-port-taken")
def _port(facts: Facts) -> None:
    node(facts).listeners["10250"] = "python3"
    node(facts).units["kubelet"].update(ActiveState="activating", SubState="auto-restart", NRestarts="9")


@changes("cri-disabled")
def _cri(facts: Facts) -> None:
    node(facts).runtime["disabled"] = ["cri"]
    node(facts).socket = False


@changes("static-pod-doubled")
def _stray(facts: Facts) -> None:
    master(facts).strays = {"/etc/kubernetes/manifests/etcd.yaml.bak": "etcd"}
    master(facts).probes["etcd"] = "Connection refused"
    container(master(facts), "etcd")


@changes("node-cidrs-off")
def _ranges(facts: Facts) -> None:
    master(facts).options["allocate-node-cidrs"] = "false"


@changes("service-account-keys-differ")
def _service_account(facts: Facts) -> None:
    master(facts).service_account = {"sa.pub": "aaaa", "sa.key": "bbbb"}
    facts.cluster.dns_endpoints = 0


@changes("node-certificate-missing")
def _client(facts: Facts) -> None:
    node(facts).client = {"wanted": True, "there": False, "others": ["kubelet-client-2026.pem"]}
    node(facts).units["kubelet"].update(ActiveState="activating", SubState="auto-restart", NRestarts="9")


@changes("key-readable")
def _open(facts: Facts) -> None:
    master(facts).open_keys = {"/etc/kubernetes/pki/sa.key": "0644"}


@changes("pki-file-missing")
def _pki(facts: Facts) -> None:
    master(facts).missing_keys = ["/etc/kubernetes/pki/front-proxy-client.key"]


@changes("kubeconfig-elsewhere")
def _admin(facts: Facts) -> None:
    silent(facts, "https://10.0.0.9:6443 does not answer: timed out")
    for host in facts.hosts:
        host.probes["api"] = "ok"
    master(facts).probes["kube-apiserver"] = "ok"
    master(facts).servers = {"/etc/kubernetes/admin.conf": "https://10.0.0.9:6443"}


@changes("kubelet-conf-elsewhere")
def _kubelet(facts: Facts) -> None:
    master(facts).servers = {"/etc/kubernetes/admin.conf": node(facts).server}
    node(facts).server = "https://10.0.0.9:6443"
    node(facts).probes["api"] = "https://10.0.0.9:6443: Connection refused"
    not_ready(facts)


@changes("corefile-broken")
def _corefile(facts: Facts) -> None:
    pod = next(pod for pod in facts.cluster.pods if pod["name"].startswith("coredns"))
    where = next(host for host in facts.hosts if host.host == pod["node"])
    container(where, "coredns", pod=pod["name"], last=[COREFILE])
    break_pod(facts, "coredns", pod["node"], "CrashLoopBackOff")
    facts.cluster.dns_endpoints = 0


@changes("nameserver-missing")
def _no_server(facts: Facts) -> None:
    pod = next(pod for pod in facts.cluster.pods if pod["name"].startswith("coredns"))
    where = next(host for host in facts.hosts if host.host == pod["node"])
    where.nameservers = []
    container(where, "coredns", pod=pod["name"], last=["plugin/forward: no valid upstream addresses found"])
    break_pod(facts, "coredns", pod["node"], "CrashLoopBackOff")
    facts.cluster.dns_endpoints = 0


def declared(name: str, *, there: bool, field: str = "rules", is_: str = "[]") -> dict[str, t.Any]:
    """Return an object of `up` that is not as it should be."""
    fields = {field: f"{field} is {is_}, declared is nothing"} if there else {}
    kind, _, place = name.partition(" ")
    metadata = dict(zip(("name", "namespace"), place.split("/")[::-1], strict=False))
    manifest = {"kind": kind, "metadata": metadata}
    return {"name": name, "there": there, "fields": [*fields], "said": [*fields.values()], "manifest": manifest}


@changes("declared-object-missing")
def _declared(facts: Facts) -> None:
    facts.cluster.declared = [declared("ClusterRoleBinding flannel", there=False)]
    break_pod(facts, "kube-flannel", "node1", "CrashLoopBackOff")


@changes("declared-object-changed")
def _changed(facts: Facts) -> None:
    facts.cluster.declared = [declared("ClusterRole flannel", there=True)]
    break_pod(facts, "kube-flannel", "node1", "CrashLoopBackOff")


@changes("addon-object-wrong")
def _addon(facts: Facts) -> None:
    name = "ClusterRole system:coredns"
    facts.cluster.missing = [{"name": name, "addon": "coredns", "problem": "is missing", "there": False}]
    facts.cluster.dns_endpoints = 0


@changes("addon-object-changed")
def _addon_changed(facts: Facts) -> None:
    facts.cluster.changed = [declared("Service kube-system/kube-dns", there=True)]
    facts.cluster.dns_endpoints = 0


@changes("coredns-differs")
def _addon_differs(facts: Facts) -> None:
    field = "spec.template.spec.containers[coredns].resources.limits.memory"
    facts.cluster.changed = [declared("Deployment kube-system/coredns", there=True, field=field, is_="340Mi")]
    pod = next(pod for pod in facts.cluster.pods if pod["name"].startswith("coredns"))
    break_pod(facts, "coredns", pod["node"], "CrashLoopBackOff")


@changes("kube-proxy-differs")
def _proxy_differs(facts: Facts) -> None:
    one = declared("ConfigMap kube-system/kube-proxy", there=True, field="data.config.conf", is_="mode: nftables")
    facts.cluster.changed = [one]
    said = "kernel 4.19 is too old for mode nftables"
    pod = break_pod(facts, "kube-proxy", "node1", "CrashLoopBackOff")
    container(node(facts), "kube-proxy", pod=pod["name"], last=[said])
    node(facts).probes["kube-proxy"] = "Connection refused"


@changes("addon-missing")
def _registry(facts: Facts) -> None:
    facts.cluster.addons = ["Deployment registry/registry"]


@changes("join-object-missing")
def _join(facts: Facts) -> None:
    name = "ConfigMap kube-public/cluster-info"
    facts.cluster.missing = [{"name": name, "addon": "", "problem": "is missing", "there": False}]


def refused(message: str, **more: str) -> dict[str, t.Any]:
    """Return a workload that lacks a pod."""
    place = {"kind": "Deployment", "namespace": "kube-system", "name": "coredns", **more}
    return {**place, "lacks": 1, "message": message}


@changes("webhook-refuses-pods")
def _webhook(facts: Facts) -> None:
    known = {"configuration": "policy", "kind": "validatingwebhookconfigurations", "path": "/apis/x/policy"}
    facts.cluster.webhooks = {"policy.example.com": known}
    facts.cluster.refused = [refused(HOOK)]
    facts.cluster.dns_endpoints = 0


@changes("rollout-backs-off")
def _backs_off(facts: Facts) -> None:
    facts.cluster.refused = [refused(HOOK)]
    facts.cluster.dns_endpoints = 0


@changes("pod-creation-refused")
def _quota(facts: Facts) -> None:
    facts.cluster.refused = [refused('Error creating: pods "x" is forbidden: exceeded quota: none')]
    facts.cluster.dns_endpoints = 0


def unplaced(facts: Facts, said: str) -> None:
    """Let a user's pod be placed nowhere."""
    users(facts, unplaced=said, problem=f"not placed on a node: {said}", node="")


@changes("volume-not-bound")
def _volume(facts: Facts) -> None:
    unplaced(facts, "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims")


@changes("node-selector-unmatched")
def _selector(facts: Facts) -> None:
    unplaced(facts, "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector")


@changes("host-port-conflict")
def _host_port(facts: Facts) -> None:
    unplaced(facts, "0/2 nodes are available: 1 node(s) didn't have free ports for the requested pod ports")


@changes("pod-reference-missing")
def _reference(facts: Facts) -> None:
    words = {"reason": "CreateContainerConfigError", "message": 'configmap "nowhere" not found'}
    users(facts, problem="container web waits: CreateContainerConfigError", age=60.0, **words)


@changes("pod-kept-by-finalizer")
def _finalizer(facts: Facts) -> None:
    users(facts, leaving=True, left=40.0, finalizers=["example.com/hold"], problem="not ready")


@changes("api-service-unavailable")
def _api_service(facts: Facts) -> None:
    gone = {"name": "v1.gone.example.com", "service": "default/gone", "problem": "ServiceNotFound: it is not there"}
    facts.cluster.api_services = [{**gone, "seconds": 40.0}]


@changes("namespace-stuck")
def _namespace(facts: Facts) -> None:
    waits = ["Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"]
    facts.cluster.stuck_namespaces = [{"name": "stuck", "seconds": 60.0, "waits": waits}]


@changes("node-left-behind")
def _ghost(facts: Facts) -> None:
    ghost = {**facts.cluster.node("node1"), "name": "ghost", "ready": False, "reason": "NodeStatusNeverUpdated"}
    facts.cluster.nodes.append({**ghost, "pod_cidr": "10.244.9.0/24"})


@changes("cni-config-foreign")
def _foreign(facts: Facts) -> None:
    other = {"05-other.conf": {"problem": "", "plugins": ["loopback", "bridge"]}}
    node(facts).cni = other | node(facts).cni


@changes("pod-addresses-exhausted")
def _addresses(facts: Facts) -> None:
    node(facts).addresses = {"folder": "/var/lib/cni/networks/cbr0", "taken": 253}
    stuck(facts, "no IP addresses available in range set: 10.244.1.1-10.244.1.254")


@changes("pod-network-overlaps")
def _overlap(facts: Facts) -> None:
    node(facts).routes.append({"dst": "10.244.200.0/24", "dev": "tun0", "flags": []})


@changes("pod-cidr-doubled")
def _doubled(facts: Facts) -> None:
    facts.cluster.node("node1")["pod_cidr"] = facts.cluster.node("master1")["pod_cidr"]


@changes("flannel-address-wrong")
def _public_ip(facts: Facts) -> None:
    facts.cluster.node("node1")["public_ip"] = "10.92.0.99"


@changes("flannel-mac-wrong")
def _mac(facts: Facts) -> None:
    facts.cluster.node("node1")["vtep"] = "02:00:00:00:00:99"
    node(facts).links["flannel.1"]["mac"] = "02:00:00:00:00:01"


@changes("etcd-fragmented")
def _holes(facts: Facts) -> None:
    master(facts).etcd |= {"size": 1900.0 * 2**20, "used": 200.0 * 2**20, "quota": 2048.0 * 2**20}


@changes("etcd-nearly-full")
def _data(facts: Facts) -> None:
    master(facts).etcd |= {"size": 1900.0 * 2**20, "used": 1800.0 * 2**20, "quota": 2048.0 * 2**20}


@changes("backup-failed")
def _unsaved(facts: Facts) -> None:
    master(facts).backup = {"timer": "active", "enabled": "enabled", "result": "exit-code", "said": "no space"}


@changes("backup-timer-stopped")
def _unscheduled(facts: Facts) -> None:
    master(facts).backup = {"timer": "inactive", "enabled": "enabled", "result": "success"}
