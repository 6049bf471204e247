# SPDX-License-Identifier: Apache-2.0
"""Nodes are drained for their turn and take pods again after it, at a real API."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import drain as draining
from ansible.module_utils.yunkube.upgrade import turn
from ansible.module_utils.yunkube.upgrade.plan import MARK
from kube_api_server import ApiServer

OPTIONS = {"force": False, "delete_emptydir_data": False, "timeout": 1}


class Kubectl:
    """kubectl that ends as it is told to."""

    def __init__(self, code: int = 0) -> None:
        """End so."""
        self.code = code
        self.drained: list[str] = []

    def __call__(self, argv: list[str]) -> tuple[int, str, str]:
        """Note which node is drained."""
        self.drained.append(argv[argv.index("drain") + 1])
        return self.code, "", "error: it does not go" if self.code else ""


@pytest.fixture
def server(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ApiServer:
    """Two nodes that are Ready, and one that is not."""
    (tmp_path / "admin.conf").write_text(server.kubeconfig)
    monkeypatch.setattr(draining, "ADMIN_CONF", str(tmp_path / "admin.conf"))
    for name, status in (("n1", "True"), ("n2", "True"), ("n3", "Unknown")):
        server.put(f"/api/v1/nodes/{name}", spec={}, status={"conditions": [{"type": "Ready", "status": status}]})
    return server


def state(server: ApiServer, name: str) -> tuple[bool, bool]:
    """Say whether a node is cordoned, and whether that is an upgrade's."""
    node = server.api.get(f"/api/v1/nodes/{name}")
    return bool(node["spec"].get("unschedulable")), MARK in (node["metadata"].get("annotations") or {})


def drain(server: ApiServer, kubectl: t.Any, *names: str, check_mode: bool = False) -> list[str]:
    """Drain nodes."""
    return turn.drain(server.api, kubectl, names, OPTIONS, check_mode=check_mode)


def test_a_batch_is_cordoned_drained_and_let_go_again(server: ApiServer) -> None:
    kubectl = Kubectl()
    assert drain(server, kubectl, "n1", "n2") == ["drain n1, n2"]
    assert kubectl.drained == ["n1", "n2"]
    assert state(server, "n1") == state(server, "n2") == (True, True)
    assert turn.uncordon(server.api, ["n1", "n2"], check_mode=True) == [
        f"let {name} take pods again" for name in ("n1", "n2")
    ]
    assert state(server, "n1") == (True, True)
    turn.uncordon(server.api, ["n1", "n2"], check_mode=False)
    assert state(server, "n1") == state(server, "n2") == (False, False)
    assert turn.uncordon(server.api, ["n1", "n2"], check_mode=False) == []


def test_a_node_that_somebody_cordoned_stays_so(server: ApiServer) -> None:
    server.api.patch("/api/v1/nodes/n1", {"spec": {"unschedulable": True}})
    kubectl = Kubectl()
    drain(server, kubectl, "n1")
    assert kubectl.drained == ["n1"]
    assert state(server, "n1") == (True, False)
    assert turn.uncordon(server.api, ["n1"], check_mode=False) == []
    assert state(server, "n1") == (True, False)


def test_one_that_is_not_ready_is_neither_drained_nor_let_go(server: ApiServer) -> None:
    kubectl = Kubectl()
    assert drain(server, kubectl, "n3") == []
    assert kubectl.drained == []
    server.api.patch("/api/v1/nodes/n3", draining.cordon(on=True, mark=MARK))
    assert turn.uncordon(server.api, ["n3"], check_mode=False) == []
    assert state(server, "n3") == (True, True)


def test_a_drain_that_fails_lets_them_take_pods_again(server: ApiServer) -> None:
    with pytest.raises(draining.DrainError, match="n1: not drained"):
        drain(server, Kubectl(1), "n1", "n2")
    assert state(server, "n1") == state(server, "n2") == (False, False)


def test_check_mode_changes_nothing(server: ApiServer) -> None:
    kubectl = Kubectl()
    assert drain(server, kubectl, "n1", check_mode=True) == ["drain n1"]
    assert kubectl.drained == []
    assert state(server, "n1") == (False, False)


def test_a_removal_and_an_upgrade_keep_their_marks_apart(server: ApiServer) -> None:
    server.api.patch("/api/v1/nodes/n1", draining.cordon(on=True))
    assert turn.uncordon(server.api, ["n1"], check_mode=False) == []
    assert draining.MARK != MARK
