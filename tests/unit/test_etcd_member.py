# SPDX-License-Identifier: Apache-2.0
"""A master's etcd is healthy only when it answers a proposal; a host without one is no failure."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import etcd, etcd_backup, etcd_snapshot
from real_module import run as run_module

MEMBER = etcd.Member("1", "m1", ("10.0.0.1",), ("https://10.0.0.1:2379",))


class Own(etcd.Etcd):
    """An etcd of one member."""

    def __init__(self, *, well: bool) -> None:
        super().__init__(lambda _argv: (0, "", ""), "crictl")
        self.well = well

    def members(self) -> list[etcd.Member]:
        """Return the member."""
        return [MEMBER]

    def healthy(self, members: object) -> set[str]:
        """Return its endpoint, if it answers."""
        del members
        return set(MEMBER.clients) if self.well else set()


def test_a_member_is_healthy_by_its_own_endpoint() -> None:
    assert etcd_backup.healthy(Own(well=True), "m1") == ""
    assert "has no quorum" in etcd_backup.healthy(Own(well=False), "m1")
    assert "has no quorum" in etcd_backup.healthy(Own(well=True), "m2")


def test_without_a_container_the_reason_is_told() -> None:
    assert "no container of etcd" in etcd_backup.healthy(etcd.Etcd(lambda _argv: (0, "", ""), "crictl"), "m1")


def test_a_host_without_etcd_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(etcd_snapshot, "MANIFEST", tmp_path / "etcd.yaml")
    _, result = run_module(importlib.import_module("etcd_member").main, {}, monkeypatch, capsys)
    assert (result["healthy"], result["name"], result["changed"]) == (False, "", False)
    assert "runs no etcd of its own" in result["detail"]
