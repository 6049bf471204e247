# SPDX-License-Identifier: Apache-2.0
"""What the API reports of nodes, pods and workloads that do not work; most have a cause in another file."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import PODS
from ansible.module_utils.yunkube.doctor.rules.pods import BAD, WAIT, place, pod_hit, troubled


def node_not_ready(facts: Facts) -> t.Iterator[Hit]:
    """Nodes that are not ready, or not there."""
    known = {node["name"]: node for node in facts.cluster.nodes}
    hosts = {host.name: host.host for host in facts.hosts}
    for name in dict.fromkeys([*hosts, *known] if facts.cluster.answers else []):
        node = known.get(name)
        if node is None or not node["ready"]:
            said = node["reason"] or "its kubelet has not reported yet" if node else "not in the cluster"
            yield Hit(hosts.get(name, name), [f"node {name}: {said}"], name)


NODE_NOT_READY = Rule(
    "node-not-ready",
    title="The node is not ready",
    looks="`get nodes` shows NotReady, or does not list it.",
    proof=node_not_ready,
    remedy="see {command}",
    call="kubectl -- describe node {target}",
    before=PODS,
    symptom=True,
)


def dns_not_ready(facts: Facts) -> t.Iterator[Hit]:
    """A cluster without a ready DNS pod."""
    pods = [pod for pod in facts.cluster.pods if pod["name"].startswith("coredns-")]
    fresh = any(pod["age"] < WAIT and pod["reason"] not in BAD for pod in pods)
    wanted = facts.cluster.answers and "coredns" not in facts.cluster.disabled
    if wanted and facts.cluster.dns_endpoints == 0 and not fresh:
        yield Hit("", ["Service kube-system/kube-dns has no endpoints that are ready"], "kube-system/kube-dns")


DNS_NOT_READY = Rule(
    "dns-not-ready",
    title="Cluster DNS has no ready endpoints",
    looks="Service kube-dns has no endpoints.",
    proof=dns_not_ready,
    remedy="see {command}",
    call="kubectl -- -n kube-system describe pods -l k8s-app=kube-dns",
    symptom=True,
)


def pods_not_ready(facts: Facts, *, system: bool) -> t.Iterator[Hit]:
    """Return the pods that do not run, the cluster's own or the users'."""
    for pod in facts.cluster.pods:
        stuck = any("FailedCreatePodSandBox" in line for line in pod["warnings"]) and pod["age"] > 5
        if pod["system"] == system and (troubled(pod) or (stuck and pod["problem"] and not pod["leaving"])):
            yield pod_hit(facts, pod, [f"{place(pod)}: {pod['problem']}", *pod["warnings"][-2:]])


POD_NOT_READY = Rule(
    "pod-not-ready",
    title="A system pod is not running",
    looks="`get pods -A` shows it in a state other than Running.",
    proof=lambda facts: pods_not_ready(facts, system=True),
    remedy="see {command} of {target}",
    call="kubectl -- describe pod",
    before=("workload-not-rolled-out",),
    symptom=True,
)


def workload_problem(facts: Facts) -> t.Iterator[Hit]:
    """Workloads that are not rolled out although none of their pods says why."""
    own = [pod for pod in facts.cluster.pods if pod["system"]]
    waiting = any(pod["problem"] or pod["leaving"] or pod["age"] < WAIT for pod in own)
    for name, found in facts.cluster.workloads.items():
        if found["there"] and "current version" not in found["problem"] and found["problem"] and not waiting:
            yield Hit("", [f"{name}: {found['problem']}"], name)


WORKLOAD_NOT_ROLLED_OUT = Rule(
    "workload-not-rolled-out",
    title="A system workload is not rolled out",
    looks="Fewer pods than desired, and no pod shows why.",
    proof=workload_problem,
    remedy="see {command}",
    call="kubectl -- get all -A",
    symptom=True,
)


USER_POD_BROKEN = Rule(
    "user-pod-broken",
    title="A workload pod is not running",
    looks="`get pods` shows it in a state other than Running; the cluster is not the cause.",
    proof=lambda facts: pods_not_ready(facts, system=False),
    remedy="check {command} of {target}, and its logs",
    call="kubectl -- describe pod",
    severity="workload",
)
