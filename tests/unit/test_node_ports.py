# SPDX-License-Identifier: Apache-2.0
"""Node ports are waited for where they are refused, on real sockets."""

from __future__ import annotations

import socket
import threading
import time
import typing as t
from collections.abc import Iterator

import pytest
from ansible.module_utils.yunkube.kube import node_ports
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, parse_kubeconfig
from ansible.module_utils.yunkube.kube.node_ports import NodePort
from ansible.module_utils.yunkube.web.deploy import Deploy
from ansible.module_utils.yunkube.web.service import OPTIONS
from fake_controllers import Controllers
from fake_kube_api import FakeKubeApi


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """A port of this host that refuses connections: it is bound, and nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def number(port: socket.socket) -> int:
    return t.cast("int", port.getsockname()[1])


def of(port: socket.socket) -> NodePort:
    return NodePort("n1", "127.0.0.1", number(port))


def test_a_port_that_refuses_for_ever_is_returned(port: socket.socket) -> None:
    assert node_ports.wait([of(port)], seconds=0.3) == [of(port)]


def test_a_port_that_answers_later_is_waited_for(port: socket.socket) -> None:
    began = time.monotonic()
    threading.Timer(0.5, port.listen).start()
    assert node_ports.wait([of(port)], seconds=10) == []
    assert time.monotonic() - began >= 0.5


def test_a_port_that_is_silent_is_not_waited_for(port: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_ports, "CONNECT", 0.2)
    port.listen(0)
    with socket.create_connection(port.getsockname()), socket.socket() as more:  # its queue is full: nothing answers
        more.settimeout(0.1)
        more.connect_ex(port.getsockname())
        assert node_ports.wait([of(port)], seconds=10) == []


def node(*, ready: bool) -> Json:
    status = {"type": "Ready", "status": str(ready)}
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
    return {"status": {"conditions": [status], "addresses": addresses}}


def applied(fake: FakeKubeApi, **service: t.Any) -> list[NodePort]:
    """Apply a service; return where it was refused in the end."""
    default = {name: option.get("default") for name, option in OPTIONS.items()}
    with KubeApi(parse_kubeconfig(fake.kubeconfig)) as api:
        run = Deploy(api, [{**default, "name": "web", "image": "web:1", **service}], "r/login", dry_run=False)
        run.run(3)
    assert run.faults == []
    return run.refused


def test_the_ready_nodes_are_asked_about_what_was_changed(
    fake: FakeKubeApi, port: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_ports, "PATIENCE", 0.0)
    for name in ("default", "kube-system"):
        fake.put(f"/api/v1/namespaces/{name}")
    Controllers(fake)
    for name, ready in (("n1", True), ("n2", False)):
        fake.put(f"/api/v1/nodes/{name}", **node(ready=ready))
    assert applied(fake, node_port=number(port)) == [of(port)]
    assert applied(fake, node_port=number(port)) == []  # nothing was changed
    assert applied(fake, node_port=number(port), image="web:2") == [of(port)]
    assert applied(fake, node_port=number(port), image="web:3", replicas=0) == []


def test_the_notice_names_port_and_nodes() -> None:
    refused = [NodePort("n1", "10.0.0.1", 31111), NodePort("n2", "10.0.0.2", 31111)]
    (line,) = node_ports.refused_in_words(refused)
    assert line.startswith("node port 31111 refuses connections on n1 and n2")
