# SPDX-License-Identifier: Apache-2.0
"""Whether node ports answer: that a pod is ready, kube-proxy learns on each node in its own time."""

from __future__ import annotations

import errno
import socket
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube.api import Json, KubeApi
from ansible.module_utils.yunkube.kube.health import address_of, node_problem
from ansible.module_utils.yunkube.words import joined

PATIENCE = scaled(15.0)  # seconds; kube-proxy syncs at most once a second, a busy node takes several
PAUSE = 0.2
CONNECT = scaled(2.0)  # seconds
AT_ONCE = 16


class NodePort(t.NamedTuple):
    """A port of a node: the node's name and address, and the port."""

    node: str
    address: str
    port: int


def of_services(api: KubeApi, services: t.Iterable[Json]) -> t.Iterator[NodePort]:
    """Yield the declared node ports of web services on every node that is ready."""
    ports = [service["node_port"] for service in services if service["node_port"]]
    for node in api.items("/api/v1/nodes") if ports else ():
        if (address := address_of(node)) and not node_problem(node):
            yield from (NodePort(node["metadata"]["name"], address, port) for port in ports)


def refuses(one: NodePort) -> bool:
    """Say whether a connection is refused, as it is where kube-proxy knows no ready pod of the Service.

    Silence is no refusal: a firewall may keep this host from the ports of another.
    """
    family = socket.AF_INET6 if ":" in one.address else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(CONNECT)
        return connection.connect_ex((one.address, one.port)) == errno.ECONNREFUSED


def wait(ports: t.Iterable[NodePort], seconds: float | None = None) -> list[NodePort]:
    """Wait until no node refuses a connection; return the ports that are still refused after these seconds."""
    deadline = time.monotonic() + (PATIENCE if seconds is None else seconds)
    left = list(ports)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while left:
            asked = [(one, pool.submit(refuses, one)) for one in left]
            left = [one for one, refused in asked if refused.result()]
            if not left or time.monotonic() > deadline:
                break
            time.sleep(PAUSE)
    return left


def refused_in_words(refused: list[NodePort]) -> list[str]:
    """Say which node ports refuse connections although the pods behind them are ready."""
    nodes: dict[int, list[str]] = {}
    for one in refused:
        nodes.setdefault(one.port, []).append(one.node)
    return [
        f"node port {port} refuses connections on {joined(on)} although its pods are ready; see: doctor"
        for port, on in nodes.items()
    ]
