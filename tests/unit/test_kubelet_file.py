# SPDX-License-Identifier: Apache-2.0
"""The doctor writes a kubelet's configuration as `up` does: kubeadm does it, with the patches of the host.

kubeadm is the test's own; files and lock are real.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.doctor import repairs
from ansible.module_utils.yunkube.doctor.repair_work import RepairError, Work
from ansible.module_utils.yunkube.kube import kubeadm, kubelet_file


class Module:
    """As much of a module as the repair uses."""

    def __init__(self, *, check_mode: bool = False) -> None:
        """Do it, or say what would be done."""
        self.check_mode = check_mode

    def get_bin_path(self, name: str, **_more: t.Any) -> str:
        """Find every program."""
        return name

    def run_command(self, _argv: list[str], **_more: t.Any) -> tuple[int, str, str]:
        """Simulate systemctl."""
        return 0, "", ""


PATCHES: list[dict[str, t.Any]] = [{"etcd": {"spec": {}}}, {"kubeletconfiguration": {"maxPods": 66}}]


@pytest.fixture
def writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let kubeadm write what its patches say, into a file that is there, as it wants it; return how it was called."""
    exclusive, write_patches = kubeadm.exclusive, kubeadm.write_patches
    monkeypatch.setattr("ansible.module_utils.yunkube.doctor.repair_work.KEPT", tmp_path / "kept")
    monkeypatch.setattr(repairs, "KUBELET_CONF", str(tmp_path / "kubelet.conf"))
    monkeypatch.setattr(repairs, "probe", lambda _url: "ok")
    monkeypatch.setattr(kubelet_file, "CONFIG", tmp_path / "config.yaml")
    monkeypatch.setattr(kubelet_file, "COPIES", tmp_path)
    monkeypatch.setattr(kubeadm, "exclusive", lambda seconds: exclusive(seconds, tmp_path / "run"))
    monkeypatch.setattr(kubeadm, "write_patches", lambda patches: write_patches(patches, tmp_path / "run"))
    called: list[list[str]] = []

    def run(argv: list[str], given: str, _lock: int, _seconds: float) -> kubeadm.Outcome:
        called.append(argv)
        assert given == kubelet_file.UPGRADE
        patch = json.loads((tmp_path / "run/patches/kubeletconfiguration1+strategic.json").read_text())
        (tmp_path / "kubeadm-kubelet-config-1").mkdir()
        (tmp_path / "kubeadm-kubelet-config-1/config.yaml").write_bytes((tmp_path / "config.yaml").read_bytes())
        (tmp_path / "config.yaml").write_text(f"maxPods: {patch['maxPods']}\n")
        return kubeadm.Outcome(0, "", 0.1)

    monkeypatch.setattr(kubeadm, "run", run)
    return called


@pytest.mark.parametrize("there", ["oops: [\n", None])
def test_kubeadm_writes_the_kubelets_configuration_with_the_patches_of_the_host(
    tmp_path: Path, writing: list[list[str]], there: str | None
) -> None:
    path = tmp_path / "config.yaml"
    if there is not None:
        path.write_text(there)
    one = Work(t.cast("t.Any", Module()), "fault", PATCHES)
    repairs.write_kubelet_config(one, "")
    assert writing == [["kubeadm", "upgrade", "node", "phase", "kubelet-config"]]
    assert path.read_text() == "maxPods: 66\n"
    assert one.changes == [f"write {path}", "restart kubelet"]
    assert (one.diff[0]["before"], one.diff[0]["after"]) == (there or "", "maxPods: 66\n")
    assert bool(one.backup) == (there is not None)
    assert not (tmp_path / "kubeadm-kubelet-config-1").exists()


def test_a_dry_run_says_that_the_kubelets_configuration_would_be_written(
    tmp_path: Path, writing: list[list[str]]
) -> None:
    one = Work(t.cast("t.Any", Module(check_mode=True)), "fault", PATCHES)
    repairs.write_kubelet_config(one, "")
    assert one.changes == [f"write {tmp_path / 'config.yaml'}", "restart kubelet"]
    assert not writing
    assert not (tmp_path / "config.yaml").exists()


def test_where_kubeadm_fails_no_empty_configuration_is_left(
    tmp_path: Path, writing: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeadm, "run", lambda *_: kubeadm.Outcome(1, "error: the API is away\n", 0.1))
    monkeypatch.setattr(kubeadm, "kubelet_active", lambda: True)
    with pytest.raises(RepairError, match="the API is away"):
        repairs.write_kubelet_config(Work(t.cast("t.Any", Module()), "fault", PATCHES), "")
    assert not writing
    assert not (tmp_path / "config.yaml").exists()
