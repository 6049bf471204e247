# SPDX-License-Identifier: Apache-2.0
"""Whether the control plane of a master is healthy, before and after something changes it."""

from __future__ import annotations

import typing as t
from pathlib import Path
from urllib.parse import urlsplit

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor.certificates import KUBERNETES
from ansible.module_utils.yunkube.doctor.collect_host import options as options_of
from ansible.module_utils.yunkube.doctor.probes import MASTER_PROBES, probe
from ansible.module_utils.yunkube.doctor.repair_work import RepairError, Work
from ansible.module_utils.yunkube.kube import kubeadm
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError, read_kubeconfig
from ansible.module_utils.yunkube.kube.etcd import Etcd, EtcdError, is_healthy, member_of
from ansible.module_utils.yunkube.result import Fault, Report
from ansible.module_utils.yunkube.words import joined

DOCTOR = "`doctor` says why, and what to do about it"
HEALTHY = 60  # seconds for a control plane to be healthy after a change
# Which certificates servers show, by the name of the static pod and the option of it that says where.
SERVED = {
    "pki/apiserver.crt": ("kube-apiserver", ""),
    "pki/etcd/server.crt": ("etcd", "listen-client-urls"),
    "pki/etcd/peer.crt": ("etcd", "listen-peer-urls"),
}


class ControlPlane:
    """The control plane of this host."""

    def __init__(self, work: Work, node: str, masters: t.Sequence[str] = (), root: Path = KUBERNETES) -> None:
        """Ask as `node`. `masters` are those of the inventory, {name}; without them, others are not noticed."""
        self.work, self.node, self.masters, self.root = work, node, masters, root

    def faults(self, *, everyone: bool) -> list[Fault]:
        """Return why it must not be touched now; with `everyone`, the etcd of other masters counts, too."""
        missing = [name for name in kubeadm.COMPONENTS if not self.manifest(name).exists()]
        if len(missing) == len(kubeadm.COMPONENTS):
            message = "this host has no control plane"
            return [Fault("control plane", message, "`up` creates it; or correct the group masters", commands=("up",))]
        if missing:
            what = joined([str(self.manifest(name)) for name in missing])
            return [Fault("control plane", f"{what} is missing", DOCTOR, commands=("doctor",))]
        found = []
        if not kubeadm.kubelet_active():
            message = "does not run, and would not restart what has to be restarted"
            found.append(Fault("kubelet", message, DOCTOR, commands=("doctor",)))
        if answer := self._api_problem():
            # What the other parts say follows from it, or is the cause of it: the doctor tells which.
            return [*found, Fault("kube-apiserver", answer, DOCTOR, commands=("doctor",))]
        found += [
            Fault(name, f"is not healthy: {answer}", DOCTOR, commands=("doctor",))
            for name, url in MASTER_PROBES.items()
            if name != "kube-apiserver" and (answer := probe(url)) != "ok"
        ]
        return [*found, *self._etcd_faults(everyone=everyone)]

    def wait(self, seconds: float = HEALTHY) -> None:
        """Wait until nothing is wrong with it nor with the etcd of the other masters; RepairError says what is."""
        try:
            self.work.wait(lambda: not self.faults(everyone=True), "the control plane is not healthy", seconds)
        except RepairError as error:
            raise RepairError(f"{error}: {Report(tuple(self.faults(everyone=True)))}") from error

    def manifest(self, name: str) -> Path:
        """Return the manifest of a static pod."""
        return self.root / "manifests" / f"{name}.yaml"

    def listening(self, name: str) -> list[tuple[str, int]]:
        """Return where a certificate of C(SERVED) is shown: addresses and ports."""
        part, option = SERVED[name]
        said = options_of(self.manifest(part).read_text())
        if not option:
            return [(said.get("advertise-address", "127.0.0.1"), int(said.get("secure-port", constants.API_PORT)))]
        urls = [urlsplit(url) for url in said.get(option, "").split(",") if url]
        return [(url.hostname or "", url.port or 0) for url in urls]

    def _api_problem(self) -> str:
        """Say why this master's own API server is not ready: asked as its kubelet, whose certificate renews itself."""
        try:
            host, port = self.listening("pki/apiserver.crt")[0]
            config = read_kubeconfig(str(self.root / "kubelet.conf"))._replace(server=f"https://{host}:{port}")
            with KubeApi(config, timeout=5) as api:
                api.get("/readyz")
        except KubeError as error:
            return " ".join(str(error).split())
        except OSError as error:
            return f"cannot be asked: {error}"
        return ""

    def _etcd_faults(self, *, everyone: bool) -> list[Fault]:
        etcd = Etcd(self.work.module.run_command, self.work.program("crictl"))
        try:
            members = etcd.members()
            own = member_of(members, self.node)
            well = etcd.healthy(members if everyone else [own] if own else [])
        except EtcdError as error:
            return [Fault("etcd", str(error), DOCTOR, commands=("doctor",))]
        if own is None:
            return [Fault("etcd", f"{self.node} is not a member", DOCTOR, commands=("doctor",))]
        found = []
        for one in members if everyone else [own]:
            if not is_healthy(one, well) or one.learner:
                problem = "has not caught up with the others yet" if one.learner else "is not healthy"
                found.append(Fault("etcd", f"member {one.name or one.id} {problem}", DOCTOR, commands=("doctor",)))
        for one in members:
            if self.masters and one.name and one.name not in self.masters:
                message = f"master {one.name} is not in the inventory, and would be left out"
                found.append(Fault("inventory", message, f"put its line back, or remove it: `remove {one.name}`"))
        return found
