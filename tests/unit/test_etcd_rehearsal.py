# SPDX-License-Identifier: Apache-2.0
"""An etcd is started from a snapshot: what cannot be used is refused, and nothing is left of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import etcd, etcd_rehearsal, etcd_snapshot
from ansible.module_utils.yunkube.kube.etcd_snapshot import Programs, SnapshotError
from etcd_programs import ID, PEM, run
from kube_api_server import ApiServer, free_ports, started

ROOT = Path(__file__).resolve().parents[2]
LABELS = {"app": "shop"}
DEPLOYMENT = {
    "selector": {"matchLabels": LABELS},
    "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "a", "image": "none"}]}},
}


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
    """The etcd of a test, as that of this host."""

    def __init__(self, ask: etcd_snapshot.Ask) -> None:
        super().__init__(run, "crictl")
        self.asked = ask
        self.metrics = 1  # nothing listens there

    def ask(self, *words: str) -> str:
        """Ask it."""
        return self.asked(*words)

    def leaderless(self, port: int = 0) -> bool:
        """Ask at a port of the test's own."""
        return super().leaderless(port or self.metrics)

    def container(self) -> str:
        """Say that one runs."""
        return "abc"


def told(live: etcd_rehearsal.Live) -> dict[str, t.Any]:
    """Return what etcd_member says of it."""
    return {"state": live.state, "told": live.detail, "revision": live.revision}


def objection(**masters: etcd_rehearsal.Live | None) -> str:
    """Return why a restore is refused."""
    fault = etcd_rehearsal.objection_live({host: told(live) if live else {} for host, live in masters.items()})
    return str(fault or "")


LOST = etcd_rehearsal.Live("absent")


def test_one_master_that_holds_the_cluster_is_enough_to_refuse(ask: etcd_snapshot.Ask) -> None:
    live = etcd_rehearsal.look_live(Own(ask), ID, 0)
    assert (live.state, live.objects["configmaps"] >= 2, live.revision > 0) == ("ours", True, True)
    refused = objection(m1=LOST, m2=live, m3=live)
    assert "etcd holds this cluster on m2 and m3" in refused
    assert "--rollback" in refused


def test_a_cluster_whose_keys_take_too_long_to_count_is_still_this_one(ask: etcd_snapshot.Ask) -> None:
    def slow(*words: str) -> str:
        if "--keys-only" in words:
            raise etcd.EtcdError("context deadline exceeded")
        return ask(*words)

    live = etcd_rehearsal.look_live(Own(slow), ID, 0)
    assert live.state == "ours"
    assert "holds this cluster on m1" in objection(m1=live)


def test_what_is_unclear_needs_a_word_from_the_operator(ask: etcd_snapshot.Ask, server: ApiServer) -> None:
    own = Own(ask)
    another = etcd_rehearsal.look_live(own, "f" * 16, 0)
    assert f"m1: it is of another cluster, with the id {ID}" in objection(m1=another)
    server.put("/apis/apps/v1/namespaces/default/deployments/shop", spec=DEPLOYMENT)
    ask("del", etcd_snapshot.IDENTITY)
    nameless = etcd_rehearsal.look_live(own, ID, 0)
    assert "m1: it holds /registry/deployments/default/shop" in objection(m1=nameless)

    def silent(*_words: str) -> str:
        raise etcd.EtcdError("etcdctl endpoint status: context deadline exceeded")

    assert "m2: etcdctl endpoint status: context deadline exceeded; to replace" in objection(
        m1=LOST, m2=etcd_rehearsal.look_live(Own(silent), ID, 0)
    )
    assert "m2: unclear" in objection(m1=LOST, m2=None)


def test_an_etcd_that_an_api_server_filled_by_itself_is_lost(ask: etcd_snapshot.Ask) -> None:
    ask("del", etcd_snapshot.IDENTITY)
    empty = etcd_rehearsal.look_live(Own(ask), ID, 0)
    assert (empty.state, empty.detail) == ("empty", "it is empty")
    assert objection(m1=empty, m2=LOST, m3=etcd_rehearsal.Live("leaderless")) == ""


@pytest.mark.parametrize(
    "key",
    [
        "/registry/pods/shop/a", "/registry/configmaps/kube-system/kubeadm-config", "/registry/secrets/a/b", "/else",
        "/registry/clustertrustbundles/example.org:ca:1",
    ],
)  # fmt: skip
def test_what_only_people_make_shows_that_an_etcd_is_not_empty(key: str) -> None:
    born = ["/registry/pods/kube-system/etcd-m1", "", "/registry/minions/m1"]
    # By the controller manager of Kubernetes 1.37 and later, as soon as the API answers.
    born += ["/registry/clustertrustbundles/kubernetes.io:kube-apiserver-serving:K1mQ9yzqvhVhwC-2xa2FpA"]
    born += ["/registry/certificatesigningrequests/csr-a"]
    assert etcd_rehearsal.written(born) == ""
    assert etcd_rehearsal.written(["/registry/minions/m1", key]) == key


def test_a_member_without_the_others_has_no_leader(bundle: Programs, tmp_path: Path) -> None:
    clients, metrics, *peers = free_ports(4)
    at, urls = f"http://127.0.0.1:{clients}", [f"http://127.0.0.1:{port}" for port in peers]
    argv = [bundle.folder / "etcd", f"--data-dir={tmp_path}/etcd", "--unsafe-no-fsync", "--name=m1"]
    argv += [f"--listen-client-urls={at}", f"--advertise-client-urls={at}", f"--listen-peer-urls={urls[0]}"]
    argv += [f"--initial-advertise-peer-urls={urls[0]}", f"--initial-cluster=m1={urls[0]},m2={urls[1]}"]
    with started(tmp_path, [*argv, f"--listen-metrics-urls=http://127.0.0.1:{metrics}"]):
        own = Own(lambda *words: bundle.call("etcdctl", f"--endpoints={at}", "--command-timeout=1s", *words))
        assert etcd_rehearsal.look_live(own, ID, 0).state == "unclear"
        own.metrics = metrics
        deadline = time.monotonic() + 60
        while (live := etcd_rehearsal.look_live(own, ID, 0)).state == "unclear":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert live.state == "leaderless"
        assert objection(m1=live) == ""


def test_without_a_container_etcd_is_absent_and_without_containerd_unclear() -> None:
    assert etcd_rehearsal.look_live(etcd.Etcd(lambda _argv: (0, "", ""), "crictl"), ID, 0).state == "absent"
    live = etcd_rehearsal.look_live(etcd.Etcd(lambda _argv: (1, "", "connection refused"), "crictl"), ID, 0)
    assert "m1: containerd does not list its containers: connection refused" in objection(m1=live)


def test_a_later_restore_goes_on_above_every_earlier_one() -> None:
    first = etcd_rehearsal.continue_at(641, [], 1_796_000_000)
    again = etcd_rehearsal.continue_at(641, [], 1_796_000_060)
    assert 641 < first < again
    of_later = etcd_rehearsal.continue_at(first + 20, [{"revision": first + 50}, {}], 1_796_000_120)
    assert again < of_later < etcd_rehearsal.continue_at(641, [], 1_796_000_180)
    assert etcd_rehearsal.continue_at(again, [{"revision": of_later}], 0) > of_later  # the clock is wrong


def test_only_what_was_compared_is_said() -> None:
    found = {"revision": 7, "objects": {"pods": 2}}
    assert "as when it was saved" in etcd_rehearsal.in_words(found, LOST, noted=True)
    assert etcd_rehearsal.in_words(found, LOST, noted=False) == "etcd starts with it: revision 7, 2 objects"
    assert etcd_rehearsal.in_words(found, etcd_rehearsal.Live("ours"), noted=False).endswith("2 objects")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_rehearsal_that_is_stopped_leaves_neither_etcd_nor_files(
    saved: Path, bundle: Programs, tmp_path: Path, number: signal.Signals
) -> None:
    program = f"""
import pathlib, sys, time
import ansible.module_utils
ansible.module_utils.__path__.append({str(ROOT / "module_utils")!r})
sys.path.append({str(ROOT / "tests/support")!r})
from ansible.module_utils.yunkube.kube.etcd_snapshot import Programs, orderly_end, workshop
from etcd_programs import run
with orderly_end(), workshop(pathlib.Path("{tmp_path}/work")) as made:
    with Programs(pathlib.Path("{bundle.folder}"), run).started(pathlib.Path("{saved}"), made):
        print("started", flush=True)
        time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert list((tmp_path / "work").iterdir()) == []
    assert f"{tmp_path}/work" not in subprocess.run(["ps", "ax"], capture_output=True, text=True, check=True).stdout


def test_a_full_or_slow_host_is_not_blamed_on_the_backup(
    saved: Path, bundle: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def message() -> str:
        with pytest.raises(etcd.EtcdError) as refused:
            rehearse(bundle, saved, tmp_path / "work")
        assert not isinstance(refused.value, SnapshotError)
        return str(refused.value)

    with monkeypatch.context() as slow:
        slow.setattr(etcd_snapshot, "PATIENCE", 1.0)
        slow.setattr(bundle, "run", lambda argv: (1, "", "no answer") if "health" in argv else run(argv))
        assert "cluster_slow_factor" in message()
    with monkeypatch.context() as full:
        full.setattr(etcd_snapshot, "LOG", 1 << 60)
        assert "MB left, and an etcd with the snapshot needs" in message()
    monkeypatch.setattr(bundle, "run", lambda _argv: (1, "", "write /x: no space left on device"))
    assert "no space left on device" in message()


def test_what_changed_since_is_said_without_what_always_changes() -> None:
    assert etcd_rehearsal.since({"pods": 2, "leases": 1}, {"pods": 2, "leases": 4}).startswith("as many")
    assert "pods 2 → 3" in etcd_rehearsal.since({"pods": 2}, {"pods": 3})
