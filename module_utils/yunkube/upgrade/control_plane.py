# SPDX-License-Identifier: Apache-2.0
"""kubeadm brings the control plane of one master to another release: first looked at, then run, then proved."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import threading
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor.certificates import KUBERNETES
from ansible.module_utils.yunkube.doctor.control_plane_health import ControlPlane
from ansible.module_utils.yunkube.doctor.repair_work import RepairError, Work
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube import etcd, health, kubeadm
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.cluster_values import DECLARED, KUBELET_CONFIGMAP
from ansible.module_utils.yunkube.kube.control_plane import kubeconfig_digest
from ansible.module_utils.yunkube.result import PREFLIGHT, Fault, Report
from ansible.module_utils.yunkube.upgrade import plan

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

OPTIONS: dict[str, dict[str, t.Any]] = {
    "state": {"type": "str", "choices": ["checked", "upgraded"], "default": "upgraded"},
    "version": {"type": "str", "required": True},
    "node": {"type": "str", "required": True},
    "first": {"type": "bool", "default": False},
    "masters": {"type": "list", "elements": "str", "default": []},
    "patches": {"type": "list", "elements": "dict", "default": []},
    "timeouts": {"type": "dict", "default": {}},
    "timeout": {"type": "int", "default": 900},
    "ignore_preflight_errors": {"type": "list", "elements": "str", "default": []},
    "kubelet_declared": {"type": "str", "default": ""},
    "kubeconfig_server": {"type": "str", "default": ""},
}
ROOM = 1.2  # times the size of etcd's data, of which kubeadm keeps a copy while it works
ADDONS = ("DaemonSet kube-system/kube-proxy", "Deployment kube-system/coredns")
ROLLED_OUT = 180  # seconds for them to run everywhere
HEALTHY = 120  # seconds for the control plane to be healthy after kubeadm ended
# Where kubeadm keeps what it replaces, etcd's data among it, and what it was about to write.
COPIES = ("kubeadm-backup-*", "kubeadm-upgraded-manifests*", "kubeadm-kubelet-config*")
_IMAGE = re.compile(r"^\s*(?:- )?image: *(\S+)", re.MULTILINE)


def configuration(options: Json) -> str:
    """Return kubeadm's UpgradeConfiguration; JSON is YAML, too.

    https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/#kubeadm-k8s-io-v1beta4-UpgradeConfiguration
    """
    common = {
        "certificateRenewal": True,
        "etcdUpgrade": True,
        "ignorePreflightErrors": options["ignore_preflight_errors"],
        "imagePullPolicy": "IfNotPresent",
        "patches": {"directory": str(kubeadm.RUN / "patches")},
    }
    return json.dumps(
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "UpgradeConfiguration",
            "apply": {**common, "kubernetesVersion": f"v{options['version']}"},
            "node": common,
            "timeouts": options["timeouts"],
        }
    )


class Upgrade:
    """The look at one master, and the upgrade of its control plane; it ends the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read the options."""
        self.module, self.options = module, module.params
        self.root = KUBERNETES
        self.data = etcd.DATA
        self.work = Work(module, "upgrade")
        self.control_plane = ControlPlane(self.work, self.options["node"], self.options["masters"], self.root)

    def run(self) -> None:
        """Refuse what is not healthy; upgrade what differs, and prove that it works."""
        try:
            self._run()
        except (RepairError, KubeError, etcd.EtcdError, kubeadm.BusyError, OSError) as error:
            remedy = "correct that, then run the same command again: it continues with what is left"
            self.module.fail_json(msg=str(error), remedy=remedy)

    def _run(self) -> None:
        # An upgrade that was cut off leaves a control plane that kubeadm finishes, whatever is wrong with it.
        left = self.left()
        found = [] if left and self.begun() else self.control_plane.faults(everyone=True)
        found += self.room() if left else []
        if found:
            self.module.fail_json(**Report(tuple(found), PREFLIGHT).as_failure())
        if self.options["state"] == "checked":
            self.module.exit_json(changed=False, changes=[], left=left)
        changes = [f"upgrade the control plane to {self.options['version']}: {', '.join(left)}"] if left else []
        if left and not self.module.check_mode:
            self.upgrade()
        self.module.exit_json(
            changed=bool(changes),
            changes=changes,
            left=left,
            kubeconfig_digest=kubeconfig_digest(self.root / "admin.conf", self.options["kubeconfig_server"]),
        )

    def left(self) -> list[str]:
        """Return which parts have another release, by the manifests, then by what kubeadm writes to the API.

        The first master writes kubeadm-config, and the last one, when no other is behind, kube-proxy.
        """
        version = self.options["version"]
        if left := [name for name in plan.PARTS if self.release_of(name) != version]:
            return left
        with KubeApi.from_file(str(self.root / "admin.conf"), timeout=5) as api:
            written = plan.see_release(api)
            others = plan.control_planes(api.items("/api/v1/namespaces/kube-system/pods"))
        behind = any(has != {version} for node, has in others.items() if node != self.options["node"])
        if not self.options["first"]:
            del written["kubeadm-config"]
        if behind:
            written.pop("kube-proxy", None)
        return [name for name, release in written.items() if release != version]

    def rolling(self) -> list[str]:
        """Return which addons that kubeadm has changed do not run everywhere; an addon may be turned off.

        A node whose kube-proxy is being replaced goes on sending requests to pods that a drain has evicted.
        """
        with KubeApi.from_file(str(self.root / "admin.conf"), timeout=5) as api:
            found = health.see(api, health.Wanted((), workloads=ADDONS)).workloads
        return [name for name, addon in found.items() if addon and health.workload_problem(addon)]

    def begun(self) -> bool:
        """Say whether an upgrade to this release was cut off: some parts have it."""
        return any(self.release_of(name) == self.options["version"] for name in plan.PARTS)

    def release_of(self, name: str) -> str:
        """Return the release of a static pod's image; empty where there is no manifest."""
        path = self.control_plane.manifest(name)
        found = _IMAGE.search(path.read_text()) if path.exists() else None
        return plan.tag_of(found[1]) if found else ""

    def room(self) -> list[Fault]:
        """Return a fault where kubeadm's copy of etcd's data would not fit."""
        size = sum(path.stat().st_size for path in self.data.rglob("*") if path.is_file())
        free = shutil.disk_usage(self.root).free
        if free >= size * ROOM:
            return []
        message = (
            f"{self.root} has {free >> 20} MiB left, and the copy of etcd's data needs {int(size * ROOM) >> 20} MiB"
        )
        return [Fault("disk", message, "free some space there")]

    def upgrade(self) -> None:
        """Run kubeadm, and wait until the control plane is healthy."""
        program = self.work.program("kubeadm")
        version = self.options["version"]
        has = self.work.run("kubeadm", "version", "--output", "short").strip()
        if has != f"v{version}":
            raise RepairError(f"{program} is {has}, and only v{version} can do this")
        words = ["upgrade", "apply", f"v{version}", "--yes"] if self.options["first"] else ["upgrade", "node"]
        copies = self._copies()
        with kubeadm.exclusive(scaled(60)) as lock, self._unblocked():
            kubeadm.write_patches(self.options["patches"])
            outcome = kubeadm.run([program, *words], configuration(self.options), lock, self.options["timeout"])
        if outcome.rc != 0:
            failure = kubeadm.failure(" ".join(words[:2]), outcome, "cluster_slow_factor")
            failure.setdefault("remedy", "correct that, then run the same command again: it continues where it stopped")
            self.module.fail_json(**failure)
        self.control_plane.wait(HEALTHY)
        if left := self.left():
            raise RepairError(f"kubeadm reported no error, but {', '.join(left)} did not change")
        for path in self._copies() - copies:
            shutil.rmtree(path, ignore_errors=True)
        if self.options["first"]:
            self._keep_declared()
        self.work.wait(lambda: not self.rolling(), "the addons of kubeadm are not rolled out", ROLLED_OUT)

    @contextlib.contextmanager
    def _unblocked(self) -> t.Iterator[None]:
        """Where there is one master, stop its API server when it is of no use to anybody, so that it is back sooner.

        Without etcd it answers nothing for half a minute, and the kubelet waits for its answer about the mirror pod
        before it starts the new etcd; if it does not run, the kubelet goes on, and starts it again. When its manifest
        was replaced it takes no requests any more, and ends by itself only after the 30 seconds that a pod has.
        """
        ended = threading.Event()
        thread = threading.Thread(target=self._stop_api_server, args=(ended,))
        if len(self.options["masters"]) == 1:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if thread.ident:
                thread.join()

    def _stop_api_server(self, ended: threading.Event) -> None:
        former: list[str] = []
        etcd_seen = True
        while not ended.wait(0.5):
            replaced = self.release_of("kube-apiserver") == self.options["version"]
            if replaced or (etcd_seen and not self._running("etcd")):
                for container in former:
                    self.work.module.run_command([self.work.program("crictl"), "stop", "--timeout", "2", container])
                if replaced:
                    return
                etcd_seen = False
            former = self._running("kube-apiserver")

    def _running(self, name: str) -> list[str]:
        """Return the containers that run of a static pod."""
        argv = [self.work.program("crictl"), "ps", "--quiet", "--name", f"^{name}$", "--label", constants.OF_SYSTEM]
        return str(self.work.module.run_command(argv)[1]).split()

    def _copies(self) -> set[Path]:
        return {path for pattern in COPIES for path in (self.root / "tmp").glob(pattern)}

    def _keep_declared(self) -> None:
        """Keep what the inventory declares of the kubelets beside what kubeadm wrote, as at the first run."""
        with KubeApi.from_file(str(self.root / "admin.conf"), timeout=5) as api:
            api.patch(KUBELET_CONFIGMAP, {"metadata": {"annotations": {DECLARED: self.options["kubelet_declared"]}}})
