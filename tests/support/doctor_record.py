# SPDX-License-Identifier: Apache-2.0
"""A healthy cluster's facts, as the modules recorded them on one master and one node, and ways to spoil them."""

from __future__ import annotations

import copy
import json
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.doctor.facts import ClusterFacts, Facts, HostFacts, Json, from_json

TEXT = (Path(__file__).resolve().parents[1] / "unit/data/doctor/healthy.json").read_text()
RECORD = json.loads(TEXT)


def healthy() -> Facts:
    """Return a new copy of the record."""
    record = json.loads(TEXT)  # thousands of times: quicker than copies
    hosts = [from_json(HostFacts, host) for host in record["hosts"]]
    return Facts(hosts, from_json(ClusterFacts, record["cluster"]), record["now"])


def master(facts: Facts) -> HostFacts:
    return facts.hosts[0]


def node(facts: Facts) -> HostFacts:
    return facts.hosts[1]


def break_pod(facts: Facts, start: str, where: str, reason: str, message: str = "", **more: t.Any) -> Json:
    """Let a pod be what a fault makes of it."""
    pod = next(pod for pod in facts.cluster.pods if pod["name"].startswith(start) and pod["node"] == where)
    words = {"problem": f"container x waits: {reason}: {message}", "reason": reason, "message": message}
    pod.update({**words, "unready": 90.0, **more})
    return pod


def not_ready(facts: Facts, name: str = "node1", reason: str = "NodeStatusUnknown: Kubelet stopped posting") -> None:
    facts.cluster.node(name).update(ready=False, reason=reason)


def stuck(facts: Facts, said: str) -> None:
    """Let a pod of the cluster's wait for a network on the node."""
    pod = copy.deepcopy(next(pod for pod in facts.cluster.pods if pod["name"].startswith("coredns")))
    warnings = [f"FailedCreatePodSandBox: {said}"]
    pod.update(name="coredns-6df484f77-aaaaa", node="node1", problem="container coredns waits: ContainerCreating")
    facts.cluster.pods.append(pod | {"reason": "ContainerCreating", "unready": 40.0, "age": 40.0, "warnings": warnings})


def users(facts: Facts, name: str = "web-1", **more: t.Any) -> Json:
    """Return a user's pod."""
    pod = copy.deepcopy(facts.cluster.pods[0])
    pod.update(namespace="shop", name=name, node="node1", system=False, images=["shop/web:1"], unready=90.0)
    pod.update(more)
    facts.cluster.pods.append(pod)
    return pod


def silent(facts: Facts, detail: str = "https://10.92.0.11:6443 does not answer: Connection refused") -> None:
    """Make the API unreachable."""
    facts.cluster = ClusterFacts("master1", detail=detail)
    for host in facts.hosts:
        host.probes["api"] = "https://10.92.0.11:6443: Connection refused"
    master(facts).probes["kube-apiserver"] = "Connection refused"


def container(host: HostFacts, name: str, **more: t.Any) -> None:
    """Set the state of a container."""
    found = next(one for one in host.containers or [] if one["name"] == name)
    found.update({"state": "exited", "attempt": 4, **more})


Change = t.Callable[[Facts], object]
CHANGES: dict[str, Change] = {}


def changes(fault: str) -> t.Callable[[Change], Change]:
    """Note how facts look with a fault."""

    def note(change: Change) -> Change:
        CHANGES[fault] = change
        return change

    return note
