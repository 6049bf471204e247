# SPDX-License-Identifier: Apache-2.0
"""The core workloads of the cluster: kube-proxy, CoreDNS, flannel."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts, Json
from ansible.module_utils.yunkube.doctor.rule import BY_HAND, Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import PODS, SERVICES
from ansible.module_utils.yunkube.doctor.rules.objects import namespace_missing
from ansible.module_utils.yunkube.kube.objects import name_of


def _manifest(facts: Facts, name: str) -> dict[str, t.Any]:
    """Return what a repair applies that restores a workload; without its manifest there is no repair."""
    gone = [one for one in facts.cluster.declared if not one["there"] and not namespace_missing(facts, one)]
    declared = [one["manifest"] for one in gone if not one.get("lacks")]
    known = [one for one in (*declared, *facts.cluster.printed.values()) if name_of(one).endswith(f"/{name}")]
    workloads = [one for one in known if one["kind"] in ("DaemonSet", "Deployment")]
    return {"manifests": workloads} if workloads else {"undo": ""}


def workload_missing(facts: Facts) -> t.Iterator[Hit]:
    """Core workloads that somebody deleted."""
    for name, found in facts.cluster.workloads.items():
        if not found["there"] and name not in facts.cluster.disabled:
            yield Hit("", [f"{name} is part of every cluster, but does not exist"], name, _manifest(facts, name))


CLUSTER_WORKLOAD_MISSING = Rule(
    "cluster-workload-missing",
    title="A core component of the cluster was deleted",
    looks="kube-proxy, CoreDNS or flannel is not among the cluster's workloads.",
    proof=workload_missing,
    remedy=(
        "flannel: {command}; CoreDNS and kube-proxy: on a master, kubeadm init phase addon coredns or "
        f"kube-proxy {BY_HAND}"
    ),
    call="up",
    severity="critical",
    before=("kube-proxy-down", "flannel-not-ready", "subnet-env-missing", "cni-config-missing", *SERVICES, *PODS),
    scope="all",
    repair="restore_objects",
    safe=True,
    weight=3,
    on_master=True,
)


def _deployment(facts: Facts, name: str) -> dict[str, t.Any]:
    """Return what a repair applies that restores an addon, whose namespace and Secrets must be there."""
    for one in facts.cluster.declared:
        if one["name"] == name and not one["there"] and not without(facts, one):
            return {"manifests": [one["manifest"]]}
    return {"undo": ""}


def without(facts: Facts, one: Json) -> list[str]:
    """Say what an addon that is missing needs, and that is missing as well."""
    space = namespace_missing(facts, one)
    lacks = [
        f"{secret}, which it needs, is missing as well, and no repair creates it" for secret in one.get("lacks", [])
    ]
    return [space, *lacks] if space else lacks


def addon_missing(facts: Facts) -> t.Iterator[Hit]:
    """Addons that the inventory has chosen, and that are not there."""
    for name in facts.cluster.addons:
        evidence = [f"{name} is enabled in the inventory, but does not exist"]
        for one in facts.cluster.declared:
            evidence += without(facts, one) if one["name"] == name else []
        yield Hit("", evidence, name, _deployment(facts, name))


ADDON_MISSING = Rule(
    "addon-missing",
    title="The dashboard or the registry is missing",
    looks="The dashboard does not answer, or images can neither be pushed to the registry nor pulled from it.",
    proof=addon_missing,
    remedy="{command} creates {target}; without it, change dashboard_provider or cluster_registry_host",
    call="up",
    before=("image-registry-unreachable",),
    scope="all",
    repair="restore_objects",
    safe=True,
    weight=3,
    on_master=True,
)
