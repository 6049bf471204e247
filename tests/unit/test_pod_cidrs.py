# SPDX-License-Identifier: Apache-2.0
"""Which node has which addresses for its pods, by the API."""

from __future__ import annotations

import threading
import typing as t

import pod_cidrs as module
import pytest
from ansible.module_utils.yunkube.kube.api import KubeApi, parse_kubeconfig
from kube_api_server import ApiServer


def node(name: str, address: str, **spec: str) -> dict[str, t.Any]:
    """Return a Node's parts."""
    return {
        "metadata": {"name": name},
        "spec": spec,
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


@pytest.fixture
def api(server: ApiServer) -> t.Iterator[KubeApi]:
    """An API with two nodes, one of which has just joined."""
    server.put("/api/v1/nodes/master-1", **node("master-1", "10.0.0.1", podCIDR="10.244.0.0/24"))
    server.put("/api/v1/nodes/node-1", **node("node-1", "10.0.0.2"))
    with KubeApi(parse_kubeconfig(server.kubeconfig)) as api:
        yield api


def test_a_node_that_has_just_joined_is_waited_for(server: ApiServer, api: KubeApi) -> None:
    later = node("node-1", "10.0.0.2", podCIDR="10.244.1.0/24")
    timer = threading.Timer(0.5, lambda: server.put("/api/v1/nodes/node-1", **later))
    timer.start()
    assert module.read(api, (), 20) == {
        "master-1": {"cidr": "10.244.0.0/24", "address": "10.0.0.1"},
        "node-1": {"cidr": "10.244.1.0/24", "address": "10.0.0.2"},
    }
    timer.join()


def test_one_that_gets_none_has_none_and_one_that_leaves_is_left_out(api: KubeApi) -> None:
    assert module.read(api, (), 0)["node-1"] == {"cidr": "", "address": "10.0.0.2"}
    assert list(module.read(api, {"node-1"}, 20)) == ["master-1"]
