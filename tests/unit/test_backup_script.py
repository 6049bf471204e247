# SPDX-License-Identifier: Apache-2.0
"""The timer's script, run against the bundle's etcd: it saves what can be restored, and deletes nothing else's files.

There is no container runtime here: `crictl` is a script that runs the programs of etcd's image from their folder.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.yunkube.kube.etcd_snapshot import Ask, Programs, refuse_damaged
from etcd_programs import ID
from kube_api_server import ApiServer
from role_values import rendered

TEMPLATE = Path(__file__).resolve().parents[2] / "roles/backup/templates/yunkube-backup.sh.j2"
CRICTL = r"""#!/bin/sh
# Runs a program of etcd's image; the test's etcd has no certificates.
shift 2  # --runtime-endpoint X
case $1 in
  ps) echo "$*" >>{calls}; cat {containers} ;;
  exec)
    echo "$*" >>{calls}
    program=$3; shift 3
    set -- "$@" --end
    while [ "$1" != --end ]; do
      case $1 in
        --endpoints=*) set -- "$@" --endpoints={endpoint} ;;
        --cacert=*|--cert=*|--key=*) ;;
        *) set -- "$@" "$1" ;;
      esac
      shift
    done
    shift
    {programs}/"$program" "$@" || exit
    case "$program $*" in *"snapshot save "*) sh -c "$(cat {after})" after "{saved}" ;; esac
    ;;
esac
"""


class Script:
    """The rendered script and the folders of its host."""

    def __init__(self, folder: Path, programs: Path, endpoint: str) -> None:
        self.host, self.backups, self.etcd = folder, folder / "backups", folder / "etcd"
        self.calls, self.containers, self.after = folder / "calls", folder / "containers", folder / "after"
        self.etcd.mkdir()
        self.containers.write_text("0123\n")
        self.after.write_text("")
        self.crictl = folder / "crictl"
        text = CRICTL
        for word, value in {
            "calls": self.calls, "containers": self.containers, "after": self.after, "endpoint": endpoint,
            "programs": programs, "saved": self.etcd / "yunkube-scheduled.db",
        }.items():  # fmt: skip
            text = text.replace(f"{{{word}}}", str(value))
        self.crictl.write_text(text)
        self.crictl.chmod(0o755)

    def render(self, **values: Any) -> Path:
        """Write the script for an inventory."""
        variables = {
            "backup_keep": 2,
            "backup_certificate": "",
            "cluster_id": ID,
            "cluster_name": "prod",
            "inventory_hostname": "m1",
            "cluster_cri_endpoint": "unix:///run/containerd/containerd.sock",
            "__backup_folder": str(self.backups),
            "__backup_crictl": str(self.crictl),
            "__backup_decryptable": 1 << 30,
            "__backup_certificate_file": str(self.host / "own.crt"),
            **values,
        }
        path = self.host / "yunkube-backup"
        text = rendered(f"{{{{ lookup('rendered', '{TEMPLATE}') }}}}", **variables)
        path.write_text(text.replace("data=/var/lib/etcd\n", f"data={self.etcd}\n"))
        return path

    def run(self, **values: Any) -> subprocess.CompletedProcess[str]:
        """Run it by dash, as hosts of the Debian family do."""
        return subprocess.run(
            ["/bin/sh", str(self.render(**values))], capture_output=True, text=True, check=False, timeout=300
        )

    def names(self) -> list[str]:
        """Return what is in the folder of backups."""
        return sorted(path.name for path in self.backups.glob("[!.]*")) if self.backups.exists() else []

    def put(self, *names: str) -> None:
        """Put files into it."""
        self.backups.mkdir(exist_ok=True)
        for name in names:
            (self.backups / name).write_text("older")

    def refused(self, words: str, **values: Any) -> None:
        """Run it, see it refuse with one line, and see that what there was is left."""
        self.put(*OLD)
        done = self.run(**values)
        assert done.returncode == 1, done.stderr
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert self.names() == sorted(OLD)
        assert list(self.etcd.iterdir()) == []


OLD = ("prod-m1-20200101T000000Z.db", "prod-m1-20200102T000000Z.db", "prod-m1-20200103T000000Z.db")


@pytest.fixture
def script(server: ApiServer, bundle: Programs, ask: Ask, tmp_path: Path) -> Script:
    """The script on a host whose etcd holds the cluster."""
    del ask  # it has put the cluster there
    host = tmp_path / "host"
    host.mkdir()
    return Script(host, bundle.folder, f"http://127.0.0.1:{server.etcd.port}")


def test_a_snapshot_is_saved_that_is_whole_and_roots_own(script: Script, bundle: Programs) -> None:
    done = script.run()
    assert (done.returncode, done.stderr) == (0, "")
    (saved,) = script.backups.glob("[!.]*")
    assert done.stdout.startswith(f"saved {saved}, ")
    assert saved.stat().st_mode & 0o777 == 0o600
    assert script.backups.stat().st_mode & 0o777 == 0o700
    refuse_damaged(saved)
    assert bundle.status(saved)["keys"] > 0
    assert list(script.etcd.iterdir()) == []
    assert "--label io.kubernetes.pod.namespace=kube-system" in script.calls.read_text()


def test_with_a_certificate_only_its_key_opens_the_snapshot(script: Script) -> None:
    key, crt, opened = (script.host / name for name in ("own.key", "own.crt", "opened.db"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", key, "-out", crt],
        check=True, capture_output=True,
    )  # fmt: skip
    assert script.run(backup_certificate="PEM").returncode == 0
    (sealed,) = script.backups.glob("[!.]*")
    assert sealed.name.endswith("Z.db.cms")
    assert b"kube-system" not in sealed.read_bytes()
    argv = ["openssl", "cms", "-decrypt", "-inform", "DER", "-in", str(sealed), "-out", str(opened), "-inkey", str(key)]
    subprocess.run(argv, check=True)
    refuse_damaged(opened)


def test_nothing_is_left_where_it_cannot_be_encrypted(script: Script) -> None:
    script.put(*OLD)
    assert script.run(backup_certificate="PEM").returncode != 0  # there is no file of it
    assert script.names() == sorted(OLD)
    assert list(script.etcd.iterdir()) == []


def test_an_etcd_that_lost_its_data_is_not_saved(script: Script, server: ApiServer) -> None:
    server.api.delete("/api/v1/namespaces/kube-system/configmaps/yunkube")
    script.refused(f"etcd does not hold this cluster (id {ID})")


def test_an_etcd_of_another_cluster_is_not_saved(script: Script) -> None:
    script.refused("etcd does not hold this cluster (id ffffffffffffffff)", cluster_id="f" * 16)


def test_a_member_that_is_not_healthy_is_not_saved(script: Script) -> None:
    script.crictl.write_text(script.crictl.read_text().replace("http://127.0.0.1:", "http://127.0.0.1:1"))
    script.refused("etcd on this host is not healthy")


def test_a_host_without_a_container_of_etcd_is_refused(script: Script) -> None:
    script.containers.write_text("")
    script.refused("no container of etcd runs on this host")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ('printf x | dd of="$1" bs=1 seek=100 conv=notrunc status=none', "the snapshot is damaged"),
        ('truncate -s -32 "$1"', "the snapshot is not whole"),
    ],
)
def test_a_damaged_snapshot_is_not_kept(script: Script, damage: str, words: str) -> None:
    script.after.write_text(damage)
    script.refused(words)


def test_a_full_disk_is_refused_before_the_first_byte(script: Script) -> None:
    path = script.host / "bin"
    path.mkdir()
    (path / "df").write_text("#!/bin/sh\necho Avail\necho 1000\n")
    (path / "df").chmod(0o755)
    script.after.write_text(f"echo written >{script.host}/written")
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{path}:{before}"
    try:
        script.refused("has 1000 bytes free, and ")
    finally:
        os.environ["PATH"] = before
    assert not (script.host / "written").exists()


def test_the_last_are_kept_and_no_file_of_others_is_touched(script: Script) -> None:
    others = (
        "prod-m1-20200101T000000Z.db.keep-me", "prod-m1-2020O101T000000Z.db", "prod-m10-20200101T000000Z.db",
        "other-m1-20200101T000000Z.db", "notes", "prod-m1-20200101T000000Z.db.cms.gz", "foreign.db.part",
    )  # fmt: skip
    sealed = "prod-m1-20200104T000000Z.db.cms"
    script.put(*OLD, *others, sealed, "prod-m1-20200105T000000Z.db.part", "prod-m1-20200105T000000Z.db.cms.part")
    done = script.run()
    assert (done.returncode, done.stderr) == (0, "")
    (new,) = {*script.names()} - {*others, sealed}
    assert new > "prod-m1-2026"
    assert done.stdout.count("deleted ") == len(OLD)


def test_the_snapshot_just_saved_stays_where_another_is_of_the_future(script: Script) -> None:
    script.put(*OLD, "prod-m1-20990101T000000Z.db")
    done = script.run(backup_keep=1)
    assert (done.returncode, done.stderr) == (0, "")
    (name,) = script.names()
    assert f"saved {script.backups / name}," in done.stdout


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_is_stopped_leaves_no_part(script: Script, sent: signal.Signals) -> None:
    script.put(*OLD)
    script.after.write_text(f"touch {script.host}/written; sleep 1")
    # A test in the background may ignore SIGINT, and a shell cannot trap what it was told to ignore.
    argv = ["env", "--default-signal=TERM,INT,HUP", "/bin/sh", str(script.render())]
    with subprocess.Popen(argv) as process:
        while not (script.host / "written").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(sent)
        assert process.wait(60) == 143
    assert script.names() == sorted(OLD)
    assert list(script.etcd.iterdir()) == []


def test_only_questions_have_a_time_limit(script: Script) -> None:
    assert script.run().returncode == 0
    limited = {"--command-timeout" in line for line in script.calls.read_text().splitlines() if "snapshot save" in line}
    assert limited == {False}  # a large snapshot takes minutes
    asked = [line for line in script.calls.read_text().splitlines() if "etcdctl" in line and "snapshot" not in line]
    assert asked
    assert all("--command-timeout" in line for line in asked)


def test_an_etcd_that_was_lost_and_filled_again_replaces_no_backup(script: Script) -> None:
    assert script.run().returncode == 0
    (noted,) = script.backups.glob(".*")
    assert noted.stat().st_mode & 0o777 == 0o600
    revision = int(noted.read_text())
    assert revision > 0
    assert script.run().returncode == 0  # the same revision is no loss
    before = script.names()
    noted.write_text(f"{revision + 1000}\n")
    done = script.run(backup_keep=1)
    assert done.returncode == 1
    assert re.search(rf"etcd is at revision \d+, and the last snapshot was at {revision + 1000}: ", done.stderr)
    assert str(noted) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert script.names() == before
    assert list(script.etcd.iterdir()) == []
    noted.unlink()  # what the message says
    assert script.run(backup_keep=1).returncode == 0
    noted.write_text("no number\n")
    script.run().check_returncode()


def test_what_openssl_could_not_decrypt_is_not_encrypted(script: Script) -> None:
    script.refused("openssl decrypts no more than 4096", backup_certificate="PEM", __backup_decryptable=4096)
    for name in OLD:
        (script.backups / name).unlink()
    assert script.run(__backup_decryptable=4096).returncode == 0  # without a certificate it does not matter


def test_a_run_that_hangs_is_ended() -> None:
    assert "\nTimeoutStartSec=" in TEMPLATE.with_name("yunkube-backup.service.j2").read_text()
