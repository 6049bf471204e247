# SPDX-License-Identifier: Apache-2.0
"""An etcd that has exceeded its quota takes writes again, and one that is mostly empty gives back its room."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.doctor import etcd_repairs, probes
from ansible.module_utils.yunkube.doctor.repair_work import RepairError, Work
from ansible.module_utils.yunkube.kube import etcd as kube_etcd
from ansible.module_utils.yunkube.kube.etcd_snapshot import Programs
from etcd_programs import run
from kube_api_server import free_ports, started

QUOTA = 16 << 20  # bytes
VALUE = base64.b64encode(b"x" * (1 << 17)).decode()
NAMES = ("m1", "m2")


class Members:
    """Two members of etcd without TLS, and a host on which the first runs in a container."""

    def __init__(self, bundle: Programs, ports: list[int]) -> None:
        """Use these ports: each member's for clients, for the other member, and for its numbers."""
        self.bundle = bundle
        self.ports = {name: ports[3 * number : 3 * number + 3] for number, name in enumerate(NAMES)}
        self.check_mode, self.asked = False, list[str]()

    def url(self, name: str, which: int = 0) -> str:
        """Return where a member answers."""
        return f"http://127.0.0.1:{self.ports[name][which]}"

    def argv(self, name: str, folder: Path, quota: int) -> list[t.Any]:
        """Return what a member is started with."""
        peers = ",".join(f"{one}={self.url(one, 1)}" for one in NAMES)
        return [
            self.bundle.folder / "etcd", f"--name={name}", f"--data-dir={folder}", f"--quota-backend-bytes={quota}",
            f"--listen-client-urls={self.url(name)}", f"--advertise-client-urls={self.url(name)}",
            f"--listen-peer-urls={self.url(name, 1)}", f"--initial-advertise-peer-urls={self.url(name, 1)}",
            f"--initial-cluster={peers}", f"--listen-metrics-urls={self.url(name, 2)}", "--unsafe-no-fsync",
        ]  # fmt: skip

    def run_command(self, argv: list[str], **_more: t.Any) -> tuple[int, str, str]:
        """Be crictl: there is one container, in which etcdctl asks the first member without certificates."""
        if "exec" not in argv:
            return 0, "container\n", ""
        words = [
            word for word in argv[argv.index("etcdctl") + 1 :] if not word.startswith(("--cacert", "--cert", "--k"))
        ]
        self.asked.append(" ".join(words))
        at = {f"--endpoints={kube_etcd.OWN}": f"--endpoints={self.url('m1')}"}
        return run([str(self.bundle.folder / "etcdctl"), *(at.get(word, word) for word in words)])

    def get_bin_path(self, name: str, **_more: t.Any) -> str:
        """Find crictl."""
        return name

    def put(self, key: str, name: str = "m1", value: str = VALUE) -> str:
        """Write 128 KiB; return what is wrong."""
        return self._ask(name, "put", {"key": base64.b64encode(key.encode()).decode(), "value": value})

    def delete_all(self) -> None:
        """Delete all keys, which is taken from an etcd that is full, too."""
        assert self._ask("m1", "deleterange", {"key": "AA==", "range_end": "AA=="}) == ""

    def _ask(self, name: str, what: str, body: dict[str, str]) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[name][0], timeout=60)
        try:
            connection.request("POST", f"/v3/kv/{what}", json.dumps(body))
            return str(json.loads(connection.getresponse().read()).get("message", ""))
        finally:
            connection.close()

    def fill(self, key: str = "key{}") -> None:
        """Write until nothing more is taken."""
        for number in range(200):
            if said := self.put(key.format(number)):
                assert "database space exceeded" in said
                return
        pytest.fail("the quota was never reached")

    @contextlib.contextmanager
    def running(self, folder: Path, quota: int = QUOTA) -> Iterator[None]:
        """Run both, and wait until they answer."""
        with contextlib.ExitStack() as stack:
            for name in NAMES:
                (folder / name).mkdir(exist_ok=True)
                stack.enter_context(started(folder / name, self.argv(name, folder / name / "data", quota)))
            deadline = time.monotonic() + 60
            while not all(map(self.answers, NAMES)):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield

    def answers(self, name: str) -> bool:
        """Say whether a member has a leader; one whose space is exceeded says so instead of being healthy."""
        said = probes.probe(f"{self.url(name, 2)}/health")
        return said == "ok" or "NOSPACE" in said


@pytest.fixture
def members(bundle: Programs, monkeypatch: pytest.MonkeyPatch) -> Members:
    """Both members, on ports that are free."""
    two = Members(bundle, free_ports(3 * len(NAMES)))
    monkeypatch.setattr(probes, "ETCD_NUMBERS", two.url("m1", 2))
    monkeypatch.setitem(probes.MASTER_PROBES, "etcd", f"{two.url('m1', 2)}/health")
    return two


@pytest.fixture
def running(members: Members, tmp_path: Path) -> Iterator[Members]:
    """Both members, which answer."""
    with members.running(tmp_path):
        yield members


def work(members: Members) -> Work:
    """Return a repair on the first member's host."""
    return Work(t.cast("t.Any", members), "etcd")


def test_a_full_etcd_takes_writes_again_after_old_values_are_gone(running: Members) -> None:
    running.fill("the same key")
    told = probes.etcd()
    assert "NOSPACE" in told["health"]
    assert told["size"] > 0.95 * QUOTA
    assert told["quota"] == QUOTA
    one = work(running)
    etcd_repairs.free_etcd_space(one, "")
    assert one.changes[0] == "discard former values in etcd (compact)"
    assert {*one.changes[1:3]} == {f"defragment etcd's database of {name}" for name in NAMES}
    assert one.changes[3] == "disarm etcd's alarm NOSPACE"
    assert [running.put("another", name) for name in NAMES] == ["", ""]
    assert probes.etcd()["size"] < QUOTA / 2
    etcd_repairs.free_etcd_space(work(running), "")  # as after one that was killed


def test_the_leader_is_defragmented_last(running: Members) -> None:
    etcd_repairs.free_etcd_space(work(running), "")
    rooms = etcd_repairs._space(work(running)).rooms()
    assert [room.leads for room in rooms] == [False, True]
    ends = [words for words in running.asked if " defrag" in f" {words}"]
    assert [words.split()[0] for words in ends] == [f"--endpoints={room.member.clients[0]}" for room in rooms]


def test_what_is_full_of_data_keeps_its_alarm_and_says_what_helps(members: Members, tmp_path: Path) -> None:
    with members.running(tmp_path):
        members.fill()
    with members.running(tmp_path, QUOTA // 2):  # all of it is data, and more than the quota
        with pytest.raises(
            RepairError, match=r"the database of m1 takes 1\d MiB, its quota is 8 MiB.*: delete objects"
        ):
            etcd_repairs.free_etcd_space(work(members), "")
        assert "NOSPACE" in probes.etcd()["health"]
        members.delete_all()
        etcd_repairs.free_etcd_space(work(members), "")
        assert members.put("another") == ""


def test_in_check_mode_nothing_is_done(running: Members) -> None:
    running.fill("the same key")
    running.check_mode = True
    one = work(running)
    etcd_repairs.free_etcd_space(one, "")
    assert len(one.changes) == 4
    assert "NOSPACE" in probes.etcd()["health"]


def test_one_member_alone_is_defragmented(running: Members) -> None:
    for _ in range(40):
        running.put("the same key")
    etcd_repairs._space(work(running)).compact()
    deadline = time.monotonic() + 60
    while (before := probes.etcd())["used"] > before["size"] / 2:
        assert time.monotonic() < deadline
        running.put("small", value="")  # what a compaction left is free after the next writes
        time.sleep(0.1)
    one = work(running)
    etcd_repairs.defragment_etcd(one, "", member="m1")
    assert one.changes == ["defragment etcd's database of m1"]
    assert probes.etcd()["size"] < before["size"] / 2
