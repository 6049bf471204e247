# SPDX-License-Identifier: Apache-2.0
"""Objects of the cluster: those that `up` and kubeadm declare, CoreDNS's configuration, and leftovers."""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.yunkube.doctor.collect_cluster import SYSTEM
from ansible.module_utils.yunkube.doctor.facts import Facts, Json
from ansible.module_utils.yunkube.doctor.rule import BY_HAND, Hit, Rule
from ansible.module_utils.yunkube.doctor.rules import flannel
from ansible.module_utils.yunkube.doctor.rules.consequences import FLANNEL, NODE, PODS, PULLS, SERVICES
from ansible.module_utils.yunkube.doctor.rules.pods import place, troubled
from ansible.module_utils.yunkube.doctor.rules.services import proxy_down
from ansible.module_utils.yunkube.doctor.rules.symptoms import dns_not_ready

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
            yield Hit("", _difference(one) if there else [f"{one['name']} is missing"], one["name"], arguments)


def _difference(one: Json) -> list[str]:
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


def addon_objects(facts: Facts) -> t.Iterator[Hit]:
    """Objects of CoreDNS and kube-proxy that are gone or do not grant what they are for."""
    for one in facts.cluster.missing:
        if one["addon"]:
            yield Hit("", [f"{one['name']} {one['problem']}"], one["name"], restored(facts, one["name"], one["addon"]))


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


def proxy_fails(facts: Facts) -> bool:
    """Say whether kube-proxy fails on a host whose node is ready."""
    return any(facts.cluster.node(hit.host.lower()).get("ready") for hit in proxy_down(facts))


def dns_fails(facts: Facts) -> bool:
    """Say whether CoreDNS has no pod that answers, or one that fails on a node that is ready, or that finds none."""
    pods = [pod for pod in facts.cluster.pods if pod["name"].startswith("coredns-") and troubled(pod)]
    known = {node["name"] for node in facts.cluster.nodes if node["ready"]} | {""}
    return any(pod["node"] in known for pod in pods) or any(True for _ in dns_not_ready(facts))


# What people may change, as long as it works: a mode, resources, where pods run.
ALLOWED = {
    "DaemonSet kube-system/kube-proxy": ("kube-proxy", proxy_fails),
    "ConfigMap kube-system/kube-proxy": ("kube-proxy", proxy_fails),
    "Deployment kube-system/coredns": ("coredns", dns_fails),
}


def addon_changed(facts: Facts) -> t.Iterator[Hit]:
    """Objects of CoreDNS and kube-proxy that are not as kubeadm declares them; most only where something fails."""
    for one in facts.cluster.changed:
        addon, fails = ALLOWED.get(one["name"], ("coredns", None))
        if fails is None or fails(facts):
            yield Hit("", _difference(one), one["name"], restored(facts, one["name"], addon))


ADDON_OBJECT_CHANGED = Rule(
    "addon-object-changed",
    title="An object of CoreDNS or kube-proxy was changed, and they fail",
    looks="CoreDNS or kube-proxy fails on hosts, or names do not resolve. What was changed and works is not reported, "
    "but for Service kube-dns.",
    proof=addon_changed,
    remedy=f"on a master: kubeadm init phase addon {{addon}} {BY_HAND}",
    severity="critical",
    before=(
        *("pod-creation-refused", "corefile-broken", "kube-proxy-down", "pod-reference-missing", "pod-without-room"),
        *("node-selector-unmatched", "host-port-conflict", "bundle-image-missing", *PULLS, *FLANNEL, *NODE, *SERVICES),
    ),
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
