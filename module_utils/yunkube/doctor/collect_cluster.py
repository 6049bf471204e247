# SPDX-License-Identifier: Apache-2.0
"""Ask the API for everything that the doctor wants to know of the cluster."""

from __future__ import annotations

import concurrent.futures
import ipaddress
import json
import re
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.doctor import addons as kubeadms
from ansible.module_utils.yunkube.doctor import collect_objects
from ansible.module_utils.yunkube.doctor.facts import ClusterFacts, Json
from ansible.module_utils.yunkube.doctor.path_plan import plan
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError, instant, is_master
from ansible.module_utils.yunkube.kube.health import address_of, condition, pod_problem, workload_problem
from ansible.module_utils.yunkube.kube.objects import read_data

# Who may ask, the first that is there: the second exists on the first master, and is as good for reading.
KUBECONFIGS = ("etc/kubernetes/admin.conf", "etc/kubernetes/super-admin.conf")
SYSTEM = ("kube-system", "kube-flannel", "dashboard", "registry")
WORKLOADS = {
    "coredns": "/apis/apps/v1/namespaces/kube-system/deployments/coredns",
    "kube-proxy": "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy",
    "kube-flannel-ds": "/apis/apps/v1/namespaces/kube-flannel/daemonsets/kube-flannel-ds",
}
REMOVING = "yunkube/removing"
Found = t.TypeVar("Found")
LEASE = "flannel.alpha.coreos.com/public-ip"  # how flanneld announces its address
BACKEND = "flannel.alpha.coreos.com/backend-data"  # and which link of it takes their packets


class Declared(t.NamedTuple):
    """What the inventory declares of the cluster's objects."""

    manifests: t.Sequence[Json] = ()
    addons: t.Sequence[str] = ()  # Deployments, as the role cluster names them
    proxy: t.Mapping[str, t.Any] = {}  # fields of kube-proxy's configuration
    patches: t.Sequence[Json] = ()  # of kubeadm's, for what it makes in the cluster
    address: str = ""  # of this master


def collect_cluster(host: str, root: Path = Path("/"), declared: Declared = Declared()) -> ClusterFacts:  # noqa: B008
    """Return what the API reports, or why it does not answer."""
    facts = ClusterFacts(host, now=time.time())
    found = [root / name for name in KUBECONFIGS if (root / name).exists()]
    if not found:
        facts.detail = "there is no kubeconfig on this host: /etc/kubernetes/admin.conf is missing"
        return facts
    try:
        with KubeApi.from_file(str(found[0]), timeout=4) as api:
            facts.server = api.server
            nodes = api.items("/api/v1/nodes")  # alone: an API that is away is waited for once
            events = api.items("/api/v1/events", fieldSelector="type=Warning", limit="500")
            configuration = str(((api.find(kubeadms.CONFIG) or {}).get("data") or {}).get("ClusterConfiguration", ""))
            facts.disabled = kubeadms.disabled(configuration)
            # A webhook may hold up the comparison, and much of the rest is waiting, too.
            with concurrent.futures.ThreadPoolExecutor(3) as pool:

                def aside(ask: t.Callable[[KubeApi], Found]) -> concurrent.futures.Future[Found]:
                    return pool.submit(_on_its_own, found[0], ask)

                text = pool.submit(_printed, configuration, facts.server, declared)
                beside = (
                    aside(lambda own: collect_objects.fill(facts, own, events, declared.addons)),
                    aside(lambda own: collect_objects.compare(facts, own, declared.manifests, text.result)),
                )
                _fill(facts, api, nodes, events)
                for one in beside:
                    one.result()
            facts.answers = True
    except KubeError as error:
        facts.detail = str(error)
    return facts


def _on_its_own(kubeconfig: Path, ask: t.Callable[[KubeApi], Found]) -> Found:
    """Ask on a connection of one's own."""
    with KubeApi.from_file(str(kubeconfig), timeout=4) as api:
        return ask(api)


def _printed(configuration: str, server: str, declared: Declared) -> kubeadms.Printed:
    """Return what kubeadm declares, by the configuration that it keeps in the cluster."""
    if not configuration:
        return kubeadms.Printed({})
    given = kubeadms.Declaration(server, declared.proxy, declared.patches, declared.address)
    return kubeadms.printed(configuration, given)


def _fill(facts: ClusterFacts, api: KubeApi, nodes: list[Json], events: list[Json]) -> None:
    facts.nodes = [node_facts(node) for node in nodes]
    warnings = warnings_of(events)
    pods, services = api.items("/api/v1/pods"), api.items("/api/v1/services")
    found = [pod_facts(pod, warnings, facts.now) for pod in pods]
    facts.pods = [pod for pod in found if pod["system"] or pod["problem"] or pod["leaving"]]
    for name, path in WORKLOADS.items():
        facts.workloads[name] = workload_facts(api.find(path))
    flannel = api.find("/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg")
    facts.net_conf = net_conf(flannel)
    facts.node_ports = [
        {"service": name_of(service), "port": port["nodePort"], "protocol": port.get("protocol", "TCP")}
        for service in services
        for port in service["spec"].get("ports") or []
        if port.get("nodePort")
    ]
    vxlan = facts.net_conf.get("Backend", {}).get("Type") == "vxlan"
    staying = [node for node in nodes if REMOVING not in (node["metadata"].get("annotations") or {})]
    facts.paths = plan(staying, pods, services, system=SYSTEM, vxlan=vxlan, now=facts.now)
    slices = api.items(
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices",
        labelSelector="kubernetes.io/service-name=kube-dns",
    )
    ready = [
        endpoint.get("conditions", {}).get("ready", True) for part in slices for endpoint in part.get("endpoints") or []
    ]
    facts.dns_endpoints = sum(bool(one) for one in ready)
    secrets = "/api/v1/namespaces/kube-system/secrets"
    for token in api.items(secrets, fieldSelector="type=bootstrap.kubernetes.io/token"):
        data = read_data(token)
        facts.tokens[data.get("token-id", "")] = data.get("expiration", "")


def name_of(found: Json) -> str:
    """Return namespace/name."""
    return f"{found['metadata']['namespace']}/{found['metadata']['name']}"


def seconds_since(text: str | None, now: float) -> float:
    """Return the seconds since a time of the API; no time counts as long ago."""
    return round(now - instant(text).timestamp(), 1) if text else 1e9


def node_facts(node: Json) -> Json:
    """Return what matters of a node."""
    metadata, spec = node["metadata"], node.get("spec", {})
    ready = condition(node, "Ready")
    network = condition(node, "NetworkUnavailable")
    notes = metadata.get("annotations") or {}
    mac = re.search(r'"VtepMAC":"([^"]+)"', notes.get(BACKEND, ""))
    return {
        "name": metadata["name"],
        "ready": ready.get("status") == "True",
        "reason": ": ".join(str(ready[key]) for key in ("reason", "message") if ready.get(key)),
        "master": is_master(node),
        "pod_cidr": spec.get("podCIDR", ""),
        "cordoned": bool(spec.get("unschedulable")),
        "lease": LEASE in notes,
        "public_ip": "" if f"{LEASE}-overwrite" in notes else notes.get(LEASE, ""),
        "vtep": mac[1].lower() if mac else "",
        "removing": REMOVING in notes,
        "taints": [f"{taint['key']}:{taint['effect']}" for taint in spec.get("taints") or []],
        "address": address_of(node),
        "network": network.get("reason", "") if network.get("status") == "True" else "",
        "pressure": [kind for kind in PRESSURES if condition(node, kind).get("status") == "True"],
    }


CRASHED = 30  # seconds after its start within which the end of a container is a crash
PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure")


def warnings_of(events: list[Json]) -> dict[str, list[str]]:
    """Return the warning events of each pod, the newest last, each once."""
    found: dict[str, list[str]] = {}
    for event in sorted(events, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or "")):
        about = event.get("involvedObject", {})
        if about.get("kind") == "Pod":
            line = f"{event.get('reason')}: {' '.join(str(event.get('message')).split())[:400]}"
            lines = found.setdefault(f"{about.get('namespace')}/{about.get('name')}", [])
            lines[:] = [*[said for said in lines if said != line], line][-3:]
    return found


def crash(container: Json, now: float) -> str:
    """Say that a container has failed soon after its start and has not run for longer since; nothing if it has.

    Without a readiness probe its pod is ready at that moment, between two waits of CrashLoopBackOff. Whoever looks then
    must not take it for healthy. How one ended that its host has lost, in a reboot, is Unknown.
    """
    last = container.get("lastState", {}).get("terminated") or {}
    running = container.get("state", {}).get("running") or {}
    if not last.get("exitCode") or last.get("reason") == "Unknown":
        return ""
    if not (last.get("startedAt") and last.get("finishedAt") and running.get("startedAt")):
        return ""
    lasted = instant(last["finishedAt"]).timestamp() - instant(last["startedAt"]).timestamp()
    if lasted > CRASHED or now - instant(running["startedAt"]).timestamp() > lasted + 2:  # times are in whole seconds
        return ""
    return f"container {container['name']} has just been restarted; last exit code {last['exitCode']}"


def pod_facts(pod: Json, warnings: t.Mapping[str, list[str]], now: float) -> Json:
    """Return what matters of a pod."""
    metadata, status = pod["metadata"], pod.get("status", {})
    states = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    probed = {one["name"] for one in pod["spec"]["containers"] if "readinessProbe" in one}
    unproved = () if "deletionTimestamp" in metadata else (one for one in states if one["name"] not in probed)
    crashing = next(filter(None, (crash(one, now) for one in unproved)), "")
    problem = pod_problem(pod) or crashing
    waiting = [state["state"]["waiting"] for state in states if "waiting" in state.get("state", {})]
    chosen: Json = next((entry for entry in waiting if entry.get("reason") not in ("PodInitializing", None)), {})
    chosen = chosen or ({"reason": "CrashLoopBackOff"} if crashing else {})
    scheduled = condition(pod, "PodScheduled")
    spec = pod["spec"]
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "node": spec.get("nodeName", ""),
        "system": metadata["namespace"] in SYSTEM,
        "problem": problem[:400],
        "reason": chosen.get("reason", ""),
        "message": str(chosen.get("message", ""))[:400],
        "unplaced": scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        "age": seconds_since(metadata.get("creationTimestamp"), now),
        "unready": seconds_since(condition(pod, "Ready").get("lastTransitionTime"), now) if problem else 0,
        "leaving": "deletionTimestamp" in metadata,
        "left": seconds_since(metadata["deletionTimestamp"], now) if "deletionTimestamp" in metadata else 0,
        "finalizers": metadata.get("finalizers") or [],
        "restarts": sum(int(state.get("restartCount", 0)) for state in states),
        "images": [one["image"] for one in [*(spec.get("initContainers") or []), *spec["containers"]]],
        "warnings": warnings.get(name_of(pod), []) if problem else [],
    }


def workload_facts(found: Json | None) -> Json:
    """Return whether a workload is there and rolled out, and where it may run."""
    if found is None:
        return {"there": False, "problem": "not there", "replicas": 0, "selector": {}}
    spec = found["spec"]
    selector = spec["template"]["spec"].get("nodeSelector") or {}
    return {
        "there": True,
        "problem": workload_problem(found),
        "replicas": spec.get("replicas", 1),
        "selector": selector,
        "containers": [one["image"] for one in spec["template"]["spec"]["containers"]],
    }


def net_conf(configmap: Json | None) -> Json:
    """Return flannel's network, or what is wrong with it."""
    if configmap is None:
        return {"problem": "ConfigMap kube-flannel/kube-flannel-cfg is not there"}
    try:
        read = json.loads(configmap["data"]["net-conf.json"])
        ipaddress.ip_network(read["Network"], strict=False)
        return {"Network": read["Network"], "Backend": dict(read.get("Backend", {}))}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        return {"problem": f"net-conf.json does not parse: {error}"}
