# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a real etcd: what is whole, whose it is, what it holds."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import etcd, etcd_backup, etcd_snapshot
from ansible.module_utils.yunkube.kube.etcd_snapshot import Cluster, Programs, SnapshotError
from etcd_programs import ID, PEM, run

MANIFEST = """
  containers:
  - command:
    - etcd
    - --initial-advertise-peer-urls=https://10.0.0.1:2380
    - --initial-cluster=m1=https://10.0.0.1:2380
    - --name=m1
    image: registry.k8s.io/etcd:3.7.0-0
"""


def test_a_newer_etcds_is_refused_before_it_fails_to_start(
    saved: Path, bundle: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "version", lambda: "3.6.16", raising=False)
    with pytest.raises(SnapshotError, match=r"was saved by etcd 3\.7\.0, and this host's is 3\.6\.16"):
        bundle.status(saved)


def test_without_an_id_a_snapshot_is_of_no_cluster() -> None:
    assert etcd_snapshot.objection(Cluster(), ID, PEM) == "holds no cluster of Kubernetes"
    assert "does not say which cluster" in etcd_snapshot.objection(Cluster(uid="x"), ID, PEM)
    assert etcd_snapshot.objection(Cluster(ID, "", "x"), ID, PEM) == ""


def test_keys_are_counted_by_resource() -> None:
    keys = [
        "/registry/pods/default/a", "", "/registry/pods/default/b", "/registry/services/specs/default/a",
        "/registry/example.org/shops/default/a", "/registry/ranges/serviceips", "compact_rev_key",
        "/registry/namespaces/a.b",
    ]  # fmt: skip
    assert etcd_snapshot.count(keys) == {
        "example.org/shops": 1, "namespaces": 1, "pods": 2, "ranges": 1, "services/specs": 1
    }  # fmt: skip


def test_the_manifest_of_kubeadm_is_read(tmp_path: Path) -> None:
    path = tmp_path / "etcd.yaml"
    with pytest.raises(etcd.EtcdError, match="runs no etcd of its own"):
        etcd_snapshot.read_manifest(path)
    path.write_text(MANIFEST)
    assert etcd_snapshot.read_manifest(path) == ("m1", "https://10.0.0.1:2380", "registry.k8s.io/etcd:3.7.0-0")


class Own(etcd.Etcd):
    """The etcd of the API server, as that of this host."""

    def __init__(self, ask: etcd_snapshot.Ask, folder: Path) -> None:
        super().__init__(run, "crictl")
        self.asked, self.folder = ask, folder

    def ask(self, *words: str) -> str:
        """Ask it."""
        return self.asked(*words)

    def ask_all(self, *words: str) -> str:
        """Ask it."""
        return self.asked(*words)

    def status(self) -> tuple[bool, int]:
        """Return its revision."""
        return True, int(json.loads(self.ask("get", "/", "--write-out=json"))["header"]["revision"])

    def snapshot(self, why: str) -> Path:
        """Save one."""
        path = self.folder / f"20261130T094500Z-{why}.db"
        self.ask("snapshot", "save", str(path))
        return path


@pytest.fixture
def own(ask: etcd_snapshot.Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Own:
    (tmp_path / "etcd.yaml").write_text(MANIFEST)
    monkeypatch.setattr(etcd_snapshot, "MANIFEST", tmp_path / "etcd.yaml")
    monkeypatch.setattr(etcd_backup, "healthy", lambda _own, _name: "")
    monkeypatch.setattr(etcd, "SNAPSHOTS", tmp_path / "passing")
    return Own(ask, tmp_path)


def test_a_backup_notes_what_the_cluster_had(own: Own, bundle: Programs) -> None:
    path, notes = etcd_backup.save(own, bundle, ID)
    assert notes["objects"] == etcd_snapshot.objects(own.ask, notes["revision"])
    assert (notes["member"], notes["size"]) == ("m1", path.stat().st_size)


def test_an_etcd_that_lost_its_data_is_not_saved(own: Own, bundle: Programs) -> None:
    own.ask("del", etcd_snapshot.IDENTITY)
    with pytest.raises(etcd.EtcdError, match="its data was lost or replaced"):
        etcd_backup.save(own, bundle, ID)
    assert not list(own.folder.glob("*.db"))


def test_a_member_that_is_not_healthy_is_not_saved(own: Own, bundle: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_backup, "healthy", lambda _own, name: f"{name} has no quorum")
    with pytest.raises(etcd.EtcdError, match="m1 has no quorum"):
        etcd_backup.save(own, bundle, ID)


def test_an_etcd_that_was_lost_and_filled_again_does_not_become_the_newest_backup(own: Own, bundle: Programs) -> None:
    path, notes = etcd_backup.save(own, bundle, ID)
    path.unlink()
    newest = {**notes, "name": "prod-20261130T094500Z.db"}
    etcd_backup.save(own, bundle, ID, newest)[0].unlink()
    etcd_backup.save(own, bundle, ID, {**newest, "cluster_id": "f" * 16, "revision": 10**9})[0].unlink()
    with pytest.raises(etcd.EtcdError, match=r"revision \d+, and .*\.db at 1000000000: etcd lost its data"):
        etcd_backup.save(own, bundle, ID, {**newest, "revision": 10**9})
    assert not list(own.folder.glob("*.db"))


def test_what_killed_runs_left_goes_by_exact_names_once_it_is_old(own: Own, bundle: Programs) -> None:
    etcd.SNAPSHOTS.mkdir()
    old = ["20261130T094500Z-backup.db", "20261130T094500Z-backup.part"]
    kept = ["20261130T094500Z-before-removal-of-m2.db", "mine-backup.db", "20261130T094501Z-backup.db"]
    for name in (*old, *kept):
        (etcd.SNAPSHOTS / name).write_text("x")
        if name != kept[-1]:
            os.utime(etcd.SNAPSHOTS / name, (0, 0))
    etcd_backup.save(own, bundle, ID)
    assert sorted(path.name for path in etcd.SNAPSHOTS.iterdir()) == sorted(kept)
