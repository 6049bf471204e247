# SPDX-License-Identifier: Apache-2.0
"""Which members may leave etcd, and what is done on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor import repairs
from ansible.module_utils.yunkube.kube import etcd
from ansible.module_utils.yunkube.kube.etcd import Etcd, EtcdError, Member, objection


def member(name: str, *, learner: bool = False) -> Member:
    """Return the member of a master."""
    return Member(f"id-{name}", name, (f"ip-{name}",), (f"https://ip-{name}:2379",), learner)


M1, M2, M3 = member("m1"), member("m2"), member("m3")


def healthy(*members: Member) -> set[str]:
    """Return their endpoints."""
    return {url for one in members for url in one.clients}


def test_one_of_two_and_two_of_three_may_leave_one_after_the_other() -> None:
    assert objection([M1, M2], healthy(M1, M2), [M2]) == ""
    assert objection([M1, M2, M3], healthy(M1, M2, M3), [M2, M3]) == ""


def test_a_dead_one_of_three_may_leave_and_a_live_one_beside_it_only_after_it() -> None:
    assert objection([M1, M2, M3], healthy(M1, M2), [M3]) == ""
    assert objection([M1, M2, M3], healthy(M1, M2), [M2]) == (
        "without m2 etcd would have 2 members, 1 of them healthy, and needs 2 for its quorum; not healthy: m3"
    )
    assert objection([M1, M2, M3], healthy(M1, M2), [M2, M3]) == ""  # the dead one first
    assert etcd.in_removal_order([M2, M3], healthy(M1, M2)) == [M3, M2]


def test_without_a_quorum_no_member_is_removed() -> None:
    assert "etcd has 2 members, 1 of them healthy, and needs 2" in objection([M1, M2], healthy(M1), [M2])


def test_a_learner_has_no_vote() -> None:
    assert objection([M1, member("m2", learner=True)], healthy(M1), [member("m2", learner=True)]) == ""


LISTING = {
    "header": {"cluster_id": 1},
    "members": [
        {"ID": 255, "name": "m1", "peerURLs": ["https://10.0.0.1:2380"], "clientURLs": ["https://10.0.0.1:2379"]},
        {"ID": 12345678901234567890, "peerURLs": ["https://10.0.0.2:2380"], "isLearner": True},
    ],
}


def test_members_are_found_by_name_and_what_never_started_by_its_address() -> None:
    members = etcd.parse_members(json.dumps(LISTING))
    assert etcd.member_of(members, "m1") == members[0]
    found = etcd.member_of(members, "m2", "10.0.0.2")
    assert found is not None
    assert (found.id, found.learner) == ("ab54a98ceb1f0ad2", True)
    assert etcd.member_of(members, "m2", "10.0.0.3") is None
    assert etcd.member_of(members, "m3") is None


class Ctl:
    """etcdctl, with members that are what this test says."""

    def __init__(self, *members: Member) -> None:
        """Begin with members, all of them healthy."""
        self.there = list(members)
        self.silent: list[int] = []  # how many looks each removal takes to be well again
        self.snapshot = "data"
        self.ran: list[str] = []

    def run(self, argv: list[str]) -> tuple[int, str, str]:
        """Answer."""
        if "ps" in argv:
            assert argv[argv.index("--label") + 1] == "io.kubernetes.pod.namespace=kube-system"  # no other pod's etcd
            return 0, "abc\n", ""
        words = [word for word in argv[argv.index("etcdctl") + 1 :] if not word.startswith("--")]
        self.ran.append(" ".join(words))
        if words[:2] == ["snapshot", "save"]:
            Path(words[2]).write_text(self.snapshot)
        elif words[:2] == ["member", "remove"]:
            self.there = [one for one in self.there if one.id != f"{int(words[2], 16):x}"]
        elif words[:2] == ["member", "list"]:
            listed = [{"ID": int(one.id, 16), "name": one.name, "clientURLs": one.clients} for one in self.there]
            return 0, json.dumps({"members": listed}), ""
        elif words[:2] == ["endpoint", "health"]:
            silent = bool(self.silent and self.silent.pop())
            asked = argv[argv.index("etcdctl") + 1].removeprefix("--endpoints=").split(",")
            return int(silent), json.dumps([{"endpoint": url, "health": not silent} for url in asked]), ""
        return 0, "", ""


A, B = (one._replace(id=number) for one, number in ((M1, "a"), (M2, "b")))


def test_a_removal_waits_until_the_others_are_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    ctl = Ctl(A, B)
    ctl.silent = [0, 1, 1]
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    Etcd(ctl.run, "crictl").remove(B, healthy(A, B))
    assert ctl.ran[0] == "member remove b"
    assert len(waited) == 2


def test_a_removal_that_leaves_etcd_unhealthy_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    ctl = Ctl(A, B)
    ctl.silent = [1] * 1000
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with pytest.raises(EtcdError, match="not healthy 0 s after m2 was removed: m1"):
        Etcd(ctl.run, "crictl").remove(B, healthy(A, B), 0)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "etcd").mkdir()
    monkeypatch.setattr(etcd, "DATA", tmp_path / "etcd")
    monkeypatch.setattr(etcd, "SNAPSHOTS", tmp_path / "yunkube/etcd-snapshots")
    return tmp_path


def test_a_snapshot_is_roots_alone_and_nothing_else_is_left(folders: Path) -> None:
    kept = Etcd(Ctl(A).run, "crictl").snapshot("before-removal-of-m2")
    assert kept.read_text() == "data"
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [path for path in folders.rglob("*") if path.is_file()] == [kept]


def test_a_snapshot_that_cannot_be_kept_is_an_error(folders: Path) -> None:
    (folders / "yunkube").mkdir()
    (folders / "yunkube/etcd-snapshots").write_text("a file")
    with pytest.raises(EtcdError, match="cannot be written"):
        Etcd(Ctl(A).run, "crictl").snapshot("x")
    assert not list((folders / "etcd").iterdir())


def test_only_the_clusters_own_pods_are_looked_at() -> None:
    asked: list[list[str]] = []

    def run(argv: list[str]) -> tuple[int, str, str]:
        asked.append(argv)
        return 0, "abc\n", ""

    Etcd(run, "crictl").container()
    assert asked[0][asked[0].index("--label") + 1] == "io.kubernetes.pod.namespace=kube-system"


def test_a_containerd_that_does_not_answer_is_not_taken_for_no_container() -> None:
    with pytest.raises(EtcdError, match="start containerd"):
        Etcd(lambda _argv: (1, "", "connection refused"), "crictl").container()


def test_without_a_container_there_is_no_etcd() -> None:
    with pytest.raises(EtcdError, match="no container of etcd"):
        Etcd(lambda _argv: (0, "", ""), "crictl").members()


def test_a_repair_stops_no_pods_own_etcd(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    class Work:
        """What a repair is done through."""

        def note(self, _change: str) -> bool:
            """Go on."""
            return True

        def run(self, *argv: str) -> str:
            """Note what is asked."""
            asked.append(argv)
            return ""

        def wait(self, *_arguments: object) -> None:
            """Wait for nothing."""

    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    repairs.restart_part(Work(), "etcd")  # type: ignore[arg-type]
    assert asked[0][-2:] == ("--label", constants.OF_SYSTEM)
