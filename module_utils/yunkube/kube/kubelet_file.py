# SPDX-License-Identifier: Apache-2.0
"""Write a host's kubelet configuration, as kubeadm does when a host joins: the cluster's, with the host's patches."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube import kubeadm

CONFIG = Path("/var/lib/kubelet/config.yaml")
COPIES = Path("/etc/kubernetes/tmp")  # where kubeadm keeps a copy of the file at each call
SECONDS = scaled(60.0)  # that kubeadm may take
# What a module's argument spec says of the patches.
PATCHES_SPEC: dict[str, t.Any] = {"type": "list", "elements": "dict", "default": []}
UPGRADE = """apiVersion: kubeadm.k8s.io/v1beta4
kind: UpgradeConfiguration
node:
  patches:
    directory: /run/yunkube/patches
"""


class WriteError(Exception):
    """kubeadm did not write the file; `failure` is what `fail_json` takes."""

    def __init__(self, failure: kubeadm.Json) -> None:
        """Keep it."""
        super().__init__(failure["msg"])
        self.failure = failure


def write(program: str, patches: t.Sequence[kubeadm.Json], seconds: float) -> None:
    """Let kubeadm write the file from ConfigMap kubelet-config and the patches; wait so long for another kubeadm."""
    try:
        with kubeadm.exclusive(seconds) as lock:
            _write(program, patches, lock)
    except kubeadm.BusyError as error:
        raise WriteError({"msg": str(error)}) from error


def _write(program: str, patches: t.Sequence[kubeadm.Json], lock: int) -> None:
    kubeadm.write_patches(patches)
    copies = set(COPIES.glob("kubeadm-kubelet-config*"))
    missing = not CONFIG.exists()
    if missing:  # kubeadm wants a file that it can copy
        CONFIG.touch(mode=0o644)
    outcome = kubeadm.run([program, "upgrade", "node", "phase", "kubelet-config"], UPGRADE, lock, SECONDS)
    for folder in set(COPIES.glob("kubeadm-kubelet-config*")) - copies:
        shutil.rmtree(folder, ignore_errors=True)  # whoever calls this keeps the former file itself
    if outcome.rc != 0:
        if missing and not CONFIG.read_bytes():
            CONFIG.unlink()
        raise WriteError(kubeadm.failure("upgrade node phase kubelet-config", outcome))
