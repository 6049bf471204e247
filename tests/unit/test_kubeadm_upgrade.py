# SPDX-License-Identifier: Apache-2.0
"""What is left of an upgrade on a master, when kubeadm is run, and what it is told; kubeadm itself checks that.

The API is real, and so is kubeadm where it reads the configuration. Control planes change in the lab of upgrades.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.doctor.control_plane_health import ControlPlane
from ansible.module_utils.yunkube.kube import etcd, kubeadm
from ansible.module_utils.yunkube.result import Fault
from ansible.module_utils.yunkube.upgrade import control_plane, plan
from kube_api_server import POD, ApiServer, programs

CONFIG = "kind: ClusterConfiguration\nkubernetesVersion: v{release}\n"


class Ended(Exception):  # noqa: N818 - no error, a way out
    """The module's result."""


class Master:
    """As much of a module as the upgrade uses, on a master whose kubeadm does what the test says."""

    def __init__(self, root: Path, server: ApiServer) -> None:
        """Have a control plane of 1.36.5."""
        self.root, self.server = root, server
        self.check_mode, self.params = False, dict[str, t.Any]()
        self.kubeadm = "v1.37.2"
        self.unhealthy: list[Fault] = []
        self.asked: list[list[str]] = []  # of crictl
        self.stopped: set[str] = set()  # static pods without a container
        (root / "manifests").mkdir()
        (root / "admin.conf").write_text(server.kubeconfig)
        self.write("1.36.5")
        self.finish("1.36.5")

    def write(self, release: str, *parts: str) -> None:
        """Write manifests of a release."""
        for part in parts or plan.PARTS:
            text = f"spec:\n  containers:\n  - image: registry.k8s.io/{part}:v{release}\n    name: {part}\n"
            (self.root / f"manifests/{part}.yaml").write_text(text)

    def finish(self, release: str) -> None:
        """Write to the API what kubeadm writes last."""
        self.server.put(plan.CONFIGMAP, data={"ClusterConfiguration": CONFIG.format(release=release)})
        self.server.put("/api/v1/namespaces/kube-system/configmaps/kubelet-config", data={"kubelet": "a: b"})
        container = {"name": "kube-proxy", "image": f"registry.k8s.io/kube-proxy:v{release}"}
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {**POD, "containers": [container]}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        self.server.put(plan.PROXY, spec=spec, status={"observedGeneration": 9})  # on no node, as there is none

    def get_bin_path(self, name: str, **_more: t.Any) -> str:
        """Find every program."""
        return name

    def run_command(self, argv: list[str], **_more: t.Any) -> tuple[int, str, str]:
        """Say kubeadm's release, and which containers run."""
        if argv[0] == "crictl":
            self.asked.append(argv[1:])
            part = argv[-3][1:-1] if argv[1] == "ps" else ""
            return 0, "" if part in self.stopped else f"{part}\n", ""
        assert argv == ["kubeadm", "version", "--output", "short"]
        return 0, f"{self.kubeadm}\n", ""

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        """End."""
        raise Ended({"failed": False, **result})

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        """End with a failure."""
        raise Ended({"failed": True, **result})

    def run(self, *, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """Return what the module ends with."""
        defaults = {name: option.get("default") for name, option in control_plane.OPTIONS.items()}
        self.check_mode = check_mode
        self.params = {**defaults, "version": "1.37.2", "node": "m1", "first": True, **options}
        with pytest.raises(Ended) as ended:
            control_plane.Upgrade(t.cast("t.Any", self)).run()
        return t.cast("dict[str, t.Any]", ended.value.args[0])


@pytest.fixture
def ran() -> list[list[str]]:
    """What kubeadm was called with."""
    return []


@pytest.fixture
def master(tmp_path: Path, server: ApiServer, ran: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> Master:
    """A master whose kubeadm comes to its end."""
    root = tmp_path / "kubernetes"
    root.mkdir()
    master = Master(root, server)
    monkeypatch.setattr(control_plane, "KUBERNETES", root)
    monkeypatch.setattr(etcd, "DATA", tmp_path / "etcd")
    monkeypatch.setattr(ControlPlane, "faults", lambda _self, *, everyone: master.unhealthy * everyone)
    exclusive, write_patches = kubeadm.exclusive, kubeadm.write_patches
    monkeypatch.setattr(kubeadm, "exclusive", lambda seconds: exclusive(seconds, tmp_path / "run"))
    monkeypatch.setattr(kubeadm, "write_patches", lambda patches: write_patches(patches, tmp_path / "run"))
    monkeypatch.setattr(kubeadm, "kubelet_active", lambda: True)
    monkeypatch.setattr(control_plane, "ROLLED_OUT", 20)

    def run(argv: list[str], config: str, _lock: int, _seconds: float) -> kubeadm.Outcome:
        ran.append([*argv, config])
        (root / "tmp/kubeadm-backup-etcd-1").mkdir(parents=True)
        master.write("1.37.2")
        if "apply" in argv:
            master.finish("1.37.2")
        return kubeadm.Outcome(0, "", 0.1)

    monkeypatch.setattr(kubeadm, "run", run)
    return master


def test_the_first_master_applies_and_the_others_follow(master: Master, ran: list[list[str]]) -> None:
    done = master.run(kubelet_declared="{}")
    assert (done["failed"], done["changed"]) == (False, True)
    assert ran[0][:-1] == ["kubeadm", "upgrade", "apply", "v1.37.2", "--yes"]
    kept = master.server.api.get("/api/v1/namespaces/kube-system/configmaps/kubelet-config")["metadata"]["annotations"]
    assert kept["yunkube/kubelet-config"] == "{}"
    assert list((master.root / "tmp").iterdir()) == []  # kubeadm's copy of etcd's data
    assert master.run()["changed"] is False
    assert len(ran) == 1
    master.write("1.36.5")
    (master.root / "tmp").rmdir()
    assert master.run(first=False)["changed"] is True  # kube-proxy has the release
    assert ran[1][:-1] == ["kubeadm", "upgrade", "node"]


def test_what_kubeadm_did_not_come_to_is_done_by_the_next_run(master: Master, ran: list[list[str]]) -> None:
    master.write("1.37.2")
    assert master.run(state="checked")["left"] == ["kubeadm-config", "kube-proxy"]
    assert master.run(state="checked", first=False)["left"] == ["kube-proxy"]
    # kubeadm leaves kube-proxy to the last master.
    spec = {"nodeName": "m2", "containers": [{"name": "kube-apiserver", "image": "registry.k8s.io/x:v1.36.5"}]}
    labels, mirror = {"component": "kube-apiserver"}, {"kubernetes.io/config.mirror": "x"}
    of = {"apiVersion": "v1", "kind": "Node", "name": "m2", "uid": "1", "controller": True}
    metadata = {"labels": labels, "annotations": mirror, "ownerReferences": [of]}
    master.server.put("/api/v1/namespaces/kube-system/pods/kube-apiserver-m2", metadata=metadata, spec=spec)
    assert master.run(state="checked")["left"] == ["kubeadm-config"]
    assert master.run(state="checked", first=False)["left"] == []
    master.server.api.delete("/api/v1/namespaces/kube-system/pods/kube-apiserver-m2", gracePeriodSeconds=0)
    master.finish("1.37.2")
    master.write("1.36.5", "kube-scheduler")
    assert master.run(state="checked", first=False)["left"] == ["kube-scheduler"]
    assert ran == []


def test_one_that_is_not_healthy_is_left_alone_unless_an_upgrade_was_cut_off(
    master: Master, ran: list[list[str]]
) -> None:
    master.unhealthy = [Fault("etcd", "member m2 is not healthy", "`doctor` says why")]
    refused = master.run()
    assert refused["failed"]
    assert "member m2 is not healthy" in refused["msg"]
    assert ran == []
    master.write("1.37.2", "kube-apiserver")
    assert master.run(state="checked")["left"] == ["kube-controller-manager", "kube-scheduler"]


def test_kubeadm_of_another_release_is_refused(master: Master, ran: list[list[str]]) -> None:
    master.kubeadm = "v1.36.5"
    assert "kubeadm is v1.36.5, and only v1.37.2 can do this" in master.run()["msg"]
    assert ran == []


def test_a_copy_of_etcds_data_must_fit(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    etcd.DATA.mkdir()
    (etcd.DATA / "db").write_bytes(b"x" * (2 << 20))
    monkeypatch.setattr(control_plane, "ROOM", 1e9)
    refused = master.run()
    assert "the copy of etcd's data needs" in refused["msg"]
    assert [fault["check"] for fault in refused["faults"]] == ["disk"]


def test_a_failure_says_kubeadms_cause_and_keeps_its_copies(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: t.Any) -> kubeadm.Outcome:
        (master.root / "tmp/kubeadm-backup-etcd-1").mkdir(parents=True)
        return kubeadm.Outcome(1, "error: error execution phase control-plane: it does not start\n", 1)

    monkeypatch.setattr(kubeadm, "run", fail)
    failed = master.run()
    assert failed["msg"] == "kubeadm upgrade apply: it does not start"
    assert "run the same command again" in failed["remedy"]
    assert (master.root / "tmp/kubeadm-backup-etcd-1").exists()


def test_an_end_without_the_release_is_no_success(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubeadm, "run", lambda *_: kubeadm.Outcome(0, "", 1))
    assert "kubeadm reported no error, but kube-apiserver" in master.run()["msg"]


def test_the_hosts_turn_comes_when_kube_proxy_is_replaced_everywhere(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = {"observedGeneration": 9, "desiredNumberScheduled": 2, "updatedNumberScheduled": 1, "numberReady": 2}
    done_there = {**status, "updatedNumberScheduled": 2}
    rolling = threading.Timer(1, lambda: master.server.set_status(plan.PROXY, done_there))
    finish = master.finish

    def finished(release: str) -> None:
        finish(release)
        master.server.set_status(plan.PROXY, status)
        rolling.start()

    monkeypatch.setattr(master, "finish", finished)
    done = master.run()
    assert done["failed"] is False, done
    assert rolling.finished.is_set()
    monkeypatch.setattr(control_plane, "ROLLED_OUT", 0.1)
    master.write("1.36.5")
    (master.root / "tmp").rmdir()
    rolling = threading.Timer(60, bool)
    assert "the addons of kubeadm are not rolled out" in master.run()["msg"]
    rolling.cancel()


@pytest.mark.parametrize("masters", [["m1"], ["m1", "m2", "m3"]])
def test_the_only_api_server_is_stopped_when_nobody_can_use_it(
    master: Master, masters: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once without etcd, and once when its manifest was replaced; others still serve where there are more."""
    alone = len(masters) == 1

    def stops(wanted: int) -> int:
        deadline = time.monotonic() + 20 * alone
        while (found := sum(argv[0] == "stop" for argv in master.asked)) < wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def run(*_arguments: t.Any) -> kubeadm.Outcome:
        while alone and [argv[0] for argv in master.asked][-1:] != ["ps"]:
            time.sleep(0.05)
        master.stopped = {"etcd"}
        assert stops(1) == alone
        master.stopped = set()
        master.write("1.37.2")
        assert stops(2) == 2 * alone
        master.finish("1.37.2")
        return kubeadm.Outcome(0, "", 1)

    monkeypatch.setattr(kubeadm, "run", run)
    assert master.run(masters=masters)["failed"] is False
    stopped = [argv for argv in master.asked if argv[0] == "stop"]
    assert stopped == [["stop", "--timeout", "2", "kube-apiserver"]] * 2 * alone
    assert bool(master.asked) == alone


def test_check_mode_says_what_it_would_do(master: Master, ran: list[list[str]]) -> None:
    planned = master.run(check_mode=True)
    assert planned["changes"] == [
        "upgrade the control plane to 1.37.2: kube-apiserver, kube-controller-manager, kube-scheduler"
    ]
    assert ran == []


def test_kubeadm_takes_the_configuration(tmp_path: Path) -> None:
    timeouts = {"upgradeManifests": "300s", "kubernetesAPICall": "60s"}
    options = {"version": "1.37.2", "ignore_preflight_errors": ["Swap"], "timeouts": timeouts}
    text = control_plane.configuration(options)
    assert json.loads(text)["apply"]["kubernetesVersion"] == "v1.37.2"
    (tmp_path / "config").write_text(text)
    program = programs("kubeadm")["kubeadm"]
    argv = [str(program), "config", "validate", "--config", str(tmp_path / "config")]
    valid = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert valid.returncode == 0, valid.stderr
    (tmp_path / "config").write_text(text.replace("etcdUpgrade", "etcdUpgrades"))
    assert subprocess.run(argv, capture_output=True, text=True, check=False).returncode != 0
