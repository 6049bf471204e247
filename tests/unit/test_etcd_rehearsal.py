# SPDX-License-Identifier: Apache-2.0
"""An etcd is started from a snapshot: what cannot be used is refused, and nothing is left of it."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import etcd, etcd_rehearsal, etcd_snapshot
from ansible.module_utils.yunkube.kube.etcd_snapshot import Programs, SnapshotError
from etcd_programs import ID, PEM, run


def rehearse(bundle: Programs, path: Path, folder: Path, **more: t.Any) -> dict[str, t.Any]:
    """Rehearse with a snapshot of the cluster ID."""
    given = {"cluster_id": ID, "expected": {}, **more}
    return etcd_rehearsal.Rehearsal(path, path.name, given["cluster_id"], given["expected"]).run(
        bundle, folder, given.get("ca", PEM)
    )


def test_a_rehearsal_finds_what_the_api_kept_and_leaves_nothing(
    saved: Path, ask: etcd_snapshot.Ask, bundle: Programs, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    found = rehearse(bundle, saved, folder)
    assert found["objects"] == etcd_snapshot.objects(ask, found["revision"])
    assert found["objects"]["namespaces"] >= 2
    assert found["objects"]["configmaps"] >= 2
    assert list(folder.iterdir()) == []
    assert str(folder) not in subprocess.run(["ps", "ax"], capture_output=True, text=True, check=True).stdout


def test_what_was_noted_must_be_there(saved: Path, bundle: Programs, tmp_path: Path) -> None:
    found = rehearse(bundle, saved, tmp_path / "work")
    assert rehearse(bundle, saved, tmp_path / "work", expected=found)["objects"] == found["objects"]
    other = found["objects"] | {"namespaces": found["objects"]["namespaces"] + 1}
    with pytest.raises(SnapshotError, match=r"is not what was saved: it has namespaces: \d+, not \d+"):
        rehearse(bundle, saved, tmp_path / "work", expected={**found, "objects": other})
    with pytest.raises(SnapshotError, match="it has revision"):
        rehearse(bundle, saved, tmp_path / "work", expected={**found, "revision": found["revision"] + 1})


def test_another_clusters_is_refused_and_one_with_another_authority(
    saved: Path, bundle: Programs, tmp_path: Path
) -> None:
    with pytest.raises(SnapshotError, match=f"is of another cluster, with the id {ID}, not of this one"):
        rehearse(bundle, saved, tmp_path / "work", cluster_id="f" * 16)
    with pytest.raises(SnapshotError, match="another certificate authority"):
        rehearse(bundle, saved, tmp_path / "work", ca=PEM.replace("AAAA", "BBBB"))
    assert list((tmp_path / "work").iterdir()) == []


def test_a_damaged_or_cut_file_is_refused(saved: Path, bundle: Programs, tmp_path: Path) -> None:
    content = bytearray(saved.read_bytes())
    assert etcd_snapshot.refuse_damaged(saved) == content[-32:].hex()
    content[len(content) // 2] ^= 1
    saved.write_bytes(content)
    with pytest.raises(SnapshotError, match="is damaged"):
        rehearse(bundle, saved, tmp_path / "work")
    saved.write_bytes(content[:-100])
    with pytest.raises(SnapshotError, match="not a whole snapshot"):
        etcd_snapshot.refuse_damaged(saved)


class Own(etcd.Etcd):
    """The etcd of the API server, as that of this host."""

    def __init__(self, ask: etcd_snapshot.Ask) -> None:
        super().__init__(run, "crictl")
        self.asked = ask

    def ask(self, *words: str) -> str:
        """Ask it."""
        return self.asked(*words)

    def members(self) -> list[etcd.Member]:
        """Have none: they are not looked at."""
        return []


def test_the_live_cluster_is_told_from_another(ask: etcd_snapshot.Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Own(ask)
    live = etcd_rehearsal.look_live(own, ID)
    assert live.state == "ours"
    fault = etcd_rehearsal.objection_live(live)
    assert fault is not None
    assert "--rollback" in fault.remedy
    assert etcd_rehearsal.objection_live(etcd_rehearsal.look_live(own, "f" * 16)) is None

    def silent(*_words: str) -> str:
        raise etcd.EtcdError("no quorum")

    monkeypatch.setattr(own, "ask", silent)
    assert etcd_rehearsal.look_live(own, ID).state == "silent"


def test_what_changed_since_is_said_without_what_always_changes() -> None:
    assert etcd_rehearsal.since({"pods": 2, "leases": 1}, {"pods": 2, "leases": 4}).startswith("as many")
    assert "pods 2 → 3" in etcd_rehearsal.since({"pods": 2}, {"pods": 3})
