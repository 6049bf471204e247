# SPDX-License-Identifier: Apache-2.0
"""The ports that a joining host and the control plane need of each other, tried before kubeadm waits for minutes.

Nodes need no TCP port of each other but that of the cluster's own registry, which is on one host, so the number of
connections grows with the hosts and not with their pairs.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host import reach
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.host.reach import Target
from ansible.module_utils.yunkube.kube import kubeadm, unverified
from ansible.module_utils.yunkube.kube.api import KubeApi, is_master
from ansible.module_utils.yunkube.kube.bootstrap_tokens import CLUSTER_INFO
from ansible.module_utils.yunkube.kube.health import address_of, node_problem
from ansible.module_utils.yunkube.kube.x509 import read_certificate
from ansible.module_utils.yunkube.result import Fault

CHECK = "endpoint"  # the check's name in prepare_host_ignored_checks; at the join, node_try_ports turns it off
CONNECT_SECONDS = scaled(5.0)  # for a connection: a lost packet is sent again after one second, and after three
PATIENCE_SECONDS = scaled(10.0)  # an API server that is just restarting refuses connections meanwhile
PAUSE_SECONDS = 0.5
CORRECT = "correct cluster_control_plane_endpoint, or what forwards its port (a load balancer, a DNS name)"


def the_api(endpoint: str) -> Target:
    """Return the port that every joining host needs first."""
    host, _, port = endpoint.rpartition(":")
    return Target(host.strip("[]"), int(port), "the cluster's API", listening=True)


def of_masters(masters: t.Mapping[str, str]) -> list[Target]:
    """Return what a further master needs of those that are ready, given by name and address."""
    return [
        Target(address, port, "etcd of the control plane", name, listening=True)
        for name, address in masters.items()
        for port in constants.ETCD_PORTS
    ]


def of_registry(address: str) -> list[Target]:
    """Return where a host will pull from; on a new cluster nobody listens there yet."""
    host, _, port = address.rpartition(":")
    return [Target(host.strip("[]"), int(port), "the cluster's registry, for pulls")] if host else []


def of_joining(hosts: t.Mapping[str, str], masters: t.Container[str]) -> list[Target]:
    """Return what the control plane needs of hosts that join, where nobody listens yet."""
    return [
        Target(address, port, purpose, name)
        for name, address in hosts.items()
        for port, purpose in [
            (constants.KUBELET_PORT, "the kubelet's port, for the control plane"),
            *((port, "etcd's port, for the control plane") for port in constants.ETCD_PORTS if name in masters),
        ]
    ]


def blocked(targets: t.Sequence[Target]) -> dict[Target, Fault]:
    """Look at ports until all are as they must be, or the patience ends; return what is wrong with each."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    left = list(targets)
    while True:
        bad = [outcome for outcome in reach.look(left, CONNECT_SECONDS) if not outcome.good]
        if not bad or time.monotonic() + PAUSE_SECONDS > deadline:
            return {outcome.target: outcome.fault(CHECK) for outcome in bad}
        left = [outcome.target for outcome in bad]
        time.sleep(PAUSE_SECONDS)


def blocked_hosts(addresses: t.Mapping[str, str], masters: t.Container[str]) -> dict[str, str]:
    """Return the joining hosts that this host, of the control plane, cannot reach, and why: a line for each port."""
    found: dict[str, list[str]] = {}
    for target, fault in blocked(of_joining(addresses, masters)).items():
        found.setdefault(target.host, []).append(str(fault))
    return {host: "\n".join(lines) for host, lines in found.items()}


def etcd_addresses(api: KubeApi, root: Path = Path("/")) -> dict[str, str]:
    """Return the addresses of the masters that are ready; none where etcd runs elsewhere than on them."""
    if not (root / kubeadm.MANIFESTS / "etcd.yaml").exists():
        return {}
    nodes = [node for node in api.items("/api/v1/nodes") if is_master(node) and not node_problem(node)]
    return {node["metadata"]["name"]: address for node in nodes if (address := address_of(node))}


def endpoint_faults(endpoint: str, pins: t.Collection[str] = ()) -> list[Fault]:
    """Return why this host cannot join by the endpoint: its port cannot be reached, or is not the cluster's API."""
    faults = list(blocked([the_api(endpoint)]).values())
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not faults and (wrong := wrong_api(endpoint, pins)):
        if time.monotonic() + PAUSE_SECONDS > deadline:
            return [Fault(CHECK, wrong, CORRECT)]
        time.sleep(PAUSE_SECONDS)
    return faults


def wrong_api(endpoint: str, pins: t.Collection[str] = ()) -> str:
    """Say what is wrong with who answers at the endpoint: not an API server, or one with another CA than those pins.

    An API server that is slow, or that denies anonymous access to cluster-info, is left to kubeadm.
    """
    stranger = (
        f"{endpoint} answers, but not as a Kubernetes API server; a load balancer there may have no healthy backend"
    )
    try:
        answer = unverified.get(endpoint, CLUSTER_INFO, CONNECT_SECONDS)
        if not isinstance(answer, dict) or answer.get("kind") not in ("ConfigMap", "Status"):
            return stranger
        ca = re.search(r"certificate-authority-data: *(\S+)", (answer.get("data") or {}).get("kubeconfig") or "")
        if pins and ca and (pin := read_certificate(base64.b64decode(ca[1]).decode()).pin) not in pins:
            return f"the API server at {endpoint} belongs to another cluster: its CA is {pin}"
    except (ssl.SSLError, ConnectionError, http.client.HTTPException, json.JSONDecodeError) as error:
        return f"{stranger} ({str(error) or type(error).__name__})"
    except (OSError, ValueError):  # a time limit, an answer too long, or a description that kubeadm judges better
        return ""
    return ""
