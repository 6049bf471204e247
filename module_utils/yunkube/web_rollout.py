"""Bring workloads' pods to their template, wait for it, and say why it does not come about."""

from __future__ import annotations

import functools
import re
import time
import typing as t

from ansible.module_utils.yunkube.kube_api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube_health import condition
from ansible.module_utils.yunkube.web_service import TEMPLATE

PAUSE = 0.3
LOG_LINES = 5
WORKLOADS = {
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments/{name}",
    "ReplicationController": "/api/v1/namespaces/{namespace}/replicationcontrollers/{name}",
    "DaemonSet": "/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}",
    "StatefulSet": "/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}",
}


def path_of(workload: Json) -> str:
    """Return a workload's path."""
    metadata = workload["metadata"]
    return WORKLOADS[workload["kind"]].format(namespace=metadata["namespace"], name=metadata["name"])


def place_of(workload: Json) -> str:
    """Return how a person names a workload."""
    metadata = workload["metadata"]
    return f"{workload['kind']} {metadata['namespace']}/{metadata['name']}"


def is_ready(pod: Json) -> bool:
    """Say whether a pod may be sent requests."""
    return not pod["metadata"].get("deletionTimestamp") and condition(pod, "Ready").get("status") == "True"


def pods_of(api: KubeApi, workload: Json) -> list[Json]:
    """Return a workload's pods, those that are ending among them."""
    selector = workload["spec"].get("selector") or workload["spec"]["template"]["metadata"]["labels"]
    labels = selector.get("matchLabels", selector)
    chosen = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return api.items(f"/api/v1/namespaces/{workload['metadata']['namespace']}/pods", labelSelector=chosen)


def lacking(workload: Json, pods: list[Json]) -> str:
    """Say what is still to come until all pods are of the current template and ready, or nothing."""
    status, spec = workload.get("status", {}), workload["spec"]
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 1):
        return "not looked at yet by kube-controller-manager"
    if workload["kind"] == "DaemonSet":
        wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
        return f"{ready} of {wanted} pods are ready" if ready < wanted else ""
    wanted = spec.get("replicas", 1)
    if workload["kind"] == "ReplicationController":
        if old := outdated(workload, pods):
            return f"{len(old)} pods are of an older template"
    elif status.get("updatedReplicas", 0) < wanted:
        return f"{status.get('updatedReplicas', 0)} of {wanted} pods are of the current template"
    if status.get("readyReplicas", 0) < wanted:
        return f"{status.get('readyReplicas', 0)} of {wanted} pods are ready"
    if (there := status.get("replicas", 0)) > wanted:
        return f"{there - wanted} pods of before are still there"
    return ""


def outdated(workload: Json, pods: list[Json]) -> list[Json]:
    """Return the pods of a ReplicationController that are of another template than its own."""
    current = (workload["spec"]["template"]["metadata"].get("annotations") or {}).get(TEMPLATE)
    return [
        pod
        for pod in pods
        if current
        and not pod["metadata"].get("deletionTimestamp")
        and (pod["metadata"].get("annotations") or {}).get(TEMPLATE) != current
    ]


class Deadline:
    """A time by which something must have come about."""

    def __init__(self, seconds: float) -> None:
        """Count from now."""
        self._end = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """True when it is too late."""
        return time.monotonic() >= self._end


class NotReadyError(Exception):
    """Pods did not come; the text is a line for each workload."""


def wait_for(api: KubeApi, manifests: list[Json], deadline: Deadline) -> None:
    """Wait until all workloads are as declared; NotReadyError with the reasons when that is late or hopeless."""
    left = [one for one in manifests if one["kind"] in WORKLOADS]
    while left:
        problems = {}
        for manifest in list(left):
            found = api.get(path_of(manifest))
            pods = pods_of(api, found)
            if what := lacking(found, pods):
                problems[place_of(manifest)] = (found, pods, what)
            else:
                left.remove(manifest)
        hopeless = [place for place, (found, pods, _) in problems.items() if is_hopeless(found, pods)]
        if problems and (deadline.over or len(hopeless) == len(problems)):
            raise NotReadyError("\n".join(explain(api, *problem) for problem in problems.values()))
        if problems:
            time.sleep(PAUSE)


def is_hopeless(workload: Json, pods: list[Json]) -> bool:
    """Say whether waiting does not help: an image that cannot be had, a program that fails again and again, a quota."""
    if condition(workload, "ReplicaFailure").get("status") == "True":
        return True
    waiting = [
        container.get("state", {}).get("waiting", {}).get("reason", "")
        for pod in pods
        for container in pod.get("status", {}).get("containerStatuses") or []
    ]
    broken = (
        "ImagePullBackOff",
        "InvalidImageName",
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "ErrImageNeverPull",
    )
    return any(reason in broken for reason in waiting)


def roll(api: KubeApi, manifest: Json, deadline: Deadline) -> bool:
    """Replace a ReplicationController's old pods one by one, each after one more is ready; True when there were any."""
    path, count, rolled = path_of(manifest), manifest["spec"]["replicas"], False
    while old := outdated(found := api.get(path), pods_of(api, found)):
        rolled = True
        more = {**manifest, "spec": {**manifest["spec"], "replicas": count + 1}}
        api.apply(more)
        while True:
            pods = pods_of(api, found)
            fresh = [pod for pod in pods if pod not in outdated(found, pods)]
            if sum(map(is_ready, pods)) > count and any(map(is_ready, fresh)):
                break
            if deadline.over or is_hopeless(found, fresh):
                raise NotReadyError(explain(api, found, fresh, "its new pods do not become ready"))
            time.sleep(PAUSE)
        name = min(old, key=lambda pod: (is_ready(pod), pod["metadata"]["name"]))["metadata"]["name"]
        api.delete(f"/api/v1/namespaces/{manifest['metadata']['namespace']}/pods/{name}")
    if api.get(path)["spec"]["replicas"] != count:  # also what a run that was cut off left
        api.apply(manifest)
        rolled = True
    return rolled


# -- why ----------------------------------------------------------------------------------------


def explain(api: KubeApi, workload: Json, pods: list[Json], what: str) -> str:
    """Return a line: what is wrong with a workload and what to do."""
    if message := _failure(workload):
        return f"{place_of(workload)}: {what}: {message}"
    told: dict[str, None] = {}
    for pod in sorted(pods, key=is_ready):
        if not is_ready(pod) and not pod["metadata"].get("deletionTimestamp"):
            told.setdefault(reason_of(pod, events_of(api, pod), functools.partial(log_of, api, pod)), None)
    reasons = "; ".join(told) or "no pod was made yet"
    return f"{place_of(workload)}: {what}: {reasons}"


def _failure(workload: Json) -> str:
    failure = condition(workload, "ReplicaFailure")
    if failure.get("status") != "True":
        return ""
    message = str(failure.get("message", "")).strip()
    remedy = "raise the quota, or ask for less" if "quota" in message else ""
    return f"{message}; {remedy}".rstrip("; ")


def events_of(api: KubeApi, pod: Json) -> list[str]:
    """Return the warnings about a pod, the newest first."""
    metadata = pod["metadata"]
    chosen = f"involvedObject.name={metadata['name']},type=Warning"
    try:
        events = api.items(f"/api/v1/namespaces/{metadata['namespace']}/events", fieldSelector=chosen)
    except KubeError:
        return []
    events.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""), reverse=True)
    return [str(event.get("message", "")).strip() for event in events]


def log_of(api: KubeApi, pod: Json) -> str:
    """Return the last lines that a pod's first container wrote before it ended, or has written so far."""
    metadata = pod["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log"
    container = pod["spec"]["containers"][0]["name"]
    for previous in ("true", "false"):
        try:
            said = api.request(
                "GET", path, query={"container": container, "tailLines": str(LOG_LINES), "previous": previous}
            )
        except KubeError:
            continue
        if lines := str(said.get("text", said)).strip().splitlines():
            return " | ".join(line.strip() for line in lines)
    return ""


def reason_of(pod: Json, events: list[str], log: t.Callable[[], str]) -> str:
    """Say why a pod is not ready and what to do, of its status, its events and its log."""
    name = pod["metadata"]["name"]
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"no node has room for {name}: {scheduled.get('message', '')}; ask for less cpu or memory, or add a node"
    for container in pod.get("status", {}).get("containerStatuses") or []:
        waiting = container.get("state", {}).get("waiting", {})
        ended = container.get("lastState", {}).get("terminated") or container.get("state", {}).get("terminated") or {}
        if waiting.get("reason") in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
            return _no_image(container, waiting, events)
        if ended.get("reason") == "OOMKilled":
            limit = _limit(pod, container["name"])
            return f"{name} took more memory than its limit of {limit} (OOMKilled); raise memory, or let it use less"
        if waiting.get("reason") == "CrashLoopBackOff" or ended.get("exitCode"):
            said = log()
            return f"{name} ends with code {ended.get('exitCode', '?')}; its last lines: {said or 'none'}"
        if waiting.get("reason") == "CreateContainerConfigError":
            return f"{name}: {waiting.get('message', '')}"
    if failing := next((event for event in events if "probe failed" in event), ""):
        return _no_answer(name, failing)
    if events:
        return f"{name}: {events[0]}"
    return (
        f"{name} is not ready yet: {condition(pod, 'Ready').get('message') or pod.get('status', {}).get('phase', '')}"
    )


def _no_image(container: Json, waiting: Json, events: list[str]) -> str:
    image = container.get("image", "")
    said = next((event for event in events if "Failed to pull" in event), "") or str(waiting.get("message", ""))
    # containerd puts its own words before the registry's, with the image's name in each.
    answer = re.sub(
        r"^Failed to pull image \S+: |rpc error: code = \w+ desc = |failed to (?:pull|resolve|copy)[^:]*?: ", "", said
    )
    answer = re.sub(rf'(?:and unpack )?image "{re.escape(image)}": ', "", answer)
    remedy = "push it, or correct the name"
    if re.search(r"401|403|[Uu]nauthorized|denied|no basic auth", said):
        remedy = "see that the registry's login is right (registry_username, registry_password)"
    elif "x509" in said or "certificate" in said:
        remedy = "hosts do not trust the registry: see cluster_registry_ca, then run up"
    elif re.search(r"refused|timeout|no route|no such host|unreachable", said):
        remedy = "the registry does not answer: see that it runs, and its address"
    return f"image {image} cannot be pulled: {answer.strip()[:300]}; {remedy}"


def _no_answer(name: str, failing: str) -> str:
    refused = re.search(r"dial tcp \S+?:(\d+): connect: connection refused", failing)
    if refused:
        return (
            f"nothing listens at port {refused.group(1)} of {name} (its probe was refused); "
            "write the port that the program listens at, or make it listen there"
        )
    return f"{name} does not answer its probe as it should: {failing}; correct probe_path, or the program"


def _limit(pod: Json, container: str) -> str:
    for one in pod["spec"]["containers"]:
        if one["name"] == container:
            return str(one.get("resources", {}).get("limits", {}).get("memory", "none"))
    return "none"
