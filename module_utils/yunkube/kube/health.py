# SPDX-License-Identifier: Apache-2.0
"""Why a cluster is not healthy, read from the API and said in words."""

from __future__ import annotations

import time
import typing as t

from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError

ABSENT = "not in the cluster"
# Seconds for a node that the API does not know: a join ends only when it does, so it was lost on the way.
UNKNOWN_NODE = scaled(15)
PATHS = {"DaemonSet": "daemonsets", "Deployment": "deployments"}


class Problem(t.NamedTuple):
    """One thing that is not as it should be."""

    check: str  # node, workload, pod, api
    target: str
    detail: str


class Wanted(t.NamedTuple):
    """What a healthy cluster has."""

    nodes: tuple[str, ...]
    version: str = ""  # of every node's kubelet; empty for any
    workloads: tuple[str, ...] = ()  # such as "DaemonSet kube-system/kube-proxy"
    namespaces: tuple[str, ...] = ()  # whose pods must all run
    only: tuple[str, ...] = ()  # look at these nodes alone, and at the pods on them; empty for all


class Seen(t.NamedTuple):
    """What the API says at one moment."""

    nodes: list[Json]
    workloads: dict[str, Json | None]
    pods: list[Json]


def see(api: KubeApi, wanted: Wanted) -> Seen:
    """Ask the API for everything that is judged."""
    workloads = {}
    for name in wanted.workloads:
        kind, _, place = name.partition(" ")
        namespace, _, short = place.partition("/")
        workloads[name] = api.find(f"/apis/apps/v1/namespaces/{namespace}/{PATHS[kind]}/{short}")
    pods = [pod for space in wanted.namespaces for pod in api.items(f"/api/v1/namespaces/{space}/pods")]
    nodes = api.items("/api/v1/nodes")
    if wanted.only:
        nodes = [node for node in nodes if node["metadata"]["name"] in wanted.only]
        pods = [pod for pod in pods if pod["spec"].get("nodeName") in wanted.only]
    return Seen(nodes, workloads, pods)


def judge(seen: Seen, wanted: Wanted) -> list[Problem]:
    """Name everything that is not healthy."""
    there = {node["metadata"]["name"]: node for node in seen.nodes}
    problems = [
        Problem("node", name, detail)
        for name in dict.fromkeys([*wanted.nodes, *there])
        if (detail := node_problem(there.get(name), wanted.version))
    ]
    problems += [
        Problem("workload", name, detail)
        for name, found in seen.workloads.items()
        if (detail := workload_problem(found))
    ]
    problems += [
        Problem("pod", f"{pod['metadata']['namespace']}/{pod['metadata']['name']}", detail)
        for pod in seen.pods
        if (detail := pod_problem(pod))
    ]
    return problems


def condition(found: Json, kind: str) -> Json:
    """Return one of an object's conditions, empty when it has none of that kind."""
    conditions = found.get("status", {}).get("conditions") or []
    return next((entry for entry in conditions if entry.get("type") == kind), {})


def address_of(node: Json) -> str:
    """Return a node's InternalIP, empty while its kubelet has not reported one."""
    addresses = node.get("status", {}).get("addresses") or []
    return next((str(entry["address"]) for entry in addresses if entry["type"] == "InternalIP"), "")


def kubelet_of(node: Json) -> str:
    """Return the release of a node's kubelet."""
    return str(node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "")).removeprefix("v")


def node_problem(node: Json | None, version: str = "") -> str:
    """Say why a node is not ready, or nothing."""
    if node is None:
        return ABSENT
    ready = condition(node, "Ready")
    if ready.get("status") != "True":
        return f"not ready: {_words(ready) or 'its kubelet has not reported yet'}"
    runs = kubelet_of(node)
    return f"runs kubelet {runs}, not {version}" if version and runs != version else ""


def workload_problem(found: Json | None) -> str:
    """Say why a workload is not rolled out, or nothing; a ReplicationController has no versions."""
    if found is None:
        return "not there"
    status = found.get("status", {})
    if status.get("observedGeneration", 0) < found["metadata"].get("generation", 1):
        return "not processed by kube-controller-manager yet"
    if found["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        updated, ready = status.get("updatedNumberScheduled", 0), status.get("numberReady", 0)
    else:
        wanted = found["spec"].get("replicas", 1)
        versioned = found["kind"] != "ReplicationController"
        updated = status.get("updatedReplicas" if versioned else "replicas", 0)
        ready = status.get("readyReplicas", 0)
    if updated < wanted:
        return f"{updated} of {wanted} pods have the current version"
    return f"{ready} of {wanted} pods are ready" if ready < wanted else ""


def pod_problem(pod: Json) -> str:
    """Say why a pod does not run, or nothing."""
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp") or status.get("phase") == "Succeeded":
        return ""
    if condition(pod, "Ready").get("status") == "True":
        return ""
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"not placed on a node: {_words(scheduled)}"
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        detail = _container_problem(container)
        if detail:
            return f"container {container['name']} {detail}"
    return f"not ready: {_words(condition(pod, 'Ready')) or status.get('phase', 'no status yet')}"


def _container_problem(container: Json) -> str:
    state = container.get("state", {})
    last = container.get("lastState", {}).get("terminated", {})
    if "waiting" in state:
        words = _words(state["waiting"]) or "has not started"
        return f"is waiting: {words}" + (f"; last exit code {last.get('exitCode')}" if last else "")
    if "terminated" in state and state["terminated"].get("exitCode", 0) != 0:
        return f"exit code {state['terminated']['exitCode']} ({_words(state['terminated'])})"
    return ""


def _words(entry: Json) -> str:
    return ": ".join(str(entry[key]).strip() for key in ("reason", "message") if entry.get(key))


def last_warning(api: KubeApi, problem: Problem) -> str:
    """Return the newest warning that the cluster noted about a pod, or nothing."""
    if problem.check != "pod":
        return ""
    namespace, _, name = problem.target.partition("/")
    chosen = f"involvedObject.name={name},type=Warning"
    events = api.items(f"/api/v1/namespaces/{namespace}/events", fieldSelector=chosen)
    newest = max(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""), default={})
    return _words(newest)


def explained(api: KubeApi, problems: list[Problem], limit: int = 5) -> list[Problem]:
    """Add to the first problems what the cluster noted about them."""
    result = []
    for number, problem in enumerate(problems):
        warning = ""
        if number < limit:
            try:
                warning = last_warning(api, problem)
            except KubeError:
                warning = ""
        added = f" ({warning})" if warning and warning not in problem.detail else ""
        result.append(problem._replace(detail=problem.detail + added))
    return result


def wait(api: KubeApi, wanted: Wanted, seconds: float) -> tuple[Seen, list[Problem]]:
    """Wait until the cluster is healthy; return what was seen last and what is still wrong with it."""
    began = time.monotonic()
    deadline = began + seconds
    seen = Seen([], {}, [])
    while True:
        started = time.monotonic()
        try:
            seen = see(api, wanted)
            problems = judge(seen, wanted)
        except KubeError as error:
            if not error.silent and error.status not in (403, 429, 500, 503):  # an API that starts says these
                raise
            problems = [Problem("api", api.server, str(error))]
        now = time.monotonic()
        lost = any(problem.check == "node" and problem.detail == ABSENT for problem in problems)
        if not problems or now >= deadline or (lost and now - began > UNKNOWN_NODE):
            return seen, explained(api, problems)
        # A large cluster takes longer to answer, and is asked less often.
        time.sleep(max(0.25, 3 * (now - started)))
