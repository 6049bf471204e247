# SPDX-License-Identifier: Apache-2.0
"""Objects of the cluster: those that `up` and kubeadm declare, CoreDNS's configuration, and leftovers."""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.yunkube.doctor.collect_cluster import SYSTEM
from ansible.module_utils.yunkube.doctor.facts import Facts, Json
from ansible.module_utils.yunkube.doctor.rule import BY_HAND, Hit, Rule
from ansible.module_utils.yunkube.doctor.rules import flannel
from ansible.module_utils.yunkube.doctor.rules.consequences import FLANNEL, NODE, PODS
from ansible.module_utils.yunkube.doctor.rules.pods import place

WORKLOADS = ("DaemonSet", "Deployment")
COMPLAINT = re.compile(r"Corefile|[Pp]ars(?:e|ing)|plugin/|Unknown directive|not a valid")
OTHER_VERSION = re.compile(r"\.image$|ontainers(\[[^]]*\])?$")  # fields of containers
SHOWN = 3  # fields of an object
PATIENCE = 10  # seconds that a deletion may take
STARTING = 30  # seconds that the pods behind a part of the API may take to start, or to be replaced
SLOW_DELETION = 300  # seconds: until then pods may take their time to end


def _declared(facts: Facts, *, there: bool) -> t.Iterator[Hit]:
    for one in facts.cluster.declared:
        workload = one["name"].startswith(WORKLOADS) and not one["there"]  # cluster-workload-missing says so
        network = one["name"].endswith("/kube-flannel-cfg") and net_differs(facts)
        if one["there"] == there and not workload and not network:
            arguments: dict[str, t.Any] = {"manifests": [one["manifest"]]}
            if any(OTHER_VERSION.search(field) for field in one["fields"]):
                arguments["undo"] = ""  # another version: its images come to hosts by `up` alone
            evidence = difference(one) if there else [f"{one['name']} is missing"]
            if without := namespace_missing(facts, one):
                evidence.append(without)
                arguments["undo"] = ""
            yield Hit("", evidence, one["name"], arguments, at=reach(facts, one))


def namespace_missing(facts: Facts, one: Json) -> str:
    """Say that an object's namespace is missing, without which it cannot be there."""
    name = f"Namespace {one['manifest']['metadata'].get('namespace')}"
    gone = any(other["name"] == name and not other["there"] for other in facts.cluster.declared)
    return f"{name}, which it is in, is missing as well" if gone else ""


def reach(facts: Facts, one: Json) -> tuple[str, ...]:
    """Return where a difference of one of our own objects may be what fails: at pods of its addon that do not run."""
    if one["there"] and all(field.startswith("metadata.") for field in one["fields"]):
        return (one["name"],)  # labels and annotations of ours, which nothing of the cluster reads
    own = next((name for name in ("dashboard", "registry") if name in one["name"]), "")
    if own:
        return (one["name"], *(place(pod) for pod in facts.cluster.pods if pod["namespace"] == own))
    without = [host.host for host in facts.reached if host.joined and not flannel_runs(facts, host.name)]
    return (one["name"], *without, "") if without else (one["name"],)


def flannel_runs(facts: Facts, node: str) -> bool:
    """Say whether a node has a pod of flannel's that has no problem."""
    return any(not pod["problem"] and not pod["leaving"] for pod in facts.pods_on(node, "kube-flannel", "kube-flannel"))


def difference(one: Json) -> list[str]:
    """Return how an object differs, its first fields."""
    more = [f"and {len(one['said']) - SHOWN} more fields"] if len(one["said"]) > SHOWN else []
    return [f"{one['name']} differs in {said}" for said in one["said"][:SHOWN]] + more


def net_differs(facts: Facts) -> bool:
    """Say whether flannel's network has a finding of its own."""
    return any(True for _ in flannel.net_conf(facts))


def object_missing(facts: Facts) -> t.Iterator[Hit]:
    """Objects that `up` applied and that are gone."""
    yield from _declared(facts, there=False)


DECLARED_OBJECT_MISSING = Rule(
    "declared-object-missing",
    title="An object that `up` declares is missing",
    looks="A role, a Service or a ConfigMap of flannel, the dashboard or the registry is gone; pods fail at their "
    "next start.",
    proof=object_missing,
    remedy="{command} applies {target} again",
    call="up",
    severity="critical",
    before=("net-conf-differs", "pod-creation-refused", *FLANNEL, *NODE),
    scope="all",
    repair="restore_objects",
    safe=True,
    on_master=True,
)


def object_changed(facts: Facts) -> t.Iterator[Hit]:
    """Objects of which a field that `up` declares is another one."""
    yield from _declared(facts, there=True)


DECLARED_OBJECT_CHANGED = Rule(
    "declared-object-changed",
    title="An object that `up` declares was changed",
    looks="flannel, the dashboard or the registry fails, or runs otherwise than the inventory says; the next `up` "
    "changes it back.",
    proof=object_changed,
    remedy="{command} applies {target} again (if a binding's roleRef differs, delete the binding first, as the API "
    "does not allow changing it); to keep the change, put it into the inventory",
    call="up",
    before=("net-conf-differs", "pod-creation-refused", *FLANNEL, *NODE),
    scope="all",
    repair="restore_objects",
    safe=True,
    on_master=True,
)


def restored(facts: Facts, name: str, addon: str) -> dict[str, t.Any]:
    """Return what a repair applies that restores an object of kubeadm; without its manifest there is no repair."""
    manifest = facts.cluster.printed.get(name)
    return {"addon": addon, **({"manifests": [manifest]} if manifest else {"undo": ""})}


def dns_places(facts: Facts) -> tuple[str, ...]:
    """Return what findings about CoreDNS are at: its pods, its Deployment, its Service."""
    pods = [place(pod) for pod in facts.cluster.pods if pod["name"].startswith("coredns-")]
    return ("coredns", "kube-system/coredns", "kube-system/kube-dns", *pods)


def addon_objects(facts: Facts) -> t.Iterator[Hit]:
    """Objects of CoreDNS and kube-proxy that are gone or do not grant what they are for."""
    for one in facts.cluster.missing:
        if one["addon"]:
            at = dns_places(facts) if one["addon"] == "coredns" else ()
            repair = restored(facts, one["name"], one["addon"])
            yield Hit("", [f"{one['name']} {one['problem']}"], one["name"], repair, at=at)


ADDON_OBJECT_WRONG = Rule(
    "addon-object-wrong",
    title="An object of CoreDNS or kube-proxy is missing or grants too little",
    looks="Their pods fail with `forbidden` or `not found` at their next start.",
    proof=addon_objects,
    remedy=f"on a master: kubeadm init phase addon {{addon}} {BY_HAND}",
    severity="critical",
    before=("pod-creation-refused", "corefile-broken", "kube-proxy-down", *FLANNEL, *NODE),
    scope="all",
    repair="restore_objects",
    safe=True,
    weight=3,
    on_master=True,
)


def join_objects(facts: Facts) -> t.Iterator[Hit]:
    """Objects without which no host joins."""
    for one in facts.cluster.missing:
        if not one["addon"]:
            yield Hit("", [f"{one['name']} {one['problem']}"], one["name"])


JOIN_OBJECT_MISSING = Rule(
    "join-object-missing",
    title="An object that a join needs is missing",
    looks="Nothing yet; `kubeadm join` and `kubeadm upgrade` fail with `not found` or `forbidden`.",
    proof=join_objects,
    remedy=f"on a master: kubeadm init phase upload-config all {BY_HAND}, then kubeadm init phase bootstrap-token with "
    "the same option; if kubeadm-config itself is lost, restore it from a backup",
    severity="warning",
)


def corefile(facts: Facts) -> t.Iterator[Hit]:
    """CoreDNS containers whose last words are about their configuration."""
    for host in facts.reached:
        for one in host.containers or []:
            if one["name"] == "coredns" and one["state"] != "running":
                said = [line for line in one["last"] if COMPLAINT.search(line) and "Loop" not in line]
                pods = [pod for pod in facts.cluster.pods if pod["name"] == one["pod"] and not pod["leaving"]]
                if said and pods and pods[0]["problem"]:
                    evidence = [f"CoreDNS says: {said[-1]}", f"{place(pods[0])}: {pods[0]['problem']}"]
                    yield Hit("", evidence, "kube-system/coredns", restored(facts, "ConfigMap kube-system/coredns", ""))
                    return


COREFILE_BROKEN = Rule(
    "corefile-broken",
    title="CoreDNS's configuration is broken",
    looks="CoreDNS exits, or keeps its old configuration: the last line of its log says which part is wrong.",
    proof=corefile,
    remedy="correct the Corefile, then delete the CoreDNS pods: {command}",
    call="kubectl -- -n kube-system edit configmap coredns",
    severity="critical",
    before=PODS,
    scope="all",
    repair="restore_corefile",
    weight=3,
    on_master=True,
    link="https://kubernetes.io/docs/tasks/administer-cluster/dns-custom-nameservers/",
)


def api_service(facts: Facts) -> t.Iterator[Hit]:
    """Parts of the API that pods of the cluster should serve, and have not served for a while."""
    for one in facts.cluster.api_services:
        if one["seconds"] > STARTING:
            served = f"it is to be served by {one['service']}, and has not been for {one['seconds']:.0f} s"
            ours = one["service"].partition("/")[0] in SYSTEM
            severity = "" if ours else "warning"  # whoever's it is, namespaces cannot be deleted meanwhile
            yield Hit("", [f"APIService {one['name']}: {one['problem']}", served], one["name"], severity=severity)


API_SERVICE_UNAVAILABLE = Rule(
    "api-service-unavailable",
    title="An aggregated API (APIService) is not available",
    looks="`kubectl top` or an operator's objects fail; namespaces that are deleted stay Terminating.",
    proof=api_service,
    remedy="see the pods of its Service; when nothing needs it any more: {command}",
    call="kubectl -- delete apiservice {target}",
    before=("namespace-stuck",),
    scope="all",
    link="https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/",
)


def namespaces(facts: Facts) -> t.Iterator[Hit]:
    """Namespaces that wait for something before they go."""
    for one in facts.cluster.stuck_namespaces:
        held = [said for said in one["waits"] if not said.startswith("Some resources are remaining")]
        if one["waits"] and one["seconds"] > (PATIENCE if held else SLOW_DELETION):
            yield Hit("", [f"namespace {one['name']} is being deleted", *one["waits"][-2:]], one["name"])


NAMESPACE_STUCK = Rule(
    "namespace-stuck",
    title="A namespace stays Terminating",
    looks="Its deletion waits for objects with finalizers, or for a part of the API that does not answer.",
    proof=namespaces,
    remedy="let the controller of the finalizer that the evidence names do its work, or remove it from its objects",
    severity="warning",
    link="https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/",
)


def finalizers(facts: Facts) -> t.Iterator[Hit]:
    """Pods that have ended and are kept by a finalizer."""
    for pod in facts.cluster.pods:
        if pod["leaving"] and pod.get("finalizers") and pod.get("left", 0) > PATIENCE:
            evidence = f"{place(pod)}: deleted {pod['left']:.0f} s ago, kept by {', '.join(pod['finalizers'])}"
            named = {"namespace": pod["namespace"], "name": pod["name"]}
            severity = "" if pod["system"] else "workload"
            yield Hit(facts.host_of(pod["node"]), [evidence], place(pod), named, severity)


POD_KEPT_BY_FINALIZER = Rule(
    "pod-kept-by-finalizer",
    title="A finalizer keeps a deleted pod",
    looks="`get pods` shows Terminating forever.",
    proof=finalizers,
    remedy="let the finalizer's controller do its work, or remove the finalizer: {command}",
    call="kubectl -- -n {namespace} edit pod {name}",
    severity="warning",
    before=("pod-not-ready", "user-pod-broken"),
    scope="target",
    link="https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/",
)


def left_behind(facts: Facts) -> t.Iterator[Hit]:
    """Nodes that no host of the inventory is, and that do not report."""
    hosts = {host.name for host in facts.hosts}
    for node in facts.cluster.nodes:
        if node["name"] not in hosts and not node["ready"]:
            yield Hit(
                node["name"],
                [f"node {node['name']} is not in the inventory", node["reason"] or "never reported"],
                node["name"],
            )


NODE_LEFT_BEHIND = Rule(
    "node-left-behind",
    title="The cluster has a node that is no host of the inventory",
    looks="`get nodes` shows it NotReady forever, and DaemonSets wait for their pods on it.",
    proof=left_behind,
    remedy="add it to the inventory if the host exists; if it is gone for good: {command}",
    call="kubectl -- delete node {target}",
    severity="warning",
    before=("node-without-pod-cidr", *NODE),
)
