# SPDX-License-Identifier: Apache-2.0
"""Services on a host: kube-proxy and node ports."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import BY_HAND, Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import FLANNEL, PODS, SERVICES
from ansible.module_utils.yunkube.doctor.rules.pods import BAD, WAIT


def proxy_down(facts: Facts) -> t.Iterator[Hit]:
    """Hosts without a healthy kube-proxy."""
    for host in facts.reached if "kube-proxy" not in facts.cluster.disabled else ():
        probe = host.probes.get("kube-proxy", "")
        if probe in ("", "ok") or not host.joined or not facts.cluster.node(host.name) or host.containers is None:
            continue
        found = next((one for one in host.containers if one["name"] == "kube-proxy"), None)
        pods = facts.pods_on(host.name, "kube-system", "kube-proxy")
        if any(pod["leaving"] or (pod["age"] < WAIT and pod["reason"] not in BAD) for pod in pods):
            continue
        if found and found["state"] == "running" and host.now - found["made"] < WAIT:
            continue
        evidence = [f"kube-proxy does not answer: {probe}"]
        evidence += [f"pod {pod['name']}: {pod['problem'] or 'ready'}" for pod in pods] or ["there is no pod of it"]
        selector = facts.cluster.workloads.get("kube-proxy", {}).get("selector", {})
        if not pods and set(selector) - {"kubernetes.io/os"}:
            evidence.append(f"its DaemonSet wants nodes with {selector}")
        yield Hit(host.host, evidence + (found["last"][-2:] if found else []))


KUBE_PROXY_DOWN = Rule(
    "kube-proxy-down",
    title="kube-proxy is not running",
    looks="Services and node ports on the host do not answer, or route to deleted pods.",
    proof=proxy_down,
    remedy=(
        "check DaemonSet kube-system/kube-proxy and its logs; if it was deleted, on a master: kubeadm init phase addon "
        f"kube-proxy {BY_HAND}"
    ),
    before=(*FLANNEL, *SERVICES, *PODS),
    link="https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/",
)


def port_taken(facts: Facts) -> t.Iterator[Hit]:
    """Node ports on which a program of the host listens."""
    for host in facts.reached:
        for service in facts.cluster.node_ports:
            owner = host.listeners.get(str(service["port"]))
            if owner is not None and owner != "kube-proxy" and service["protocol"] == "TCP":
                evidence = f"{owner or 'a program'} listens on {service['port']}, {service['service']}'s node port"
                yield Hit(host.host, [evidence], str(service["port"]))


NODE_PORT_TAKEN = Rule(
    "node-port-taken",
    title="A program on the host listens on a node port",
    looks="The Service answers on other nodes; on this one, the program answers or nothing does.",
    proof=port_taken,
    remedy="stop the program on {host}, or give the Service another nodePort than {target}",
    severity="warning",
    link="https://kubernetes.io/docs/concepts/services-networking/service/#type-nodeport",
)
