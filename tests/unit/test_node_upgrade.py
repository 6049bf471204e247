# SPDX-License-Identifier: Apache-2.0
"""What a host's turn replaces is kept and put back; files are real, systemd and the kubelet are the test's own."""

from __future__ import annotations

import datetime as dt
import hashlib
import subprocess
import types
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host import bundle_files
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.kube import kubeadm, kubelet_file
from ansible.module_utils.yunkube.upgrade import host
from kube_api_server import ApiServer


class Ended(Exception):  # noqa: N818 - no error, a way out
    """The module's result."""


class Module:
    """As much of a module as a turn uses."""

    def __init__(self, state: str, paths: t.Sequence[str] = (), *, check_mode: bool = False, **more: t.Any) -> None:
        """Take the arguments of a task."""
        defaults = {name: option.get("default") for name, option in host.OPTIONS.items()}
        given = {"state": state, "node": "n1", "version": "1.37.2", "paths": list(paths), "timeout": 2, **more}
        self.check_mode, self.params = check_mode, {**defaults, **given}

    def get_bin_path(self, name: str, **_more: t.Any) -> str:
        """Find every program."""
        return name

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        """End."""
        raise Ended({"failed": False, **result})

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        """End with a failure."""
        raise Ended({"failed": True, **result})


class Machine:
    """A host with a program, a unit and a kubelet that reports what its program is."""

    def __init__(self, folder: Path, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run 1.36.5."""
        self.server, self.asked = server, list[list[str]]()
        self.program, self.unit, self.fresh = folder / "kubelet", folder / "kubelet.service", folder / "new"
        self.config = folder / "config.yaml"
        self.program.write_text("1.36.5")
        self.program.chmod(0o755)
        self.unit.write_text("old unit")
        self.config.write_text("old config")
        (folder / "kubelet.conf").write_text(server.kubeconfig)
        monkeypatch.setattr(host_state, "FOLDER", folder / "state")
        monkeypatch.setattr(bundle_files, "STATE", folder / "state")
        monkeypatch.setattr(kubelet_file, "CONFIG", self.config)
        monkeypatch.setattr(kubelet_file, "write", lambda *_: self.asked.append(["kubelet-config"]))
        monkeypatch.setattr(kubeadm, "start_kubelet", self.start)
        monkeypatch.setattr(host, "KUBECONFIG", str(folder / "kubelet.conf"))
        monkeypatch.setattr(host, "STOPPED", 2)
        monkeypatch.setattr(kubeadm, "kubelet_active", lambda: self.program.read_text() != "bad")
        monkeypatch.setattr(kubeadm, "kubelet_journal", list)
        monkeypatch.setattr(host.Turn, "started", lambda _self: dt.datetime(2026, 12, 1, tzinfo=dt.UTC))
        monkeypatch.setattr(host, "subprocess", types.SimpleNamespace(run=self.systemctl))
        self.report()

    def systemctl(self, argv: list[str], **_more: t.Any) -> subprocess.CompletedProcess[str]:
        """Restart: the kubelet reports."""
        self.asked.append(argv[1:])
        self.report()
        return subprocess.CompletedProcess(argv, 0, "", "")

    def start(self, *, again: bool) -> str:
        """Start the kubelet again; it reports."""
        self.asked.append(["start", str(again)])
        self.report()
        return ""

    def report(self) -> None:
        """Say what runs."""
        release = self.program.read_text()
        if release != "bad":
            ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-12-01T00:00:01Z"}
            status = {"conditions": [ready], "nodeInfo": {"kubeletVersion": f"v{release}"}}
            self.server.put("/api/v1/nodes/n1", status=status)

    def install(self, release: str) -> None:
        """Put other files in place, as the roles do: each by a rename."""
        for path, text in ((self.program, release), (self.unit, f"unit {release}"), (self.fresh, "fresh")):
            part = path.with_name("part")
            part.write_text(text)
            part.chmod(0o755 if path == self.program else 0o644)
            part.replace(path)
        self.config.write_text(f"config {release}")  # kubeadm writes into the file that is there
        self.report()

    @property
    def files(self) -> list[str]:
        """Return the contents of all files."""
        return [
            path.read_text() if path.exists() else "" for path in (self.program, self.unit, self.config, self.fresh)
        ]

    def run(self, state: str, **more: t.Any) -> dict[str, t.Any]:
        """Run the module."""
        paths = [str(path) for path in (self.unit, self.fresh)] if state == "kept" else []
        files = [{"name": "kubelet", "kind": "kubernetes", "path": str(self.program), "size": 6, "mode": "0755",
                  "sha256": hashlib.sha256(more.get("version", "1.37.2").encode()).hexdigest()}]  # fmt: skip
        more = {"files": files} | more
        with pytest.raises(Ended) as ended:
            host.Turn(t.cast("t.Any", Module(state, paths, **more))).run()
        return t.cast("dict[str, t.Any]", ended.value.args[0])


OLD = ["1.36.5", "old unit", "old config", ""]
NEW = ["1.37.2", "unit 1.37.2", "config 1.37.2", "fresh"]


@pytest.fixture
def machine(tmp_path: Path, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, server, monkeypatch)


def test_a_node_that_works_is_proved_and_its_former_programs_go(machine: Machine) -> None:
    assert machine.run("kept")["changed"] is False
    assert sum(path.stat().st_nlink for path in host.folder().iterdir()) == 5  # a program costs no space
    machine.install("1.37.2")
    assert machine.run("proved") == {
        "failed": False,
        "changed": True,
        "changes": [f"write {machine.config}", "restart kubelet"],
    }
    assert machine.asked == [["kubelet-config"], ["start", "True"]]
    assert machine.files == NEW
    assert not host.folder().exists()


def test_a_kubelet_that_stays_gets_no_file_that_is_newer_than_it(machine: Machine) -> None:
    """The next run would take it for one that lacks its configuration, and drain the host once more."""
    before = machine.program.stat()
    machine.run("kept", version="1.36.5")
    assert machine.run("proved", version="1.36.5") == {"failed": False, "changed": False, "changes": []}
    assert machine.asked == []
    assert (
        machine.program.stat().st_ctime_ns == before.st_ctime_ns
    )  # a link would change it, and so its service is stale


def test_one_that_does_not_work_gets_everything_back(machine: Machine) -> None:
    machine.run("kept")
    machine.install("bad")
    failed = machine.run("proved")
    assert failed["failed"]
    assert failed["msg"] == "with 1.37.2: the kubelet does not stay up"
    back = machine.run("reverted", cause=failed["msg"], units=["containerd.service", "kubelet.service"])
    assert machine.files == OLD
    assert machine.asked[-3:] == [["daemon-reload"], ["restart", "containerd.service"], ["restart", "kubelet.service"]]
    assert back["summary"] == f"{failed['msg']}; the former programs are back: n1 works with 1.36.5 again"
    assert not back["failed"]
    assert machine.program.stat().st_mode & 0o777 == 0o755
    assert not host.folder().exists()


def test_a_kubelet_that_reports_another_release_is_not_what_was_asked_for(machine: Machine) -> None:
    machine.run("kept")
    assert machine.run("proved")["msg"] == "with 1.37.2: the node reports kubelet 1.36.5"


def test_a_pod_of_the_node_that_does_not_run_is_named(machine: Machine) -> None:
    machine.run("kept")
    machine.install("1.37.2")
    made = machine.server.put(
        "/apis/apps/v1/namespaces/kube-system/daemonsets/flannel",
        spec={
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}},
        },
    )
    of = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "flannel", "uid": made["metadata"]["uid"]}
    machine.server.put(
        "/api/v1/namespaces/kube-system/pods/flannel-1",
        metadata={"ownerReferences": [{**of, "controller": True}]},
        spec={"nodeName": "n1", "containers": [{"name": "a", "image": "b"}]},
    )
    assert machine.run("proved", namespaces=["other"])["failed"] is False
    machine.run("kept")
    assert "flannel-1: not ready" in machine.run("proved", namespaces=["kube-system"])["msg"]


def test_a_run_again_does_not_keep_the_new_for_the_old(machine: Machine) -> None:
    machine.run("kept")
    machine.install("1.37.2")
    machine.run("kept")  # the first run was killed here
    machine.run("reverted", cause="x")
    assert machine.files == OLD


def test_what_an_upgrade_to_another_release_left_is_no_longer_wanted(machine: Machine) -> None:
    machine.run("kept", version="1.36.9")
    machine.install("1.36.9")
    machine.run("kept")
    machine.install("1.37.2")
    machine.run("reverted", cause="x")
    assert machine.files == ["1.36.9", "unit 1.36.9", "config 1.36.9", "fresh"]


def test_without_anything_kept_nothing_is_put_back(machine: Machine) -> None:
    assert machine.run("reverted", cause="n1: not drained") == {
        "failed": False,
        "changed": False,
        "changes": [],
        "summary": "n1: not drained",
    }
    assert machine.asked == []


def test_what_is_not_whole_counts_as_nothing_kept(machine: Machine) -> None:
    host.folder().mkdir(parents=True)
    (host.folder() / host.INDEX).write_text('{"version": "1.37.2", "fil')
    machine.run("kept")
    machine.install("1.37.2")
    machine.run("reverted", cause="x")
    assert machine.files == OLD


def test_where_the_old_does_not_work_either_it_says_so_and_keeps_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.run("kept")
    machine.install("bad")
    machine.server.api.delete("/api/v1/nodes/n1")
    failing = types.SimpleNamespace(run=lambda argv, **_more: subprocess.CompletedProcess(argv, 1, "", "no"))
    monkeypatch.setattr(host, "subprocess", failing)
    back = machine.run("reverted", cause="x", units=["kubelet.service"])
    assert "but `systemctl restart kubelet.service` failed: no" in back["summary"]
    assert "the node is not healthy with them" in back["summary"]
    assert host.folder().exists()


def test_check_mode_keeps_and_puts_back_nothing(machine: Machine) -> None:
    machine.run("kept", check_mode=True)
    assert not host.folder().exists()
    assert machine.run("proved", check_mode=True)["failed"] is False
    assert machine.run("reverted", check_mode=True, cause="x")["summary"] == "x"
