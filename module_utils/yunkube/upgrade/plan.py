# SPDX-License-Identifier: Apache-2.0
"""What an upgrade would do, and why it must not begin; judged by what the API says, without a change.

Releases may differ as https://kubernetes.io/releases/version-skew-policy/ allows: a control plane goes up by one minor
release at a time, and a kubelet may be three of them older than its API server and never newer.
"""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.drain import DATA_FLAG, local_data, name_of, owner, to_evict
from ansible.module_utils.yunkube.kube.health import kubelet_of, node_problem
from ansible.module_utils.yunkube.result import Fault
from ansible.module_utils.yunkube.words import counted, joined

MARK = "yunkube/upgrading"  # on a node that an upgrade has cordoned
KUBELET_SKEW = 3  # minor releases
PARTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
CONFIGMAP = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
PROXY = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy"

_TAG = re.compile(r":v?(\d+\.\d+\.\d+)$")
_VERSION = re.compile(r"^kubernetesVersion: *\W*v([\d.]+)", re.MULTILINE)
_DEPRECATED = re.compile(r"^apiserver_requested_deprecated_apis\{(.*)\} 1(?:\.0)?$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Options(t.NamedTuple):
    """What is asked for."""

    version: str  # such as 1.37.2
    first: str  # the master that kubeadm upgrades first, by its inventory name
    masters: tuple[str, ...]  # inventory names
    hosts: tuple[str, ...]  # all of them, masters first
    drift: t.Mapping[str, t.Sequence[str]]  # what differs on a host, in words
    releases: tuple[str, ...] = ()  # that have a lock
    force: bool = False
    data: bool = False  # pods may lose their emptyDir


class Seen(t.NamedTuple):
    """What the API says."""

    version: str  # that kubeadm brought the cluster to
    proxy: str  # version of kube-proxy, which kubeadm brings last; where it is turned off, that of the cluster
    nodes: dict[str, Json]
    pods: list[Json]
    budgets: list[Json]
    metrics: str


class Plan(t.NamedTuple):
    """What is to be done, by inventory names in their order."""

    masters: list[str]  # whose control plane differs
    hosts: list[str]  # that differ in anything else

    @property
    def due(self) -> bool:
        """Say whether there is anything."""
        return bool(self.masters or self.hosts)


def numbers(release: str) -> tuple[int, ...]:
    """Return a release as numbers that compare."""
    return tuple(int(part) for part in re.findall(r"\d+", release)[:3])


def minor(release: str) -> int:
    """Return which minor release of Kubernetes 1 it is."""
    return numbers(release)[1]


def see_release(api: KubeApi) -> dict[str, str]:
    """Return what kubeadm writes after a control plane, each with its release: kube-proxy after the last one."""
    config = str((api.get(CONFIGMAP).get("data") or {}).get("ClusterConfiguration", ""))
    found = _VERSION.search(config)
    if not found:
        raise KubeError("ConfigMap kube-system/kubeadm-config names no kubernetesVersion, so kubeadm cannot upgrade")
    proxy = api.find(PROXY)
    if proxy is None:  # turned off
        return {"kubeadm-config": found[1]}
    containers = proxy["spec"]["template"]["spec"]["containers"]
    image = next((one["image"] for one in containers if one["name"] == "kube-proxy"), "")
    return {"kubeadm-config": found[1], "kube-proxy": tag_of(image)}


def see(api: KubeApi) -> Seen:
    """Ask the API, in six requests."""
    release = see_release(api)
    return Seen(
        release["kubeadm-config"],
        release.get("kube-proxy", release["kubeadm-config"]),
        {node["metadata"]["name"]: node for node in api.items("/api/v1/nodes")},
        api.items("/api/v1/pods"),
        api.items("/apis/policy/v1/poddisruptionbudgets"),
        str(api.get("/metrics").get("text", "")),
    )


def tag_of(image: str) -> str:
    """Return the release in an image's tag; empty where it has none."""
    found = _TAG.search(image.partition("@")[0])
    return found[1] if found else ""


def is_marked(node: Json) -> bool:
    """Say whether an upgrade has cordoned the node and not finished with it."""
    return MARK in (node["metadata"].get("annotations") or {})


def make(options: Options, seen: Seen) -> Plan:
    """Return what differs."""
    running = control_planes(seen.pods)
    masters = [host for host in options.masters if running.get(host.lower(), set()) != {options.version}]
    if {seen.version, seen.proxy} != {options.version} and options.first not in masters:
        masters.append(options.first)
    masters.sort(key=lambda host: (host != options.first, options.masters.index(host)))
    hosts = []
    for host in options.hosts:
        node = seen.nodes.get(host.lower())
        if node and (options.drift.get(host) or kubelet_of(node) != options.version or is_marked(node)):
            hosts.append(host)
    return Plan(masters, hosts)


def control_planes(pods: t.Iterable[Json]) -> dict[str, set[str]]:
    """Return the releases of the parts of the control plane on each node."""
    found: dict[str, set[str]] = {}
    for pod in pods:
        part = (pod["metadata"].get("labels") or {}).get("component", "")
        if part in PARTS and pod["metadata"]["namespace"] == "kube-system" and owner(pod) == "Node":
            tags = {tag_of(one["image"]) for one in pod["spec"]["containers"] if one["name"] == part}
            found.setdefault(str(pod["spec"].get("nodeName", "")), set()).update(tags)
    return found


def faults(options: Options, seen: Seen, plan: Plan) -> list[Fault]:
    """Return why the upgrade must not begin, all of it; `users_of` says who uses the APIs that will be gone."""
    found = list(_version_faults(options, seen))
    if plan.due:
        found += _node_faults(options, seen)
        found += _pod_faults(options, seen, plan)
    return found


def _version_faults(options: Options, seen: Seen) -> t.Iterator[Fault]:
    key, wanted, runs = "cluster_kubernetes_version", options.version, seen.version
    if numbers(wanted) < numbers(runs):
        message = f"{wanted} is older than {runs}, which the cluster runs; a control plane is never downgraded"
        yield Fault(
            key, message, f"write {runs}; docs/upgrade.md says what a snapshot from before an upgrade is good for"
        )
    elif minor(wanted) > minor(runs) + 1:
        steps = path(runs, wanted, options.releases)
        message = f"from {runs} to {wanted} a minor release would be skipped, which Kubernetes does not support"
        known = next((step for step in steps[1:] if step in options.releases), "")
        way = f"upgrade step by step: {' -> '.join(steps)}"
        missing = [step for step in steps if step.endswith(".x")]
        lock = f"; `make lock K8S=...` makes a lock of a release {joined(missing)}" if missing else ""
        yield Fault(key, message, f"{way}{lock}", commands=(f"upgrade --to {known}",) if known == steps[1] else ())
    for name, node in sorted(seen.nodes.items()):
        kubelet = kubelet_of(node)
        if kubelet and numbers(kubelet) > numbers(wanted) and numbers(wanted) >= numbers(runs):
            message = f"its kubelet is {kubelet}, newer than {wanted}"
            yield Fault("kubelet", message, f"write {kubelet} or newer", name)
        elif kubelet and minor(kubelet) < minor(wanted) - KUBELET_SKEW:
            message = f"its kubelet is {kubelet}, and must not be more than {KUBELET_SKEW} minor releases older"
            yield Fault(
                "kubelet", message, f"first run `upgrade --to {runs}`", name, commands=(f"upgrade --to {runs}",)
            )


def path(runs: str, wanted: str, releases: t.Collection[str]) -> list[str]:
    """Return the releases to pass through: the newest that has a lock of each minor one, or 1.36.x where none has."""
    steps = [runs]
    for step in range(minor(runs) + 1, minor(wanted)):
        locked = [one for one in releases if minor(one) == step]
        steps.append(max(locked, key=numbers) if locked else f"1.{step}.x")
    return [*steps, wanted]


def _node_faults(options: Options, seen: Seen) -> t.Iterator[Fault]:
    known = {host.lower() for host in options.hosts}
    for name, node in sorted(seen.nodes.items()):
        if name not in known:
            message = "is a node of the cluster, but is not in the inventory, and would be left at its release"
            yield Fault("inventory", message, f"put its line back, or `remove --dead {name}` if it is gone", name)
        elif (problem := node_problem(node)) and not is_marked(node):
            remedy = "`doctor` says why, and what to do about it"
            yield Fault("node", f"is {problem}", remedy, name, commands=("doctor",))
    for host in options.hosts:
        if host.lower() not in seen.nodes:
            remedy = f"`add {host}` first, or take its line out of the inventory"
            yield Fault("node", "is not a node of the cluster", remedy, host, commands=(f"add {host}",))


def _pod_faults(options: Options, seen: Seen, plan: Plan) -> t.Iterator[Fault]:
    """Yield what a drain of the hosts would lose, pods or data, and the budgets that never allow it."""
    leaving = {host.lower() for host in plan.hosts}
    pods = [pod for pod in to_evict(seen.pods) if pod["spec"].get("nodeName") in leaving]
    for name in sorted(leaving):
        here = [pod for pod in pods if pod["spec"].get("nodeName") == name]
        alone = [name_of(pod) for pod in here if not owner(pod)]
        if alone and not options.force:
            message = f"the drain would delete {counted(alone, 'pod')} that no controller creates again"
            yield Fault("drain", message, "delete what is not needed, or allow it: --force", name)
        kept = [name_of(pod) for pod in here if any(what.startswith("emptyDir") for what in local_data(pod, {}))]
        if kept and not options.data:
            message = f"the drain would delete data in the emptyDir of {counted(kept, 'pod')}"
            yield Fault("local data", message, f"move what is needed, then: {DATA_FLAG}", name)
    if not options.force:
        yield from _budget_faults(seen.budgets, pods)


def _budget_faults(budgets: t.Iterable[Json], pods: list[Json]) -> t.Iterator[Fault]:
    for budget in budgets:
        spec, status = budget["spec"], budget.get("status") or {}
        expected = int(status.get("expectedPods") or 0)
        least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
        never = most in (0, "0%") or least == "100%" or (isinstance(least, int) and 0 < expected <= least)
        labels = ((spec.get("selector") or {}).get("matchLabels") or {}).items()
        space = budget["metadata"]["namespace"]
        covered = [
            pod
            for pod in pods
            if pod["metadata"]["namespace"] == space and labels <= (pod["metadata"].get("labels") or {}).items()
        ]
        if never and covered and not status.get("disruptionsAllowed"):
            message = f"lets none of its {expected} pods go, so no host with one of them can be drained"
            remedy = "allow one to be unavailable, or run more replicas; --force deletes the pods after --drain-timeout"
            yield Fault("PodDisruptionBudget", message, remedy, name_of(budget))


class Removed(t.NamedTuple):
    """A version of an API that the release does not serve, and which was asked for since the API server started."""

    group: str
    version: str
    resource: str
    release: str  # that drops it, such as 1.37


def removed_apis(metrics: str, wanted: str) -> list[Removed]:
    """Return which deprecated versions were asked for and end with the release; the API server counts them itself."""
    found = set()
    for line in _DEPRECATED.findall(metrics):
        labels = dict(_LABEL.findall(line))
        gone = labels.get("removed_release", "")
        if gone and numbers(gone)[:2] <= numbers(wanted)[:2]:
            found.add(Removed(labels.get("group", ""), labels["version"], labels["resource"], gone))
    return sorted(found)


def users_of(api: KubeApi, gone: Removed) -> list[str]:
    """Return who wrote objects by that version, as `object (manager)`; the API notes it with each field."""
    version = f"{gone.group}/{gone.version}" if gone.group else gone.version
    try:
        objects = api.items(f"/apis/{version}/{gone.resource}" if gone.group else f"/api/{version}/{gone.resource}")
    except KubeError as error:
        if error.status in (403, 404, 405):
            return []
        raise
    found = []
    for one in objects:
        fields = one["metadata"].get("managedFields") or []
        managers = sorted({str(field.get("manager", "")) for field in fields if field.get("apiVersion") == version})
        if managers:
            name = "/".join(filter(None, (one["metadata"].get("namespace"), one["metadata"]["name"])))
            found.append(f"{name} ({joined(managers)})")
    return found


def removed_faults(api: KubeApi, seen: Seen, wanted: str) -> t.Iterator[Fault]:
    """Yield a fault for each API that somebody still uses and that the release does not have."""
    for gone in removed_apis(seen.metrics, wanted):
        users = users_of(api, gone)
        where = "/".join(filter(None, (gone.group, gone.version, gone.resource)))
        who = f"; written by it: {counted(users, 'object')}" if users else ""
        message = f"{where} is not served from {gone.release} on, and was asked for{who}"
        remedy = "move those clients to the newer version, or accept that they fail: --allow-removed-apis"
        yield Fault("removed API", message, remedy)


def in_words(options: Options, seen: Seen, plan: Plan, batch: str) -> list[str]:
    """Return the plan as lines of text, in the order in which it is carried out."""
    if not plan.due:
        return [f"all hosts run {options.version} as declared: nothing to do"]
    lines = []
    if plan.masters:
        how = (
            f"from {seen.version} to {options.version}" if seen.version != options.version else f"to {options.version}"
        )
        lines += ["save a snapshot of etcd on the control machine"]
        lines += [f"upgrade the control plane {how}, one master at a time: {', '.join(plan.masters)}"]
    nodes = [host for host in plan.hosts if host not in options.masters]
    if masters := [host for host in plan.hosts if host in options.masters]:
        lines.append(f"drain and upgrade masters, one at a time: {', '.join(masters)}")
    if nodes:
        lines.append(f"drain and upgrade nodes, {batch} at a time: {', '.join(nodes)}")
    leaving = {host.lower() for host in plan.hosts}
    free = [
        name
        for name, node in seen.nodes.items()
        if not any(taint.get("effect") == "NoSchedule" for taint in (node.get("spec") or {}).get("taints") or [])
    ]
    if len(free) == 1 and free[0] in leaving:
        lines.append(f"pods of {free[0]} are stopped while it is drained: no other node takes them")
    return lines
