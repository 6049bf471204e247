# SPDX-License-Identifier: Apache-2.0
"""Etcd's data is saved, lost and brought back; what cannot be used is refused, and changes nothing."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kube_api_server import free_ports, programs, started
from laboratory import Lab, Result, differences

LAB = ("backup", "10.112.0", 1, 1)
SCHEDULE = """backup_schedule: "*-*-* 02:30:00"
backup_keep: 2
backup_certificate: |
{certificate}
"""
TIMER = "/etc/systemd/system/yunkube-backup.timer"
FOLDER = "/var/lib/yunkube/backups"
RESTORE = ("restore", "--yes", "--rollback")
WIPE = """
systemctl stop kubelet
crictl --runtime-endpoint unix:///run/containerd/containerd.sock stop $(crictl --runtime-endpoint \
  unix:///run/containerd/containerd.sock ps --quiet --name '^(etcd|kube-apiserver)$')
rm -rf /var/lib/etcd/member
systemctl start kubelet
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key that never comes near a host, and its certificate."""
    folder = tmp_path_factory.mktemp("keys")
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", "3650", "-subj", "/CN=backups"]
    subprocess.run([*argv, "-keyout", folder / "own.key", "-out", folder / "own.crt"], check=True, capture_output=True)
    return folder


def backups(lab: Lab) -> list[Path]:
    """Return the backups of the control machine, the newest first."""
    return sorted((lab.state / "backups").glob("*.db"), reverse=True)


def etcdctl(lab: Lab, command: str) -> str:
    """Return what etcd says on master1."""
    crictl = "crictl --runtime-endpoint unix:///run/containerd/containerd.sock"
    pki = "/etc/kubernetes/pki/etcd"
    files = f"--cacert={pki}/ca.crt --cert={pki}/healthcheck-client.crt --key={pki}/healthcheck-client.key"
    return lab.run("master1", f"{crictl} exec $({crictl} ps --quiet --name '^etcd$') etcdctl {files} {command}")


def members(lab: Lab) -> list[dict[str, Any]]:
    """Return the members of etcd."""
    found: list[dict[str, Any]] = json.loads(etcdctl(lab, "member list --write-out=json"))["members"]
    return sorted(found, key=lambda member: str(member["name"]))


def uids(lab: Lab) -> dict[str, str]:
    """Return what makes a node itself, and the cluster."""
    items = json.loads(lab.kubectl("get", "nodes,namespaces", "-o", "json"))["items"]
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}


def state(lab: Lab) -> str:
    """Return what would show that etcd or its data was touched."""
    return lab.run(
        "master1",
        "systemctl show -p ExecMainStartTimestamp kubelet; ls /var/lib/etcd /var/lib/yunkube/etcd-snapshots; "
        "crictl --runtime-endpoint unix:///run/containerd/containerd.sock ps --quiet | sort; "
        "grep yunkube /proc/mounts || true",
    )


@pytest.fixture(scope="module")
def bare(lab: Lab) -> dict[str, Any]:
    """What the master was before."""
    return lab.fingerprint("master1")


def test_the_timer_is_installed_once(lab: Lab, keys: Path, bare: dict[str, Any]) -> None:
    assert bare
    certificate = "".join(f"  {line}\n" for line in (keys / "own.crt").read_text().splitlines())
    lab.write(SCHEDULE.format(certificate=certificate))
    first = lab.deploy("up")
    assert first.code == 0, first.errors
    assert lab.run("master1", "systemctl is-active yunkube-backup.timer").strip() == "active"
    assert not lab.succeeds("node1", f"test -e {TIMER}")
    again = lab.deploy("up")
    assert (again.code, set(again.changed.values())) == (0, {0}), again.errors


def test_a_changed_time_applies_without_more(lab: Lab) -> None:
    up = lab.deploy("up", backup_schedule="*-*-* 03:30:00")
    assert (up.code, up.changed["master1"] > 0, up.changed["node1"]) == (0, True, 0), up.errors
    assert "03:30:00" in lab.run("master1", "systemctl list-timers --all yunkube-backup.timer")


def test_the_timers_backups_are_encrypted_and_the_last_are_kept(lab: Lab, keys: Path, tmp_path: Path) -> None:
    for _ in range(3):
        lab.run("master1", "systemctl start yunkube-backup.service; sleep 1")
    names = lab.run("master1", f"ls {FOLDER}").split()
    assert len(names) == 2
    assert lab.run("master1", f"stat --format %a {FOLDER} {FOLDER}/*").split() == ["700", "600", "600"]
    sealed, plain = tmp_path / names[-1], tmp_path / "plain.db"
    sealed.write_bytes(base64.b64decode(lab.run("master1", f"base64 {FOLDER}/{names[-1]}")))
    assert b"kube-system" not in sealed.read_bytes()
    argv = ["openssl", "cms", "-decrypt", "-inform", "DER", "-in", str(sealed), "-out", str(plain)]
    subprocess.run([*argv, "-inkey", str(keys / "own.key")], check=True)
    assert lab.run("master1", "ls /var/lib/etcd").split() == ["member"]
    listed = lab.deploy("backup", "--list")
    assert {row["target"] for row in listed.summary["table"]} == set(names)
    rehearsed = lab.deploy("rehearse", str(plain))
    assert rehearsed.code == 0, rehearsed.errors
    encrypted = lab.deploy("rehearse", str(sealed))
    assert encrypted.code == 2
    assert "openssl cms -decrypt" in encrypted.errors


def test_the_doctor_reports_a_backup_that_failed_and_a_timer_that_is_stopped(lab: Lab) -> None:
    noted = f"{FOLDER}/.backup-master1.revision"
    lab.run("master1", f"mv {noted} {noted}.kept; echo 999999999 > {noted}")
    lab.run("master1", "systemctl start yunkube-backup || true; systemctl disable --quiet --now yunkube-backup.timer")
    result = lab.deploy("doctor")
    found = {one["id"]: one["evidence"] for one in result.summary["doctor"]["findings"]}
    assert (result.code, [*found]) == (6, ["backup-failed", "backup-timer-stopped"]), result.errors
    assert found["backup-failed"][0] == "the last run of yunkube-backup failed (exit-code)"
    assert found["backup-failed"][1].startswith("no snapshot was saved: ")
    assert found["backup-timer-stopped"] == ["yunkube-backup.timer is inactive and disabled"]
    lab.run("master1", f"mv {noted}.kept {noted}; systemctl start yunkube-backup")
    up = lab.deploy("up")
    assert (up.code, up.changed["node1"]) == (0, 0), up.errors
    healthy = lab.deploy("doctor")
    assert (healthy.code, healthy.summary["doctor"]["findings"]) == (0, []), healthy.errors


def test_a_backup_is_saved_here_and_rehearsed(lab: Lab) -> None:
    lab.kubectl("create", "configmap", "before", "--from-literal=kept=yes")
    saved = lab.deploy("backup")
    assert saved.code == 0, saved.errors
    (file,) = backups(lab)
    notes = json.loads(file.with_suffix(".json").read_text())
    assert {file.stat().st_mode & 0o777, file.with_suffix(".json").stat().st_mode & 0o777} == {0o600}
    assert notes["objects"]["namespaces"] >= 4
    assert lab.run("master1", "ls /var/lib/yunkube/etcd-snapshots").split() == []
    before = state(lab)
    rehearsed = lab.deploy("rehearse")
    assert rehearsed.code == 0, rehearsed.errors
    row = rehearsed.summary["table"][-1]
    assert f"revision {notes['revision']}" in row["detail"]
    assert "as many of each resource as when it was saved" in row["detail"]
    assert state(lab) == before


def refused(lab: Lab, file: Path, *verb: str) -> Result:
    """Return what came of a run that changes nothing; both verbs test the file in the same way."""
    before = state(lab)
    result = lab.deploy(verb[0], str(file), *verb[1:])
    assert state(lab) == before
    assert result.code != 0
    return result


def test_what_is_damaged_or_is_not_what_was_saved_is_refused(lab: Lab, tmp_path: Path) -> None:
    (file,) = backups(lab)
    damaged = tmp_path / "damaged.db"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    result = refused(lab, damaged, "rehearse")
    assert result.code == 2
    assert "is damaged" in result.errors
    other = tmp_path / "other.db"
    shutil.copy(file, other)
    notes = json.loads(file.with_suffix(".json").read_text())
    notes["objects"]["configmaps"] += 1
    other.with_suffix(".json").write_text(json.dumps(notes))
    result = refused(lab, other, *RESTORE)
    assert "is not what was saved: it has configmaps" in result.faults


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Path]:
    """A snapshot of another cluster."""
    found = programs("etcd", "etcdctl")
    clients, peers = free_ports(2)
    at, peer = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
    argv = [found["etcd"], f"--data-dir={tmp_path}/etcd", "--unsafe-no-fsync", f"--listen-client-urls={at}"]
    argv += [f"--advertise-client-urls={at}", f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
    with started(tmp_path, [*argv, f"--initial-cluster=default={peer}"]):
        etcdctl = [str(found["etcdctl"]), f"--endpoints={at}"]
        deadline = time.monotonic() + 30
        while subprocess.run([*etcdctl, "endpoint", "health"], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        value = b"k8s\0\x0a\x02id\x12\x10" + b"f" * 16
        put = [*etcdctl, "put", "/registry/configmaps/kube-system/yunkube"]
        subprocess.run(put, input=value, check=True, capture_output=True)
        subprocess.run([*etcdctl, "snapshot", "save", str(tmp_path / "foreign.db")], check=True, capture_output=True)
        yield tmp_path / "foreign.db"


def test_a_foreign_clusters_is_refused(lab: Lab, foreign: Path) -> None:
    result = refused(lab, foreign, *RESTORE)
    assert result.code == 3
    assert "is of another cluster, with the id ffffffffffffffff" in result.faults


def test_a_healthy_cluster_is_not_restored_by_mistake(lab: Lab) -> None:
    before = state(lab)
    (file,) = backups(lab)
    without = lab.deploy("restore", str(file))
    assert without.code == 2
    assert "add --yes" in without.errors
    healthy = lab.deploy("restore", str(file), "--yes")
    assert healthy.code == 3
    assert "add --rollback" in healthy.faults
    assert state(lab) == before


def test_lost_data_comes_back_and_nodes_with_it(lab: Lab) -> None:
    before = uids(lab)
    kubelet = lab.run("node1", "systemctl show -p MainPID kubelet")
    lab.run("master1", WIPE)
    deadline = time.monotonic() + 60
    while not lab.succeeds("master1", "test -e /var/lib/etcd/member/snap/db"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    (file,) = backups(lab)
    empty = lab.deploy("backup")  # a new etcd, which kubeadm's manifest makes where there is no data
    assert empty.code == 3, empty.errors
    assert backups(lab) == [file]
    # What the controller manager writes as soon as it leads again is no cluster either.
    while "kube-apiserver-serving" not in etcdctl(lab, "get /registry/clustertrustbundles/ --prefix --keys-only"):
        assert time.monotonic() < deadline + 120
        time.sleep(1)
    restored = lab.deploy("restore", str(file), "--yes")
    assert restored.code == 0, restored.errors
    assert uids(lab) == before
    assert lab.run("node1", "systemctl show -p MainPID kubelet") == kubelet
    assert lab.kubectl("get", "configmap", "before", "--output=jsonpath={.data.kept}") == "yes"
    assert "before-restore-" in lab.run("master1", "ls /var/lib/etcd")
    assert [member["peerURLs"] for member in members(lab)] == [["https://10.112.0.11:2380"]]
    assert int(lab.kubectl("get", "configmap", "before", "--output=jsonpath={.metadata.resourceVersion}")) > 0
    listed = json.loads(lab.kubectl("get", "--raw", "/api/v1/configmaps?limit=1"))["metadata"]["resourceVersion"]
    assert int(listed) > 1_000_000_000


def test_a_restore_that_was_killed_is_finished_by_the_next(lab: Lab) -> None:
    lab.kubectl("create", "configmap", "after")
    (file,) = backups(lab)
    kept = lab.run("master1", "ls /var/lib/etcd | grep -c before-restore").strip()
    count = f'test "$(ls /var/lib/etcd | grep -c before-restore)" != {kept}'
    lab.kill_when(lambda: lab.succeeds("master1", count), verb=("restore", str(file), "--yes", "--rollback"))
    again = lab.deploy("restore", str(file), "--yes", "--rollback")
    assert again.code == 0, again.errors
    assert "after" not in lab.kubectl("get", "configmaps")
    assert lab.kubectl("get", "configmap", "before", "--output=jsonpath={.data.kept}") == "yes"


@pytest.mark.skipif(not os.environ.get("YUNKUBE_FULL"), reason="a second master joins: tests/run --full")
def test_a_master_joins_after_a_restore_and_both_are_restored(lab: Lab) -> None:
    lab.declare(2, 1)
    lab.make_hosts()
    up = lab.deploy("up")
    assert up.code == 0, up.errors
    urls = [["https://10.112.0.11:2380"], ["https://10.112.0.12:2380"]]
    assert [member["peerURLs"] for member in members(lab)] == urls
    saved = lab.deploy("backup")
    assert saved.code == 0, saved.errors
    before = uids(lab)
    for host in ("master1", "master2"):
        lab.run(host, WIPE)
    restored = lab.deploy("restore", str(backups(lab)[0]), "--yes")
    assert restored.code == 0, restored.errors
    assert [member["peerURLs"] for member in members(lab)] == urls
    assert uids(lab) == before
    # Both have the same data from the same revision on: what one API server writes, the other one reads.
    lab.kubectl("create", "configmap", "later")
    kubectl = "kubectl --kubeconfig /etc/kubernetes/admin.conf --server https://10.112.0.12:6443"
    assert "configmap/later" in lab.run("master2", f"{kubectl} get configmap later --output=name")


def test_nothing_is_left_on_hosts_and_the_backups_stay_here(lab: Lab, bare: dict[str, Any]) -> None:
    here = backups(lab)
    plan = lab.deploy("down", "--yes", cluster_provider="existing")
    assert plan.code == 0, plan.errors
    changes = [line for event in plan.events for line in event.get("changes", [])]
    assert any("snapshots of etcd in /var/lib/yunkube/backups" in line for line in changes), changes
    assert differences(bare, lab.fingerprint("master1")) == []
    assert backups(lab) == here
