# SPDX-License-Identifier: Apache-2.0
"""Which paths of the data plane each host tries: from what the API says, few for each host however many there are.

A host tries the next one of the ring and one of the control plane, so that the paths grow with the hosts and not with
their pairs.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.kube.api import instant, is_master
from ansible.module_utils.yunkube.kube.health import address_of, condition

Json = dict[str, t.Any]
SETTLED = 30  # seconds after which a pod is expected to be reached
DNS_LABEL, DNS_PORT = ("k8s-app", "kube-dns"), 53
SERVICES = {"default/kubernetes": "api", "kube-system/kube-dns": "dns"}


def plan(
    nodes: list[Json], pods: list[Json], services: list[Json], *, system: t.Sequence[str], vxlan: bool, now: float
) -> dict[str, Json]:
    """Return for each node what it tries (`targets`), and between whom it has to let packets pass."""
    ready = [node for node in nodes if condition(node, "Ready").get("status") == "True"]
    ring = {str(node["metadata"]["name"]): node for node in sorted(ready, key=lambda node: node["metadata"]["name"])}
    settled = [pod for pod in pods if _settled(pod, now)]
    tried = {name: _pod_of(name, settled, system) for name in ring}
    masters = [name for name, node in ring.items() if is_master(node)]
    common = _services(services) + _dns_pods(settled)
    common += [_target("api-host", name, "the API", address_of(ring[name]), constants.API_PORT) for name in masters[:1]]
    found: dict[str, Json] = {}
    for number, name in enumerate(ring):
        others = [*ring][number + 1 :] + [*ring][:number]
        with_pods = [other for other in others if tried[other]]
        # The last asks this one, the first and a master are asked by it.
        asked = dict.fromkeys([*others[:1], *with_pods[:1], *masters[number % (len(masters) or 1) :][:1]])
        ends = dict.fromkeys([*asked, *others[-1:], *with_pods[-1:], *masters[:1]])
        targets = [_overlay(other, ring[other]) for other in asked if vxlan and other != name] + common
        targets += [tried[other] for other in asked if other != name and tried[other]]
        found[name] = {
            "targets": [one for one in targets if one["address"]],
            "peers": [
                {
                    "node": other,
                    "address": address_of(ring[other]),
                    # Without pods, the address that its first one will have: for rules that ask where packets go.
                    "pod": tried[other].get("address") or _first_address(ring[other]),
                }
                for other in ends
                if other != name
            ],
            "me": tried[name],
            "first": _first_address(ring[name]),
            "address": address_of(ring[name]),
        }
    return found


def _first_address(node: Json) -> str:
    """Return the address that a node's first pod gets: those before it are the network's and the bridge's."""
    range_ = node["spec"].get("podCIDR")
    return str(ipaddress.ip_network(range_)[2]) if range_ else ""


def _overlay(name: str, node: Json) -> Json:
    """Return the address that flanneld gives to its link on a node: it answers without any pod."""
    range_ = node["spec"].get("podCIDR")
    address = str(ipaddress.ip_network(range_)[0]) if range_ and ":" not in range_ else ""
    return _target("overlay", name, "flannel's link", address, constants.KUBELET_PORT)


def _target(kind: str, node: str, name: str, address: str, port: int) -> Json:
    return {"kind": kind, "node": node, "name": name, "address": address, "port": port}


def _settled(pod: Json, now: float) -> bool:
    """Say whether a pod has an address of its own that others reach."""
    ready, status = condition(pod, "Ready"), pod.get("status", {})
    if pod["spec"].get("hostNetwork") or "deletionTimestamp" in pod["metadata"] or not status.get("podIP"):
        return False
    since = str(ready.get("lastTransitionTime") or "")
    return ready.get("status") == "True" and bool(since) and now - instant(since).timestamp() > SETTLED


def _pod_of(node: str, pods: list[Json], system: t.Sequence[str]) -> Json:
    """Return the pod of a node that others try: one of ours where there is one, for users may shut theirs off."""
    here = [pod for pod in pods if pod["spec"].get("nodeName") == node and ":" not in pod["status"]["podIP"]]
    here.sort(key=lambda pod: (pod["metadata"]["namespace"] not in system, pod["metadata"]["name"]))
    return _pod("pod", here[0]) if here else {}


def _pod(kind: str, pod: Json) -> Json:
    ports = [
        int(port["containerPort"])
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or []
        if port.get("protocol", "TCP") == "TCP"
    ]
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    # Where nobody listens, the refusal proves the path as well.
    return _target(kind, pod["spec"].get("nodeName", ""), name, pod["status"]["podIP"], (ports or [1])[0])


def _dns_pods(pods: list[Json]) -> list[Json]:
    chosen = [pod for pod in pods if DNS_LABEL in (pod["metadata"].get("labels") or {}).items()]
    return [{**_pod("dns-pod", pod), "port": DNS_PORT} for pod in chosen[:3]]


def _services(services: list[Json]) -> list[Json]:
    found = []
    for service in services:
        name = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
        address = str(service["spec"].get("clusterIP") or "")
        if name in SERVICES and address not in ("", "None") and ":" not in address:
            port = int(service["spec"]["ports"][0]["port"])
            kinds = ("api",) if SERVICES[name] == "api" else ("dns-tcp", "dns-udp")
            found += [_target(kind, "", name, address, port) for kind in kinds]
    return found
