# SPDX-License-Identifier: Apache-2.0
"""One module at a time on a host, one run at a time on a cluster; with real processes and real locks."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
import real_module
from ansible.module_utils.yunkube.host import run_lock as host_lock

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

LIBRARY = Path(__file__).resolve().parents[2] / "library"
# Modules of the control machine are kept apart by the lock of the state directory.
ON_THE_CONTROL_MACHINE = {
    "alicloud_hosts",
    "alicloud_routes",
    "backup_files",  # on masters it only lists
    "bundle_build",
    "bundle_upload",
    "cluster_config",
    "cluster_identity",
    "docker_engine",
    "docker_host_image",
    "docker_host_keys",
    "docker_machines",
    "kubeconfig_file",
}
ONLY_READ = {
    "cluster_status",
    "cluster_values",
    "doctor_cluster",
    "doctor_host",
    "etcd_member",
    "host_drift",
    "host_facts",
    "pod_cidrs",
    "support_collect",
}
# It makes pods and removes them, and its own lock lets only one at a time do so.
CLAIM_ONLY = {"cluster_verify", "run_claim"}

ALICE = {"origin": "a", "owner": "alice@laptop", "verb": "up", "since": "2026-11-28T12:00:00+00:00"}
BOB = {"origin": "b", "owner": "bob@desk", "verb": "down", "since": "2026-11-28T12:01:00+00:00"}

HOLDER = """
import sys
from pathlib import Path
import ansible.module_utils
ansible.module_utils.__path__.append(sys.argv[1])
from ansible.module_utils.yunkube.host import run_lock as host_lock
with host_lock.held("bundle_install", 5, Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the host keeps its lock."""
    return tmp_path / "yunkube"


@contextlib.contextmanager
def holder(folder: Path) -> t.Iterator[subprocess.Popen[str]]:
    """Run another process that holds the lock."""
    argv = [sys.executable, "-c", HOLDER, str(LIBRARY.parent / "module_utils"), str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_timeout_names_the_run_that_holds_the_lock_and_how_to_end_it(folder: Path) -> None:
    with holder(folder) as process, pytest.raises(host_lock.BusyError) as caught:  # noqa: SIM117
        with host_lock.held("host_settings", 0.1, folder):
            pass
    text = str(caught.value)
    assert re.search(rf"bundle_install of an earlier run \(pid {process.pid}, since 20.* UTC\)", text), text
    assert f"kill {process.pid}" in text


def test_a_module_waits_for_the_one_of_a_stopped_run_to_end(folder: Path) -> None:
    with holder(folder) as process:
        process.send_signal(signal.SIGSTOP)  # a module that hangs holds it as well
        with pytest.raises(host_lock.BusyError), host_lock.held("host_settings", 0.1, folder):
            pass
        process.send_signal(signal.SIGCONT)
        assert process.stdin
        process.stdin.close()
        with host_lock.held("host_settings", 20, folder):
            assert process.wait(5) == 0
    assert not folder.exists(), "nothing is left on the host"


def test_the_lock_of_a_killed_module_is_free(folder: Path) -> None:
    with holder(folder) as process:
        process.kill()
        with host_lock.held("host_settings", 20, folder):
            pass
    assert not folder.exists()


def test_many_at_once_come_one_after_the_other(folder: Path, tmp_path: Path) -> None:
    script = HOLDER.replace(
        'print("held", flush=True)\n    sys.stdin.read()',
        "p = Path(sys.argv[3]); n = int(p.read_text()); import time; time.sleep(0.02); p.write_text(str(n + 1))",
    )
    count = tmp_path / "count"
    count.write_text("0")
    argv = [sys.executable, "-c", script, str(LIBRARY.parent / "module_utils"), str(folder), str(count)]
    processes = [subprocess.Popen(argv) for _ in range(20)]
    assert [process.wait(30) for process in processes] == [0] * 20
    assert count.read_text() == "20"


def test_a_second_control_machine_learns_which_run_is_active(folder: Path) -> None:
    folder.mkdir()
    host_lock.claim(ALICE, folder)
    host_lock.claim(ALICE | {"verb": "verify"}, folder)  # the same control machine: its earlier run has ended
    with pytest.raises(host_lock.BusyError) as caught:
        host_lock.claim(BOB, folder)
    text = str(caught.value)
    assert "`verify` of alice@laptop has been running on this cluster since 2026-11-28T12:00:00+00:00" in text
    assert f"remove {folder / 'run.json'} on this host" in text
    assert re.search(r"expires at 20\d\d-\d\d-\d\d [\d:]+ UTC, in 4(80|79) s", text), text
    host_lock.release(BOB, folder)  # gives up nothing but its own
    with pytest.raises(host_lock.BusyError):
        host_lock.claim(BOB, folder)
    host_lock.release(ALICE, folder)
    host_lock.claim(BOB, folder)
    assert (folder / "run.json").stat().st_mode & 0o777 == 0o600


def test_a_claim_expires_without_a_sign_of_its_run(folder: Path) -> None:
    folder.mkdir()
    host_lock.claim(ALICE, folder)
    path = folder / "run.json"
    old = json.loads(path.read_text())
    path.write_text(json.dumps(old | {"seen": old["seen"] - host_lock.EXPIRY + 60}))
    host_lock.renew(folder)
    assert json.loads(path.read_text())["seen"] >= old["seen"]
    path.write_text(json.dumps(old | {"seen": old["seen"] - host_lock.EXPIRY - 1}))
    host_lock.claim(BOB, folder)
    assert json.loads(path.read_text())["owner"] == "bob@desk"


def test_a_claim_lasts_as_long_as_its_own_run_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    with monkeypatch.context() as slow:  # the control machine of this one has a cluster_slow_factor
        slow.setattr(host_lock, "EXPIRY", 3 * host_lock.EXPIRY)
        host_lock.claim(ALICE, folder)
        host_lock.renew(folder)
    path = folder / "run.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"seen": found["seen"] - 2 * host_lock.EXPIRY}))
    with pytest.raises(host_lock.BusyError):
        host_lock.claim(BOB, folder)
    path.write_text(json.dumps(found | {"seen": found["seen"] - 3 * host_lock.EXPIRY - 1}))
    host_lock.claim(BOB, folder)


def test_a_long_module_is_a_sign_of_its_run_until_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else comes to the claim while a module holds the host's lock; then its last sign is of now."""
    path = host_lock.FOLDER / "run.json"
    with real_module.ending(monkeypatch):
        host_lock.take(t.cast("AnsibleModule", SimpleNamespace(params={"run": ALICE}, check_mode=False)))
        claimed = json.loads(path.read_text())
        path.write_text(json.dumps(claimed | {"seen": claimed["seen"] - host_lock.EXPIRY - 1}))
    assert json.loads(path.read_text())["seen"] >= claimed["seen"]
    with pytest.raises(host_lock.BusyError):
        host_lock.claim(BOB)


def test_a_claim_expires_in_a_few_minutes_but_not_during_a_step_on_other_hosts() -> None:
    assert host_lock.WAIT < host_lock.EXPIRY <= 600


@pytest.mark.parametrize("text", ["", "{", "[]", '{"origin": "a"}'])
def test_an_unreadable_claim_does_not_block_a_run(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "run.json").write_text(text)
    host_lock.renew(folder)
    host_lock.claim(BOB, folder)


def test_a_claim_of_before_the_start_of_the_host_counts_no_more(folder: Path) -> None:
    folder.mkdir()
    later = time.clock_gettime(time.CLOCK_BOOTTIME) + 1e6
    (folder / "run.json").write_text(json.dumps(ALICE | {"seen": later}))
    host_lock.claim(BOB, folder)


def test_every_module_that_changes_a_host_takes_the_lock() -> None:
    for path in LIBRARY.glob("*.py"):
        text = path.read_text()
        locks = "host_lock.take(" in text or "host_lock.fault(" in text
        assert locks != (path.stem in ON_THE_CONTROL_MACHINE | ONLY_READ | CLAIM_ONLY), path.name
        assert ("host_lock.claim_only(" in text) == (path.stem in CLAIM_ONLY), path.name
