# SPDX-License-Identifier: Apache-2.0
"""Pods that no node accepts, and what rules of several areas share about pods."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts, Json
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import BROKEN

RESERVED = ("node-role.kubernetes.io/", "node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
BAD = ("CrashLoopBackOff", "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RunContainerError")
WAIT = 30  # seconds that a pod may take to become ready


def troubled(pod: Json) -> bool:
    """Say whether a pod has a problem that is not just starting."""
    return (
        bool(pod["problem"]) and not pod["leaving"] and (pod["reason"] in BAD or min(pod["age"], pod["unready"]) > WAIT)
    )


def place(pod: Json) -> str:
    """Return namespace/name."""
    return f"{pod['namespace']}/{pod['name']}"


def pod_hit(facts: Facts, pod: Json, evidence: list[str], **arguments: t.Any) -> Hit:
    """Return a hit at a pod; one of a user's is the user's."""
    host = next((host.host for host in facts.hosts if host.name == pod["node"]), pod["node"])
    return Hit(host, evidence, place(pod), arguments, "" if pod["system"] else "workload")


def unplaced(facts: Facts, words: str) -> t.Iterator[tuple[Json, str]]:
    """Return the pods that are not scheduled for a reason that contains `words`."""
    for pod in facts.cluster.pods:
        if words in pod["unplaced"] and pod["age"] > 5:
            yield pod, pod["unplaced"]


def no_room(facts: Facts) -> t.Iterator[Hit]:
    """Pods for which no node has enough free resources."""
    for pod, said in unplaced(facts, "Insufficient "):
        yield pod_hit(facts, pod, [f"{place(pod)}: {said}"])


POD_WITHOUT_ROOM = Rule(
    "pod-without-room",
    title="No node has room for the pod",
    looks="The pod stays Pending: `Insufficient cpu` or `Insufficient memory`.",
    proof=no_room,
    remedy="add a host, or lower the requests of {target}",
    before=BROKEN,
    scope="target",
    link="https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/",
)


def tainted(facts: Facts) -> t.Iterator[Hit]:
    """Pods that do not tolerate somebody's taint."""
    strange = {
        node["name"]: [taint for taint in node["taints"] if not taint.startswith(RESERVED)]
        for node in facts.cluster.nodes
    }
    named = [f"node {name}: {', '.join(taints)}" for name, taints in strange.items() if taints]
    for pod, said in unplaced(facts, "untolerated taint") if named else ():
        yield pod_hit(facts, pod, [f"{place(pod)}: {said}", *named[:3]])


NODE_TAINTED = Rule(
    "node-tainted",
    title="A taint keeps the pod off",
    looks="The pod stays Pending: `had untolerated taint`.",
    proof=tainted,
    remedy="remove the taint (kubectl taint nodes NODE KEY-), or add a toleration to {target}",
    before=BROKEN,
    scope="target",
    link="https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/",
)
