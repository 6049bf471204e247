# SPDX-License-Identifier: Apache-2.0
"""A host gets the cluster's kubelet configuration, and keeps the former one where the kubelet does not start with it.

kubeadm and systemd are the test's own; files, lock and API client are real.
"""

from __future__ import annotations

import datetime as dt
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.host import patience
from ansible.module_utils.yunkube.kube import kubeadm, kubelet_file, kubelet_rollout
from kube_api_server import ApiServer
from role_values import variables_of

NOW = dt.datetime(2026, 11, 28, 12, 0, 0, 500, tzinfo=dt.UTC)


def node(status: str, at: str) -> dict[str, t.Any]:
    """Return a node as its kubelet reports it."""
    ready = {"type": "Ready", "status": status, "message": "because", "lastHeartbeatTime": at}
    return {"status": {"conditions": [ready]}}


def test_a_node_is_ready_by_a_report_that_is_younger_than_the_restart() -> None:
    assert kubelet_rollout.problem(node("True", "2026-11-28T12:00:00Z"), NOW) == ""
    assert "has not reported" in kubelet_rollout.problem(node("True", "2026-11-28T11:59:59Z"), NOW)
    assert kubelet_rollout.problem(node("False", "2026-11-28T12:00:01Z"), NOW) == "not Ready: because"


class Ended(Exception):  # noqa: N818 - no error, a way out
    """The module's result."""


class Module:
    """As much of a module as the rollout uses."""

    def __init__(self, *, check_mode: bool = False) -> None:
        """Take the arguments of a task."""
        self.check_mode = check_mode
        self.params = {"node": "n1", "patches": [], "fields": ["maxPods: 1 -> 2"], "timeout": 20}

    def get_bin_path(self, name: str, **_more: t.Any) -> str:
        """Find kubeadm."""
        return f"/usr/local/bin/{name}"

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        """End."""
        raise Ended({"failed": False, **result})

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        """End with a failure."""
        raise Ended({"failed": True, **result})


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ApiServer) -> Path:
    """A host whose kubelet reports each second, and starts with anything but `bad`."""
    path = tmp_path / "config.yaml"
    path.write_text("maxPods: 1\n")
    path.chmod(0o644)
    monkeypatch.setattr(kubelet_file, "CONFIG", path)
    monkeypatch.setattr(kubelet_file, "COPIES", tmp_path / "tmp")
    (tmp_path / "kubelet.conf").write_text(server.kubeconfig)
    monkeypatch.setattr(kubelet_rollout, "KUBECONFIG", str(tmp_path / "kubelet.conf"))
    monkeypatch.setattr(kubelet_rollout, "STOPPED", 2)
    exclusive, write_patches, run = kubeadm.exclusive, kubeadm.write_patches, tmp_path / "run"
    monkeypatch.setattr(kubeadm, "exclusive", lambda seconds: exclusive(seconds, run))
    monkeypatch.setattr(kubeadm, "write_patches", lambda patches: write_patches(patches, run))
    monkeypatch.setattr(kubeadm, "kubelet_active", lambda: path.read_text() != "bad")
    monkeypatch.setattr(kubeadm, "kubelet_journal", lambda: ['E1128 12:00:00.1 1 x.go:1] "no" err="bad field"'])

    def start(*, again: bool = False) -> None:
        assert again
        if kubeadm.kubelet_active():
            later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
            server.put("/api/v1/nodes/n1", **node("True", later.strftime("%Y-%m-%dT%H:%M:%SZ")))

    server.put("/api/v1/nodes/n1", **node("True", "2026-01-01T00:00:00Z"))
    monkeypatch.setattr(kubeadm, "start_kubelet", start)
    return path


def rolled_out(config: Path, text: str, monkeypatch: pytest.MonkeyPatch, *, check_mode: bool = False) -> t.Any:
    """Run the module on a host where kubeadm writes this."""

    def run(argv: list[str], given: str, _lock: int, _seconds: float) -> kubeadm.Outcome:
        assert argv[1:] == ["upgrade", "node", "phase", "kubelet-config"]
        assert yaml.safe_load(given)["node"]["patches"]["directory"] == "/run/yunkube/patches"
        copy = config.parent / "tmp/kubeadm-kubelet-config-1"
        copy.mkdir(parents=True)
        config.write_text(text)
        return kubeadm.Outcome(0, "", 0.1)

    monkeypatch.setattr(kubeadm, "run", run)
    with pytest.raises(Ended) as ended:
        kubelet_rollout.Rollout(t.cast("t.Any", Module(check_mode=check_mode))).run()
    return ended.value.args[0]


def test_a_changed_file_restarts_the_kubelet(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = rolled_out(config, "maxPods: 2\n", monkeypatch)
    assert result == {"failed": False, "changed": True, "changes": ["restart kubelet with maxPods: 1 -> 2"]}
    assert config.read_text() == "maxPods: 2\n"
    assert list((config.parent / "tmp").iterdir()) == []  # kubeadm's own copy


def test_a_file_that_stays_the_same_restarts_nothing(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rolled_out(config, "maxPods: 1\n", monkeypatch)["changed"] is False


def test_check_mode_changes_nothing(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rolled_out(config, "maxPods: 2\n", monkeypatch, check_mode=True)["changed"] is True
    assert config.read_text() == "maxPods: 1\n"


def test_the_former_file_comes_back_when_the_kubelet_does_not_start(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = rolled_out(config, "bad", monkeypatch)
    assert result["failed"]
    assert "bad field" in result["msg"]
    assert result["msg"].endswith("the former configuration is back and the node is Ready")
    assert config.read_text() == "maxPods: 1\n"


def test_a_configuration_that_is_newer_than_the_kubelet_is_worth_a_restart() -> None:
    """As after a run that was killed when kubeadm had written it: nothing else would tell that the kubelet lacks it."""
    assert "{{ __kubelet_config }}" in variables_of("kubelet")["kubelet_service"]["programs"]


def test_slow_hosts_have_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(patience.VARIABLE, "3")
    assert kubelet_rollout.Rollout(t.cast("t.Any", Module())).seconds == 60
