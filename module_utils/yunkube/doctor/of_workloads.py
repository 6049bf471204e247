"""Faults of nodes and pods as the API reports them; at the end, the symptoms that need a cause."""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts, Json
from ansible.module_utils.yunkube.doctor.fault import BY_HAND, PODS, Fault, Hit
from ansible.module_utils.yunkube.doctor.of_network import BAD, WAIT, troubled

BROKEN = ("pod-not-ready", "user-pod-broken")
PULLING = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError")
REFUSED = re.compile(r"unauthorized|authoriz|authentication|401|403|denied", re.IGNORECASE)
UNTRUSTED = re.compile(r"x509|certificate|tls: |HTTP response to HTTPS", re.IGNORECASE)
UNREACHED = re.compile(
    r"dial tcp|no such host|i/o timeout|connection refused|no route|unreachable|deadline|server misbehaving",
    re.IGNORECASE,
)
RESERVED = ("node-role.kubernetes.io/", "node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
LOOPBACK = ("127.", "::1")


def place(pod: Json) -> str:
    """Return namespace/name."""
    return f"{pod['namespace']}/{pod['name']}"


def pod_hit(facts: Facts, pod: Json, evidence: list[str], **arguments: t.Any) -> Hit:
    """Return a hit at a pod; one of a user's is the user's."""
    host = next((host.host for host in facts.hosts if host.name == pod["node"]), pod["node"])
    return Hit(host, evidence, place(pod), arguments, "" if pod["system"] else "workload")


def pull_fails(facts: Facts, kind: str) -> t.Iterator[Hit]:
    """Return the pods whose image cannot be had for one kind of reason."""
    for pod in facts.cluster.pods:
        if pod["reason"] in PULLING and not pod["leaving"]:
            said = " ".join([pod["message"], *pod["warnings"]])
            if pull_reason(pod["reason"], said) == kind:
                longest = max([pod["message"], *pod["warnings"]], key=len)
                yield pod_hit(facts, pod, [f"{place(pod)}: {pod['reason']}", longest], image=pod["images"][0])


def pull_reason(reason: str, said: str) -> str:
    """Tell apart why an image cannot be had."""
    if reason in ("InvalidImageName", "ErrImageNeverPull"):
        return "name"
    for kind, pattern in (("tls", UNTRUSTED), ("unreachable", UNREACHED), ("access", REFUSED)):
        if pattern.search(said):
            return kind
    return "name"


def dns_loop(facts: Facts) -> t.Iterator[Hit]:
    """CoreDNS pods that are handed themselves as a server."""
    for host in facts.reached:
        loops = [server for server in host.nameservers if server.startswith(LOOPBACK)]
        pods = [pod for pod in facts.pods_on(host.name, "kube-system", "coredns") if pod["problem"]]
        said = [line for one in host.containers or [] if one["name"] == "coredns" for line in one["last"]]
        told = [line for line in said if "Loop" in line]
        if any(not pod["leaving"] for pod in pods) and (loops or told):
            evidence = [f"{host.host}'s resolv.conf names {', '.join(loops) or 'no loopback'}"]
            yield Hit(host.host, [*evidence, *(f"{place(pod)}: {pod['problem']}" for pod in pods), *told[-1:]])


def dns_off(facts: Facts) -> t.Iterator[Hit]:
    """A CoreDNS that is told to run nowhere."""
    found = facts.cluster.workloads.get("coredns", {})
    if found.get("there") and found["replicas"] == 0:
        yield Hit("", ["Deployment kube-system/coredns has 0 replicas"], "kube-system/coredns", {"replicas": 2})


def workload_missing(facts: Facts) -> t.Iterator[Hit]:
    """Workloads of the cluster's own that somebody deleted."""
    for name, found in facts.cluster.workloads.items():
        if not found["there"]:
            yield Hit("", [f"the API knows no {name}"], name)


def cordoned(facts: Facts) -> t.Iterator[Hit]:
    """Nodes that take no pods, and are not being removed."""
    for node in facts.cluster.nodes:
        if node["cordoned"] and not node["removing"]:
            yield Hit(node["name"], [f"node {node['name']}: unschedulable"], node["name"], {"node": node["name"]})


def unplaced(facts: Facts, words: str) -> t.Iterator[tuple[Json, str]]:
    """Return the pods that are placed nowhere for a reason."""
    for pod in facts.cluster.pods:
        if words in pod["unplaced"] and pod["age"] > 5:
            yield pod, pod["unplaced"]


def no_room(facts: Facts) -> t.Iterator[Hit]:
    """Pods for which no node has enough left."""
    for pod, said in unplaced(facts, "Insufficient "):
        yield pod_hit(facts, pod, [f"{place(pod)}: {said}"])


def tainted(facts: Facts) -> t.Iterator[Hit]:
    """Pods that are kept off by somebody's taint."""
    strange = {
        node["name"]: [taint for taint in node["taints"] if not taint.startswith(RESERVED)]
        for node in facts.cluster.nodes
    }
    named = [f"node {name}: {', '.join(taints)}" for name, taints in strange.items() if taints]
    for pod, said in unplaced(facts, "untolerated taint") if named else ():
        yield pod_hit(facts, pod, [f"{place(pod)}: {said}", *named[:3]])


def port_taken(facts: Facts) -> t.Iterator[Hit]:
    """Node ports that a program of the host's listens on."""
    for host in facts.reached:
        for service in facts.cluster.node_ports:
            owner = host.listeners.get(str(service["port"]))
            if owner is not None and owner != "kube-proxy" and service["protocol"] == "TCP":
                evidence = f"{owner or 'a program'} listens on {service['port']}, {service['service']}'s node port"
                yield Hit(host.host, [evidence], str(service["port"]))


def pressure(facts: Facts) -> t.Iterator[Hit]:
    """Nodes that say that they run out of something."""
    for node in facts.cluster.nodes:
        if node["pressure"]:
            yield Hit(node["name"], [f"node {node['name']}: {', '.join(node['pressure'])}"], node["name"])


def node_not_ready(facts: Facts) -> t.Iterator[Hit]:
    """Nodes that are not ready, or not there."""
    known = {node["name"]: node for node in facts.cluster.nodes}
    hosts = {host.name: host.host for host in facts.hosts}
    for name in dict.fromkeys([*hosts, *known] if facts.cluster.answers else []):
        node = known.get(name)
        if node is None or not node["ready"]:
            said = node["reason"] or "its kubelet has not reported yet" if node else "not in the cluster"
            yield Hit(hosts.get(name, name), [f"node {name}: {said}"], name)


def dns_not_ready(facts: Facts) -> t.Iterator[Hit]:
    """A cluster without anybody who resolves its names."""
    pods = [pod for pod in facts.cluster.pods if pod["name"].startswith("coredns-")]
    fresh = any(pod["age"] < WAIT and pod["reason"] not in BAD for pod in pods)
    if facts.cluster.answers and facts.cluster.dns_endpoints == 0 and not fresh:
        yield Hit("", ["Service kube-system/kube-dns has no endpoints that are ready"], "kube-system/kube-dns")


def workload_problem(facts: Facts) -> t.Iterator[Hit]:
    """Workloads that are not rolled out although none of their pods says why."""
    own = [pod for pod in facts.cluster.pods if pod["system"]]
    waiting = any(pod["problem"] or pod["leaving"] or pod["age"] < WAIT for pod in own)
    for name, found in facts.cluster.workloads.items():
        if found["there"] and "current version" not in found["problem"] and found["problem"] and not waiting:
            yield Hit("", [f"{name}: {found['problem']}"], name)


def pods_not_ready(facts: Facts, *, system: bool) -> t.Iterator[Hit]:
    """Return the pods that do not run, the cluster's own or the users'."""
    for pod in facts.cluster.pods:
        stuck = any("FailedCreatePodSandBox" in line for line in pod["warnings"]) and pod["age"] > 5
        if pod["system"] == system and (troubled(pod) or (stuck and pod["problem"] and not pod["leaving"])):
            yield pod_hit(facts, pod, [f"{place(pod)}: {pod['problem']}", *pod["warnings"][-2:]])


PULL = "https://kubernetes.io/docs/concepts/containers/images/"

FAULTS = (
    Fault(
        "cluster-workload-missing",
        "A core component of the cluster was deleted",
        "kube-proxy, CoreDNS or flannel is not among the cluster's workloads.",
        workload_missing,
        "flannel: {command}; CoreDNS and kube-proxy: on a master, kubeadm init phase addon coredns or "
        f"kube-proxy {BY_HAND}",
        call="up",
        severity="critical",
        explains=("kube-proxy-down", "flannel-not-ready", "subnet-env-missing", "cni-config-missing", *PODS),
        scope="all",
    ),
    Fault(
        "node-cordoned",
        "The node is cordoned",
        "It accepts no new pods; usually left over from maintenance.",
        cordoned,
        "{command}",
        call="kubectl -- uncordon {target}",
        severity="warning",
        explains=PODS,
        scope="all",
        repair="uncordon",
        on_master=True,
        link="https://kubernetes.io/docs/tasks/administer-cluster/safely-drain-node/",
    ),
    Fault(
        "node-pressure",
        "The node runs out of memory, disk or processes",
        "Pods are evicted, and new ones go elsewhere.",
        pressure,
        "find what uses it: {command}",
        call="kubectl -- describe node {target}",
        explains=PODS,
        link="https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/",
    ),
    Fault(
        "pod-without-room",
        "No node has room for the pod",
        "The pod stays Pending: `Insufficient cpu` or `Insufficient memory`.",
        no_room,
        "add a host, or lower the requests of {target}",
        explains=BROKEN,
        scope="target",
        link="https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/",
    ),
    Fault(
        "node-tainted",
        "A taint keeps the pod off",
        "The pod stays Pending: `had untolerated taint`.",
        tainted,
        "remove the taint (kubectl taint nodes NODE KEY-), or add a toleration to {target}",
        explains=BROKEN,
        scope="target",
        link="https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/",
    ),
    Fault(
        "image-registry-tls",
        "The registry's certificate is not trusted",
        "The image is not pulled: `x509: certificate signed by unknown authority`.",
        lambda facts: pull_fails(facts, "tls"),
        "put the registry's CA into /etc/containerd/certs.d/REGISTRY/hosts.toml on {host}; do not skip the check",
        explains=BROKEN,
        scope="target",
        link="https://github.com/containerd/containerd/blob/main/docs/hosts.md",
    ),
    Fault(
        "image-registry-unreachable",
        "The registry is unreachable",
        "The image is not pulled: `dial tcp`, `no such host` or `i/o timeout`.",
        lambda facts: pull_fails(facts, "unreachable"),
        "check from {host} that the registry answers; without internet, name a mirror or import the image with ctr",
        explains=BROKEN,
        scope="target",
        link=PULL,
    ),
    Fault(
        "image-access-denied",
        "The registry denies the node access",
        "The image is not pulled: `unauthorized` or `denied`.",
        lambda facts: pull_fails(facts, "access"),
        "give {target} an imagePullSecret for the registry",
        explains=BROKEN,
        scope="target",
        link="https://kubernetes.io/docs/tasks/configure-pod-container/pull-image-private-registry/",
    ),
    Fault(
        "image-name-wrong",
        "The image does not exist",
        "The image is not pulled: `not found`, or its name is invalid.",
        lambda facts: pull_fails(facts, "name"),
        "correct the image of {target}: {image}",
        explains=BROKEN,
        scope="target",
        link=PULL,
    ),
    Fault(
        "dns-loop",
        "CoreDNS forwards to itself (loop)",
        "CoreDNS exits with `Loop … detected`: the host's resolv.conf names a loopback address.",
        dns_loop,
        "name a real server in {host}'s resolv.conf, or set resolvConf of its kubelet to one that does "
        "(/run/systemd/resolve/resolv.conf), then delete the CoreDNS pods",
        explains=PODS,
        link="https://coredns.io/plugins/loop/#troubleshooting",
    ),
    Fault(
        "dns-scaled-to-zero",
        "CoreDNS is scaled to zero",
        "No cluster name resolves.",
        dns_off,
        "{command}",
        call="kubectl -- -n kube-system scale deployment coredns --replicas 2",
        severity="critical",
        explains=("dns-not-ready", "workload-not-rolled-out"),
        repair="scale_dns",
        safe=True,
        weight=4,
        on_master=True,
    ),
    Fault(
        "node-port-taken",
        "A program on the host listens on a node port",
        "The Service answers on other nodes; on this one, the program answers or nothing does.",
        port_taken,
        "stop the program on {host}, or give the Service another nodePort than {target}",
        severity="warning",
        link="https://kubernetes.io/docs/concepts/services-networking/service/#type-nodeport",
    ),
)

SYMPTOMS = (
    Fault(
        "node-not-ready",
        "The node is not ready",
        "`get nodes` shows NotReady, or does not list it.",
        node_not_ready,
        "see {command}",
        call="kubectl -- describe node {target}",
        explains=PODS,
        generic=True,
    ),
    Fault(
        "dns-not-ready",
        "Cluster DNS has no ready endpoints",
        "Service kube-dns has no endpoints.",
        dns_not_ready,
        "see {command}",
        call="kubectl -- -n kube-system describe pods -l k8s-app=kube-dns",
        generic=True,
    ),
    Fault(
        "pod-not-ready",
        "A system pod is not running",
        "`get pods -A` shows it in a state other than Running.",
        lambda facts: pods_not_ready(facts, system=True),
        "see {command} of {target}",
        call="kubectl -- describe pod",
        explains=("dns-not-ready", "workload-not-rolled-out"),
        generic=True,
    ),
    Fault(
        "workload-not-rolled-out",
        "A system workload is not rolled out",
        "Fewer pods than desired, and no pod shows why.",
        workload_problem,
        "see {command}",
        call="kubectl -- get all -A",
        generic=True,
    ),
    Fault(
        "user-pod-broken",
        "A workload pod is not running",
        "`get pods` shows it in a state other than Running; the cluster is not the cause.",
        lambda facts: pods_not_ready(facts, system=False),
        "check {command} of {target}, and its logs",
        call="kubectl -- describe pod",
        severity="workload",
    ),
)
