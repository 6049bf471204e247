# SPDX-License-Identifier: Apache-2.0
"""Why a workload's pods do not run, in one line with what to do; read from the cluster's objects and events."""

from __future__ import annotations

import json
import re
import time
import typing as t

from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.health import condition
from ansible.module_utils.yunkube.kube.objects import name_of
from ansible.module_utils.yunkube.result import Fault

REVISION = "deployment.kubernetes.io/revision"
LINES = 5  # of a log
# What a kubelet says instead of a log whose container it has just removed, until it looks again: at most so long.
GONE, GONE_SECONDS = ("unable to retrieve container logs", "failed to try resolving symlinks in path"), 3.0
PULLS = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "InvalidImageName", "ErrImageNeverPull")
RESTARTS = 3  # from which on a crash is no mishap
# Where kinds are that old manifests have in a version that is gone.
VERSIONS = {
    "apps/v1 and spec.selector": ("Deployment", "DaemonSet", "StatefulSet", "ReplicaSet"),
    "networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "rbac.authorization.k8s.io/v1": ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"),
    "batch/v1": ("Job", "CronJob"),
    "policy/v1": ("PodDisruptionBudget",),
}


class Trouble(t.NamedTuple):
    """What is wrong with pods, and whether waiting is useless."""

    fault: Fault
    lasting: bool = False


class Seen(t.NamedTuple):
    """A workload's state in the API at one moment."""

    workload: Json
    pods: list[Json]
    events: list[Json]
    owner: Json  # what makes the pods: a Deployment's newest ReplicaSet, else the workload itself


Log = t.Callable[[Json, str, bool], str]


def see(api: KubeApi, workload: Json, stamp: t.Callable[[Json], str]) -> Seen:
    """Ask for all that describes a workload: its pods of the newest template alone, and what was noted about them."""
    space = workload["metadata"]["namespace"]
    owner = workload
    if workload["kind"] == "Deployment":
        wanted = (workload["metadata"].get("annotations") or {}).get(REVISION)
        sets = owned(api.items(f"/apis/apps/v1/namespaces/{space}/replicasets"), workload)
        owner = next(
            (one for one in sets if (one["metadata"].get("annotations") or {}).get(REVISION) == wanted), workload
        )
    pods = owned(api.items(f"/api/v1/namespaces/{space}/pods"), owner)
    if workload["kind"] == "ReplicationController":
        pods = [pod for pod in pods if stamp(pod) == stamp(workload)]
    names = {one["metadata"]["name"] for one in (*pods, owner)}
    events = [
        event
        for event in api.items(f"/api/v1/namespaces/{space}/events")
        if (event.get("involvedObject") or {}).get("name") in names
    ]
    events.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return Seen(workload, [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")], events, owner)


def owned(found: t.Iterable[Json], owner: Json) -> list[Json]:
    """Return the objects that another one has made."""
    uid = owner["metadata"]["uid"]
    return [one for one in found if any(ref.get("uid") == uid for ref in one["metadata"].get("ownerReferences") or [])]


def log_of(api: KubeApi) -> Log:
    """Return a reader of the last lines of a container's log; a log that is not available has none."""

    def read(pod: Json, container: str, previous: bool) -> str:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log"
        query = {"container": container, "tailLines": str(LINES), **({"previous": "true"} if previous else {})}
        deadline = time.monotonic() + GONE_SECONDS
        try:
            while (text := _text(api.get(path, **query))).startswith(GONE) and time.monotonic() < deadline:
                time.sleep(0.3)
        except KubeError:
            return ""
        return "" if text.startswith(GONE) else text

    return read


def _text(answer: Json) -> str:
    return str(answer["text"] if set(answer) == {"text"} else json.dumps(answer)).strip()


def diagnose(seen: Seen, log: Log) -> Trouble | None:
    """Name the first thing that keeps the pods from running; None when there is nothing to see yet."""
    refused = condition(seen.owner, "ReplicaFailure") or condition(seen.workload, "ReplicaFailure")
    if refused.get("status") == "True":
        return _refused(str(refused.get("message", "")))
    for pod in seen.pods:
        if condition(pod, "Ready").get("status") != "True":
            trouble = _of_pod(pod, [event for event in seen.events if _is_about(event, pod)], log)
            if trouble:
                return trouble
    return None


def _is_about(event: Json, pod: Json) -> bool:
    return bool(event["involvedObject"].get("name") == pod["metadata"]["name"])


def _refused(message: str) -> Trouble:
    quota = re.search(
        r"exceeded quota: ([^,]+), requested: (.+?), used: (.+), limited: (.+)", message.replace("\n", " ")
    )
    if quota:
        name, requested, used, limited = quota.groups()
        said = f"quota {name} has no room for a pod: it requests {requested}; {used} of {limited} is used"
        return Trouble(Fault("quota", said, "lower cpu, memory or replicas, or raise the quota"), lasting=True)
    fault = Fault("refused", f"the cluster creates no pod: {message}", "correct what the message names")
    return Trouble(fault, lasting=True)


def _of_pod(pod: Json, events: list[Json], log: Log) -> Trouble | None:
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        requests = pod["spec"]["containers"][0].get("resources", {}).get("requests", {})
        asked = ", ".join(f"{key} {value}" for key, value in requests.items())
        said = f"no node has room for a pod ({asked}): {scheduled.get('message', '')}"
        return Trouble(Fault("nodes", said, "lower cpu or memory, or add a host"), lasting=True)
    for container in pod.get("status", {}).get("containerStatuses") or []:
        trouble = _of_container(pod, container, events, log)
        if trouble:
            return trouble
    return None


def _of_container(pod: Json, container: Json, events: list[Json], log: Log) -> Trouble | None:
    waiting = container.get("state", {}).get("waiting") or {}
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    if reason in PULLS:
        return _pull(str(container.get("image")), reason, message, events)
    ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
    lasting = container.get("restartCount", 0) >= RESTARTS
    if ended.get("reason") == "OOMKilled":
        limit = _spec_of(pod, container).get("resources", {}).get("limits", {}).get("memory", "its limit")
        said = f"a pod was killed because it used more memory than its limit of {limit}"
        fault = Fault("memory", said + _last(log(pod, container["name"], True)), "raise memory")
        return Trouble(fault, lasting=lasting)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        fault = Fault("container", f"a container cannot start: {message}", "correct what the message names")
        return Trouble(fault, lasting=True)
    probe = _probe(pod, container, events, log)
    killed = any(event.get("reason") == "Killing" and "failed" in str(event.get("message")) for event in events)
    if ended and not killed:
        # While it runs again, the previous log shows the cause; it may be running by now.
        said = f"the program exits with code {ended.get('exitCode')}, {container.get('restartCount', 0)} restarts"
        again = "terminated" not in container.get("state", {})
        text = log(pod, container["name"], again) or log(pod, container["name"], not again)
        fault = Fault("crash", said + _last(text), "see its log; is its configuration (env) correct?")
        return Trouble(fault, lasting=lasting)
    return probe


def _pull(image: str, reason: str, message: str, events: list[Json]) -> Trouble:
    failed = [str(event.get("message", "")) for event in events if "Failed to pull image" in str(event.get("message"))]
    answer = (failed[-1] if failed else message).strip()
    answer = re.sub(r'^(Back-off pulling image|Failed to pull image) "[^"]*":?\s*', "", answer) or message or reason
    answer = re.sub(r"^(ErrImagePull: )?(rpc error: code = \w+ desc = )?", "", answer)
    said = f"the image {image} cannot be pulled: {answer}"
    if reason == "InvalidImageName":
        fault = Fault("image", f"{image} is not a valid image name: {message}", "correct image")
        return Trouble(fault, lasting=True)
    if reason == "ErrImageNeverPull":
        remedy = "load the image on the nodes, or use a pull_policy other than Never"
    elif re.search(r"401|403|unauthorized|denied|authorization", answer, re.IGNORECASE):
        remedy = "the registry refuses the login: correct it, or the image's name"
    elif re.search(r"x509|certificate", answer):
        remedy = "the node does not trust the registry's certificate"
    elif re.search(r"not found|manifest unknown", answer):
        remedy = "correct image, or push it first"
    else:
        remedy = "is the registry's name correct, and can the nodes reach it?"
    return Trouble(Fault("image", said, remedy), lasting=reason != "ErrImagePull")


def _probe(pod: Json, container: Json, events: list[Json], log: Log) -> Trouble | None:
    failed = [str(event.get("message", "")) for event in events if event.get("reason") == "Unhealthy"]
    if not failed:
        return None
    message = failed[-1].strip()
    spec = _spec_of(pod, container)
    kind = message.partition(" ")[0].lower()
    asked = spec.get(f"{kind}Probe") or {}
    path = (asked.get("httpGet") or {}).get("path")
    port = next((entry["containerPort"] for entry in spec.get("ports") or []), "?")
    what = f"GET {path} on port {port}" if path else f"a connection to port {port}"
    last = _last(log(pod, container["name"], False))
    if "connection refused" in message:
        said = f"the {kind} probe failed: nothing listens on port {port} of the pod"
        return Trouble(Fault("probe", said + last, "set port to the one that the program listens on"))
    if code := re.search(r"statuscode: (\d+)", message):
        said = f"the {kind} probe failed: {what} was answered with {code[1]}"
        return Trouble(Fault("probe", said + last, "correct probe.path, or the program"))
    if re.search(r"timeout|deadline exceeded|Client.Timeout", message):
        said = f"the {kind} probe failed: {what} got no answer in {asked.get('timeoutSeconds', 1)} s"
        return Trouble(Fault("probe", said + last, "raise cpu, or use a probe.path that answers faster"))
    return Trouble(Fault("probe", message + last, "correct port or probe"))


def _spec_of(pod: Json, container: Json) -> Json:
    return next((one for one in pod["spec"]["containers"] if one["name"] == container["name"]), {})


def _last(text: str) -> str:
    lines = " | ".join(line.strip() for line in text.splitlines()[-LINES:] if line.strip())
    return f"; end of its log: {lines[-400:]}" if lines else ""


def refusal(error: KubeError, manifest: Json, services: t.Callable[[], list[Json]]) -> Fault:
    """Say why the API server rejects an object."""
    message = str(error)
    taken = re.search(r"nodePort: Invalid value: (\d+): provided port is already allocated", message)
    if taken:
        port = int(taken[1])
        holder = holder_of(port, services())
        said = f"node_port {port} is taken" + (f" by Service {holder}" if holder else "")
        return Fault("node_port", said, "choose another one")
    if bounds := re.search(r"nodePort: Invalid value: (\d+): .*valid ports is ([\d-]+)", message):
        said = f"node_port {bounds[1]} is out of the cluster's range, {bounds[2]}"
        return Fault("node_port", said, "choose one within it")
    if "exceeded quota" in message:
        return _refused(message).fault
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    return Fault("manifest", f"the API server rejects {name}: {message}", "")


def holder_of(port: int, services: t.Iterable[Json]) -> str:
    """Return namespace/name of the Service that has a node port, or nothing."""
    for service in services:
        ports = service.get("spec", {}).get("ports") or []
        if port in [entry.get("nodePort") for entry in ports] + [service.get("spec", {}).get("healthCheckNodePort")]:
            return f"{service['metadata']['namespace']}/{service['metadata']['name']}"
    return ""


def unknown_kind(manifest: Json) -> Fault:
    """Say that the API does not know a manifest's kind, and which version has the common ones."""
    kind, version = manifest["kind"], manifest["apiVersion"]
    known = next((found for found, kinds in VERSIONS.items() if kind in kinds), "")
    remedy = (
        f"write {known}" if known else "correct apiVersion and kind, or declare its CustomResourceDefinition as well"
    )
    message = f"{name_of(manifest)}: the API server has no kind {kind} in {version}"
    return Fault("manifest", message, remedy)
