# SPDX-License-Identifier: Apache-2.0
"""Prove a cluster's network with a pod on every node: what each pod can look up and reach."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import secrets
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.health import Problem, explained, pod_problem

LABELS = {"app.kubernetes.io/managed-by": "yunkube", "app.kubernetes.io/component": "verify"}
PROBE = "yunkube/probe"  # on every probe, so that `kubectl drain` can pass over them by a selector
PORT = 8080
ALL_PAIRS = 5  # nodes, up to which every pod asks every other; beyond, each asks the next


class Row(t.NamedTuple):
    """One check and what came of it."""

    check: str
    target: str
    ok: bool
    seconds: float
    detail: str = ""


class Pod(t.NamedTuple):
    """A probe on a node."""

    node: str
    address: str  # the pod's
    node_address: str


class Question(t.NamedTuple):
    """One check to make: a URL that this host fetches, and must fetch well."""

    check: str
    target: str
    url: str


def namespace_manifest(name: str) -> Json:
    """Return the namespace that holds everything, so that taking it away takes all."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LABELS}}


def service_manifest(namespace: str) -> Json:
    """Return a Service on all probes, with a port on every node."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "probe", "namespace": namespace, "labels": LABELS},
        "spec": {"type": "NodePort", "selector": LABELS, "ports": [{"name": "http", "port": 80, "targetPort": PORT}]},
    }


def pod_manifest(namespace: str, node: str, image: str) -> Json:
    """Return the probe of one node: placed there by name, so that a full or cordoned node is proved as well."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"probe-{node}", "namespace": namespace, "labels": {**LABELS, PROBE: ""}},
        "spec": {
            "nodeName": node,
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": [
                {
                    "name": "probe",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["serve"],
                    "env": [
                        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    ],
                    "readinessProbe": {"httpGet": {"port": PORT, "path": "/healthz"}, "periodSeconds": 1},
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


@contextlib.contextmanager
def probes(api: KubeApi, nodes: t.Sequence[str], image: str, seconds: float) -> t.Iterator[str]:
    """Run a probe on every node, in a namespace that goes away whatever happens; yield its name.

    The namespace may take up to `seconds` to get the account that every pod runs as.
    """
    chosen = ",".join(f"{key}={value}" for key, value in LABELS.items())
    for stale in api.items("/api/v1/namespaces", labelSelector=chosen):  # of a run that was killed
        api.delete(f"/api/v1/namespaces/{stale['metadata']['name']}")
    namespace = f"yunkube-verify-{secrets.token_hex(3)}"
    api.post("/api/v1/namespaces", namespace_manifest(namespace))
    try:
        api.post(f"/api/v1/namespaces/{namespace}/services", service_manifest(namespace))
        for node in nodes:
            _create_pod(api, namespace, pod_manifest(namespace, node, image), seconds)
        yield namespace
    finally:
        api.delete(f"/api/v1/namespaces/{namespace}")


def _create_pod(api: KubeApi, namespace: str, manifest: Json, seconds: float) -> None:
    """Create a pod, as soon as the new namespace has its account.

    The controller manager creates that. After a restart of its host it first waits until the lease expires that it had
    before: 15 s, times cluster_slow_factor.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            api.post(f"/api/v1/namespaces/{namespace}/pods", manifest)
            return
        except KubeError as error:
            if error.status != 403 or "serviceaccount" not in str(error):
                raise
            if time.monotonic() > deadline:
                message = f"the namespace {namespace} has no service account after {seconds:g} s: "
                message += "the controller manager, which creates it, is not running or does not get its lease"
                raise KubeError(message, error.status) from error
            time.sleep(0.05)


def wait_for_pods(
    api: KubeApi, namespace: str, addresses: dict[str, str], seconds: float
) -> tuple[list[Pod], list[Row]]:
    """Wait for the probes; return those that run, and a row for each node."""
    started = time.monotonic()
    ready: dict[str, tuple[Pod, float]] = {}
    while True:
        found = api.items(f"/api/v1/namespaces/{namespace}/pods")
        now = time.monotonic() - started
        there = {pod["spec"]["nodeName"] for pod in found if not pod["metadata"].get("deletionTimestamp")}
        waiting = {pod["spec"]["nodeName"]: detail for pod in found if (detail := pod_problem(pod))}
        waiting |= {node: "its probe was deleted" for node in addresses if node not in there and node not in ready}
        for pod in found:
            node = pod["spec"]["nodeName"]
            if node not in waiting and node not in ready:
                ready[node] = (Pod(node, pod["status"]["podIP"], addresses[node]), now)
        if not waiting or now > seconds:
            break
        time.sleep(0.15)
    problems = explained(api, [Problem("pod", f"{namespace}/probe-{node}", text) for node, text in waiting.items()])
    rows = [Row("pod starts", node, ok=True, seconds=round(after, 1)) for node, (_, after) in ready.items()]
    rows += [
        Row("pod starts", node, ok=False, seconds=round(now, 1), detail=problem.detail)
        for node, problem in zip(waiting, problems)
    ]
    return [pod for pod, _ in ready.values()], rows


def questions(pods: list[Pod], namespace: str, domain: str, service: str, port: int, here: str) -> list[Question]:
    """Return every check; `here` is the node that asks, and is asked from outside only when it is alone."""

    def asked(pod: Pod, url: str) -> str:
        return f"http://{pod.address}:{PORT}/fetch?url={quote(url, safe='')}"

    def lookup(pod: Pod, name: str) -> str:
        return f"http://{pod.address}:{PORT}/resolve?name={name}"

    pairs = list(itertools.permutations(pods, 2))
    if len(pods) > ALL_PAIRS:
        pairs = list(zip(pods, pods[1:] + pods[:1]))
    others = [pod for pod in pods if pod.node != here] or pods
    name = f"probe.{namespace}.svc.{domain}"
    found = [Question("DNS", pod.node, lookup(pod, f"kubernetes.default.svc.{domain}")) for pod in pods]
    found += [
        Question("pod to pod", f"{one.node} to {two.node}", asked(one, f"http://{two.address}:{PORT}/"))
        for one, two in pairs
    ]
    found += [Question("Service", f"{pod.node} to {service}", asked(pod, f"http://{service}/")) for pod in pods]
    found += [Question("Service by name", f"{pod.node} to {name}", asked(pod, f"http://{name}/")) for pod in pods]
    found += [
        Question("NodePort from a host", f"{here} to {pod.node_address}:{port}", f"http://{pod.node_address}:{port}/")
        for pod in others
    ]
    found += [
        Question(
            "NodePort from a pod",
            f"{one.node} to {two.node_address}:{port}",
            asked(one, f"http://{two.node_address}:{port}/"),
        )
        for one, two in zip(pods, pods[1:] + pods[:1])
    ]
    return found


def ask_all(asked: list[Question], seconds: float) -> list[Row]:
    """Ask everything at once, each question until it is answered well or the time is up."""
    if not asked:
        return []
    with ThreadPoolExecutor(max_workers=min(16, len(asked))) as pool:
        return list(pool.map(lambda question: _ask(question, seconds), asked))


def _ask(question: Question, seconds: float) -> Row:
    """A new Service needs a second to reach every node, so one refusal is not the last word."""
    started = time.monotonic()
    while True:
        detail = fetch(question.url)
        spent = time.monotonic() - started
        if not detail or spent > seconds:
            return Row(question.check, question.target, not detail, round(spent, 1), detail)
        time.sleep(0.1)


def fetch(url: str, timeout: float = scaled(5)) -> str:
    """Fetch one answer of a probe; return what is wrong with it, or nothing."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=timeout)
    try:
        connection.request("GET", f"{where.path}?{where.query}")
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException) as error:
        return f"{where.hostname}:{where.port} does not answer this host: {str(error) or type(error).__name__}"
    except ValueError:
        return f"{where.hostname}:{where.port} is not a probe"
    finally:
        connection.close()
    return "" if answer.get("ok") else str(answer.get("error") or "the probe reported a failure")
