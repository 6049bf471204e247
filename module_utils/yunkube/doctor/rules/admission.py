# SPDX-License-Identifier: Apache-2.0
"""Pods that the API does not let controllers create, and pods that ask for what is not there."""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.yunkube.doctor.collect_cluster import SYSTEM
from ansible.module_utils.yunkube.doctor.facts import Facts, Json
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import BROKEN, PODS
from ansible.module_utils.yunkube.doctor.rules.pods import place, pod_hit, unplaced

CALLED = re.compile(r'(?:failed calling|admission) webhook "([^"]+)"')
ABSENT = re.compile(
    r'(?:configmap|secret|persistentvolumeclaim|serviceaccount|key) "?[\w./-]+"? not found|couldn.t find key',
    re.IGNORECASE,
)


def webhook_of(one: Json) -> str:
    """Return the webhook that a refusal names, nothing where it names none."""
    found = CALLED.search(one["message"])
    return found[1] if found else ""


def owner_hit(one: Json, more: list[str], target: str, **arguments: t.Any) -> Hit:
    """Return a hit at the owner of pods; that of a user's is the user's."""
    what = f"{one['kind']} {one['namespace']}/{one['name']} lacks {one['lacks']} pods"
    place = {key: one[key] for key in ("kind", "namespace", "name")}
    severity = "" if one["namespace"] in SYSTEM else "workload"
    return Hit("", [what, *more], target, {**place, **arguments}, severity)


def webhook_refuses(facts: Facts) -> t.Iterator[Hit]:
    """Webhooks that exist, do not answer, and so refuse pods."""
    named: dict[str, list[Json]] = {}
    for one in facts.cluster.refused:
        if "failed calling webhook" in one["message"] and webhook_of(one) in facts.cluster.webhooks:
            named.setdefault(webhook_of(one), []).append(one)
    for name, owners in named.items():
        webhook = facts.cluster.webhooks[name]
        lacks = [f"{one['kind']} {one['namespace']}/{one['name']} lacks {one['lacks']} pods" for one in owners]
        known: Json = {key: webhook[key] for key in ("configuration", "kind", "path", "undo") if key in webhook}
        yield Hit("", [owners[0]["message"], *lacks[:3]], name, {**known, "webhook": name})


WEBHOOK_REFUSES_PODS = Rule(
    "webhook-refuses-pods",
    title="An admission webhook that does not answer keeps pods from being created",
    looks="Deployments and DaemonSets lack pods; their events say `failed calling webhook`.",
    proof=webhook_refuses,
    remedy=(
        "let the Service of webhook {target} answer, exempt kube-system from it, or, where it is left over: "
        "kubectl delete {kind} {configuration}"
    ),
    severity="critical",
    before=("rollout-backs-off", "cluster-workload-missing", *PODS),
    scope="all",
    repair="ignore_webhook",
    on_master=True,
    link="https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#failure-policy",
)


def backs_off(facts: Facts) -> t.Iterator[Hit]:
    """Owners that were refused by what is gone by now, and wait before they try again, up to many minutes."""
    for one in facts.cluster.refused:
        name = webhook_of(one)
        if name and "failed calling webhook" in one["message"] and name not in facts.cluster.webhooks:
            said = [f"webhook {name}, which refused them, is gone or ignored", one["message"]]
            yield owner_hit(one, said, f"{one['namespace']}/{one['name']}")


ROLLOUT_BACKS_OFF = Rule(
    "rollout-backs-off",
    title="A controller waits before it tries again to create pods",
    looks="A workload lacks pods although the cause is gone: each wait is twice the last, up to 16 minutes.",
    proof=backs_off,
    remedy="kubectl -n {namespace} rollout restart {kind}/{name}",
    before=PODS,
    scope="all",
    repair="restart_rollout",
    safe=True,
    on_master=True,
)


def creation_refused(facts: Facts) -> t.Iterator[Hit]:
    """Owners whose pods are against a quota, a policy, or name an account that is not there."""
    for one in facts.cluster.refused:
        if "failed calling webhook" not in one["message"]:
            yield owner_hit(one, [one["message"]], f"{one['namespace']}/{one['name']}")


POD_CREATION_REFUSED = Rule(
    "pod-creation-refused",
    title="The API refuses to create a workload's pods",
    looks="A workload has fewer pods than wanted; its events say `FailedCreate`: a quota, a policy, a missing account.",
    proof=creation_refused,
    remedy="do what the message says, then kubectl -n {namespace} rollout restart {kind}/{name}",
    before=PODS,
    link="https://kubernetes.io/docs/concepts/policy/resource-quotas/",
)


def unplaced_for(facts: Facts, words: str) -> t.Iterator[Hit]:
    """Return the pods that no node takes for a reason."""
    for pod, said in unplaced(facts, words):
        yield pod_hit(facts, pod, [f"{place(pod)}: {said}"])


VOLUME_NOT_BOUND = Rule(
    "volume-not-bound",
    title="The pod's volume claim is not bound",
    looks="The pod stays Pending: `unbound immediate PersistentVolumeClaims`.",
    proof=lambda facts: unplaced_for(facts, "unbound immediate PersistentVolumeClaims"),
    remedy="create a volume for the claim of {target}, or name a StorageClass that has a provisioner",
    before=BROKEN,
    scope="target",
    link="https://kubernetes.io/docs/concepts/storage/persistent-volumes/",
)


NODE_SELECTOR_UNMATCHED = Rule(
    "node-selector-unmatched",
    title="No node has the labels that the pod asks for",
    looks="The pod stays Pending: `didn't match Pod's node affinity/selector`.",
    proof=lambda facts: (
        hit
        for hit in unplaced_for(facts, "node affinity/selector")
        if not re.search("Insufficient |free ports for|unbound immediate", hit.evidence[0])
    ),
    remedy="label a node (node_labels in the inventory), or correct the nodeSelector or affinity of {target}",
    before=BROKEN,
    scope="target",
    link="https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/",
)


HOST_PORT_CONFLICT = Rule(
    "host-port-conflict",
    title="The pod's host port is taken on every node",
    looks="The pod stays Pending: `didn't have free ports for the requested pod ports`.",
    proof=lambda facts: unplaced_for(facts, "free ports for the requested"),
    remedy="give {target} another hostPort, or use a Service instead of it",
    before=BROKEN,
    scope="target",
    link="https://kubernetes.io/docs/concepts/configuration/overview/",
)


def reference_missing(facts: Facts) -> t.Iterator[Hit]:
    """Pods that name a ConfigMap or a Secret that is not there."""
    for pod in facts.cluster.pods:
        said = [line for line in (pod["message"], *pod["warnings"][-1:]) if ABSENT.search(line)]
        if said and pod["problem"] and not pod["leaving"] and pod["age"] > 5:
            yield pod_hit(facts, pod, [f"{place(pod)}: {said[-1]}"])


POD_REFERENCE_MISSING = Rule(
    "pod-reference-missing",
    title="The pod names a ConfigMap or Secret that does not exist",
    looks="The pod waits in CreateContainerConfigError or ContainerCreating: `not found`.",
    proof=reference_missing,
    remedy="create what the message names in the namespace of {target}, or correct the pod",
    before=BROKEN,
    scope="target",
    link="https://kubernetes.io/docs/tasks/configure-pod-container/configure-pod-configmap/",
)
