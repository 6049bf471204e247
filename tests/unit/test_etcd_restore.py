# SPDX-License-Identifier: Apache-2.0
"""Etcd's data is made from a snapshot with the members that it is to have, and what was there is kept."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import etcd, etcd_restore, etcd_snapshot
from ansible.module_utils.yunkube.kube.etcd_restore import KEPT, PART, Restore
from ansible.module_utils.yunkube.kube.etcd_snapshot import Programs
from etcd_programs import run
from kube_api_server import free_ports, started

NONE = (0, "", "")
HIGHER = 1_796_000_000_000


@pytest.fixture
def members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """One member, on free ports of the loopback."""
    (peer,) = free_ports(1)
    manifest = tmp_path / "etcd.yaml"
    manifest.write_text(
        f"    - --initial-advertise-peer-urls=http://127.0.0.1:{peer}\n    - --name=m1\n    image: etcd\n"
    )
    monkeypatch.setattr(etcd_snapshot, "MANIFEST", manifest)
    return {"m1": f"http://127.0.0.1:{peer}"}


@pytest.fixture
def restore(tmp_path: Path) -> Restore:
    """A host without containers."""
    return Restore(lambda _argv: NONE, "crictl", tmp_path / "etcd")


def test_the_restored_etcd_has_its_member_and_goes_on_from_a_higher_revision(
    restore: Restore,
    members: dict[str, str],
    saved: Path,
    bundle: Programs,
    tmp_path: Path,
) -> None:
    restore.prepare(bundle, saved, members, revision=HIGHER)
    (tmp_path / "etcd/member").mkdir()
    (tmp_path / "etcd/member/old").write_text("kept")
    stopped: list[str] = []
    changes = restore.swap(lambda: stopped.append("kubelet"))
    assert stopped == ["kubelet"]
    (kept,) = (tmp_path / "etcd").glob(f"{KEPT}*")
    assert (kept / "member/old").read_text() == "kept"
    assert str(kept) in " ".join(changes)
    assert not (tmp_path / "etcd" / PART).exists()
    (clients,) = free_ports(1)
    at = f"http://127.0.0.1:{clients}"
    argv = [bundle.folder / "etcd", f"--data-dir={tmp_path}/etcd", "--unsafe-no-fsync", "--name=m1"]
    argv += [f"--listen-client-urls={at}", f"--advertise-client-urls={at}", f"--listen-peer-urls={members['m1']}"]
    with started(
        tmp_path, [*argv, f"--initial-advertise-peer-urls={members['m1']}", f"--initial-cluster=m1={members['m1']}"]
    ):
        own = Loopback(bundle, at)
        restore.await_members(own, members)
        assert etcd.addresses(own.members()) == members  # not http://localhost:2380
        assert own.status() == (True, HIGHER)
        with pytest.raises(etcd.EtcdError, match="has been compacted"):
            own.ask("get", "a", f"--rev={HIGHER // 2}")


class Loopback(etcd.Etcd):
    """An etcd without TLS."""

    def __init__(self, bundle: Programs, at: str) -> None:
        super().__init__(run, "crictl")
        self.bundle, self.at = bundle, at

    def _argv(self, *words: str, endpoints: str = "") -> list[str]:
        return [str(self.bundle.folder / "etcdctl"), f"--endpoints={endpoints or self.at}", *words]


def test_other_members_after_it_are_an_error(
    monkeypatch: pytest.MonkeyPatch, restore: Restore, bundle: Programs
) -> None:
    own = Loopback(bundle, "")
    member = etcd.Member("1", "m1", ("localhost",), ("http://localhost:2379",), False, ("http://localhost:2380",))
    monkeypatch.setattr(own, "members", lambda: [member])
    monkeypatch.setattr(own, "healthy", lambda _members: set(member.clients))
    with pytest.raises(etcd.EtcdError, match="http://localhost:2380"):
        restore.await_members(own, {"m1": "https://10.0.0.1:2380"})


def test_an_etcd_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch, restore: Restore) -> None:
    monkeypatch.setattr(etcd_restore, "PATIENCE", 0.0)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    with pytest.raises(etcd.EtcdError, match="no container of etcd runs"):
        restore.await_members(etcd.Etcd(lambda _argv: NONE, "crictl"), {})


def test_nothing_is_stopped_without_data_to_put_in_place(restore: Restore, tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()
    with pytest.raises(etcd.EtcdError, match="run the restore again"):
        restore.swap(lambda: pytest.fail("kubelet was stopped"))


def test_a_damaged_snapshot_and_another_member_leave_the_folder_alone(
    restore: Restore,
    members: dict[str, str],
    saved: Path,
    bundle: Programs,
    tmp_path: Path,
) -> None:
    with pytest.raises(etcd.EtcdError, match="not among those to be restored"):
        restore.prepare(bundle, saved, {"m1": "https://10.0.0.9:2380"}, revision=HIGHER)
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(etcd_snapshot.SnapshotError, match="not a whole snapshot"):
        restore.prepare(bundle, saved, members, revision=HIGHER)
    assert not (tmp_path / "etcd").exists()


def test_a_disk_without_room_is_told_before_anything(
    restore: Restore,
    members: dict[str, str],
    saved: Path,
    bundle: Programs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(etcd_snapshot, "ROOM", 1e9)
    with pytest.raises(etcd.EtcdError, match="free some"):
        restore.prepare(bundle, saved, members, revision=HIGHER)
    assert not restore.part.exists()


def test_containers_are_stopped_until_none_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    there = [["a", "b"], ["b"], []]
    stopped: list[list[str]] = []

    def crictl(argv: list[str]) -> tuple[int, str, str]:
        if "ps" in argv:
            # A user's pod may have a container named etcd.
            assert argv[argv.index("--label") + 1] == "io.kubernetes.pod.namespace=kube-system"
            return 0, "\n".join(there.pop(0)), ""
        stopped.append(argv[argv.index("--timeout") + 2 :])
        return NONE

    restore = Restore(crictl, "crictl", tmp_path)
    (tmp_path / PART / "member").mkdir(parents=True)
    restore.swap(lambda: None)
    assert stopped == [["a", "b"], ["b"]]
    assert (tmp_path / "member").is_dir()


def test_another_file_than_the_one_that_was_tested_is_refused(
    restore: Restore, members: dict[str, str], saved: Path, bundle: Programs
) -> None:
    with pytest.raises(etcd_snapshot.SnapshotError, match="is not the file that was tested"):
        restore.prepare(bundle, saved, members, revision=HIGHER, sha256="0" * 64)
    with pytest.raises(etcd.EtcdError, match="the snapshot has"):
        restore.prepare(bundle, saved, members, revision=1)
    assert not restore.part.exists()


def test_members_of_two_restores_of_one_file_do_not_take_each_other_for_their_own(
    restore: Restore, members: dict[str, str], saved: Path, bundle: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: list[str] = []

    def noting(argv: list[str]) -> tuple[int, str, str]:
        tokens.extend(word for word in argv if word.startswith("--initial-cluster-token="))
        return run(argv)

    monkeypatch.setattr(bundle, "run", noting)
    for revision in (HIGHER, HIGHER, HIGHER + 1):
        restore.prepare(bundle, saved, members, revision=revision)
    assert len(tokens) == 3
    assert tokens[0] == tokens[1] != tokens[2]


def test_an_error_in_the_middle_says_what_runs_and_where_the_data_is(tmp_path: Path) -> None:
    data = tmp_path / "etcd"
    restore = Restore(lambda _argv: (1, "", "connection refused"), "crictl", data)
    (data / PART / "member").mkdir(parents=True)
    (data / "member").mkdir()
    with pytest.raises(etcd.EtcdError, match=f"start containerd; the kubelet .* former data is in {data}/member. Corr"):
        restore.swap(lambda: None)
    restore = Restore(lambda _argv: NONE, "crictl", data)

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/var/lib/etcd")

    with pytest.raises(etcd.EtcdError, match="/var/lib/etcd: No space left on device; free some space there, then"):
        restore.swap(full)
    restore.swap(lambda: None)
    (kept,) = data.glob(f"{KEPT}*")
    assert f"former data is in {kept}/member." in restore.state()
    assert "etcd had no data before." in Restore(lambda _argv: NONE, "crictl", tmp_path / "none").state()


def test_former_data_that_was_set_aside_is_found_where_the_new_data_could_not_be_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = Restore(lambda _argv: NONE, "crictl", tmp_path)
    for folder in (tmp_path / "member", tmp_path / PART / "member"):
        folder.mkdir(parents=True)
    rename = Path.rename

    def fail(source: Path, target: Path) -> Path:
        if source.parent.name == PART:
            raise OSError(errno.EIO, "Input/output error", str(source))
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(etcd.EtcdError, match=rf"former data is in {tmp_path}/{KEPT}\w+/member\. Correct"):
        restore.swap(lambda: None)


def test_a_program_that_fails_is_quoted(bundle: Programs) -> None:
    with pytest.raises(etcd.EtcdError, match="etcdutl snapshot status"):
        bundle.call("etcdutl", "snapshot", "status", "/nowhere.db")
