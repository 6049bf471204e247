# SPDX-License-Identifier: Apache-2.0
"""Etcd's data from a snapshot, on every master: made beside the data that is there, then put in its place.

A run that was interrupted is repeated from its first step. The data that was there is kept.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.host.service import Systemd
from ansible.module_utils.yunkube.kube import etcd, etcd_rehearsal, etcd_snapshot, kubeadm
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

PART = "yunkube-restored"  # in etcd's folder, which may be a disk of its own
KEPT = "before-restore-"
CONTAINERS = "^(etcd|kube-apiserver|kube-controller-manager|kube-scheduler)$"
PATIENCE = scaled(240.0)  # seconds for etcd and the API to answer
GRACE = int(scaled(5))  # seconds for a container to end; the API server would wait for its watches
AGAIN = "Correct that, and run the same restore again"
BACK = "docs/backup.md, Go back, has the commands that bring the former data back"
WOULD = {
    "prepared": ["make the data of etcd from the snapshot"],
    "swapped": ["stop kubelet, etcd and the API server, and put the restored data in place"],
    "started": ["start kubelet; etcd has the members that were restored, and the API answers"],
}


class Restore:
    """The restore on this host."""

    def __init__(self, run: etcd_snapshot.Run, crictl: str, data: Path | None = None) -> None:
        """Remember how programs are run, and where etcd's data is."""
        self.run = run
        self.crictl = crictl
        self.data = data or etcd.DATA
        self.part = self.data / PART

    def prepare(
        self,
        programs: etcd_snapshot.Programs,
        path: Path,
        members: t.Mapping[str, str],
        *,
        revision: int,
        sha256: str = "",
    ) -> str:
        """Make etcd's data from a snapshot, beside what is there; return what was done.

        Etcd goes on at `revision`, the same on all masters: watches that were begun before must not see old numbers
        again (https://etcd.io/docs/v3.6/op-guide/recovery/). The digest is that of the file that was tested.
        """
        digest = etcd_snapshot.refuse_damaged(path)
        if sha256 and digest != sha256:
            raise etcd_snapshot.SnapshotError(f"{path.name} is not the file that was tested: run the restore again")
        saved = programs.status(path)["revision"]
        if revision <= saved:
            raise etcd.EtcdError(f"etcd cannot go on at revision {revision}: the snapshot has {saved} already")
        mine = etcd_snapshot.read_manifest()
        if members.get(mine.name) != mine.peer:
            raise etcd.EtcdError(
                f"the member {mine.name} at {mine.peer} is not among those to be restored: {dict(members)}"
            )
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        etcd.refuse_full(self.data, etcd_snapshot.room_for(path), "the restore")
        shutil.rmtree(self.part, ignore_errors=True)
        # Without the first three the member's address is http://localhost:2380, and no other master can join. The token
        # is this run's, so that its members and those of an earlier restore never make one cluster.
        programs.call(
            "etcdutl", "snapshot", "restore", str(path), f"--data-dir={self.part}", f"--name={mine.name}",
            f"--initial-cluster={','.join(f'{name}={peer}' for name, peer in sorted(members.items()))}",
            f"--initial-advertise-peer-urls={mine.peer}", f"--initial-cluster-token=restored-{revision}",
            f"--bump-revision={revision - saved}", "--mark-compacted",
        )  # fmt: skip
        return f"make the data of etcd from {path.name} in {self.part}"

    def swap(self, stop_kubelet: t.Callable[[], None]) -> list[str]:
        """Stop the control plane of this host, and put the new data in place; the kubelet would start it again."""
        if not (self.part / "member").is_dir():
            raise etcd.EtcdError(f"{self.part} holds no data to put in place: run the restore again")
        try:
            stop_kubelet()
            self._stop_containers()
            return ["stop kubelet, etcd and the API server", *self._exchange()]
        except OSError as error:
            raise etcd.EtcdError(etcd.trouble(error, self.state())) from error
        except etcd.EtcdError as error:
            raise etcd.EtcdError(f"{error}; {self.state()}") from error

    def _exchange(self) -> list[str]:
        done = []
        old, new = self.data / "member", self.part / "member"
        if old.exists():
            kept = self.data / f"{KEPT}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
            kept.mkdir(mode=0o700)
            old.rename(kept / "member")
            done.append(f"keep the data of etcd that was there in {kept}")
        new.rename(old)
        self.data.chmod(0o700)
        with contextlib.suppress(OSError):
            self.part.rmdir()
        return [*done, f"put the restored data in place, {old}"]

    def state(self) -> str:
        """Say what runs on this host in the middle of a restore, where its data is and what to do."""
        kept = sorted(self.data.glob(f"{KEPT}*"))
        untouched = (self.part / "member").is_dir() and (self.data / "member").is_dir()
        where = self.data if untouched else kept[-1] if kept else None
        former = f"etcd's former data is in {where}/member" if where else "etcd had no data before"
        stopped = "the kubelet and the control plane of this host are stopped or do not answer"
        return f"{stopped}, and {former}. {AGAIN}; {BACK}"

    def _stop_containers(self) -> None:
        call = [self.crictl, "--runtime-endpoint", constants.CRI_ENDPOINT]
        listing = [*call, "ps", "--quiet", "--name", CONTAINERS, "--label", constants.OF_SYSTEM]
        deadline = time.monotonic() + PATIENCE
        while True:
            code, out, err = self.run(listing)
            if code != 0:
                raise etcd.EtcdError(f"containerd does not list its containers: {err.strip()[-300:]}; start containerd")
            if not out.split():
                return
            if time.monotonic() > deadline:
                raise etcd.EtcdError(
                    f"containers of the control plane do not end within {PATIENCE:g} s: {', '.join(out.split())}"
                )
            self.run([*call, "stop", "--timeout", str(GRACE), *out.split()])

    def await_members(self, own: etcd.Etcd, members: t.Mapping[str, str]) -> None:
        """Wait until etcd is healthy and its members are those that were restored, with their addresses."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                there = own.members()
                well = own.healthy(there)
                late = [etcd.label(one) for one in there if not etcd.is_healthy(one, well)]
                trouble = f"not healthy: {', '.join(late)}" if late else ""
                if there and not late:
                    break
            except etcd.EtcdError as error:
                trouble = str(error)
            if time.monotonic() > deadline:
                raise etcd.EtcdError(
                    f"etcd does not answer {PATIENCE:g} s after the restore: {trouble or 'it has no members'}"
                )
            time.sleep(0.5)
        if (found := etcd.addresses(there)) != dict(members):
            raise etcd.EtcdError(f"the members of etcd are {found} after the restore, not {dict(members)}")


def step(module: AnsibleModule) -> list[str]:
    """Do what a state asks for; return what was done, or in check mode would be."""
    options = module.params
    crictl, ctr = (module.get_bin_path(name, required=True, opt_dirs=["/usr/local/bin"]) for name in ("crictl", "ctr"))
    restore = Restore(module.run_command, crictl)
    if module.check_mode:
        return WOULD[options["state"]]
    if options["state"] == "prepared":
        etcd_snapshot.sweep(etcd.SNAPSHOTS, etcd_rehearsal.INCOMING)
        try:
            with etcd_rehearsal.ready(module.run_command, ctr, etcd.SNAPSHOTS) as programs:
                given = {key: options[key] for key in ("revision", "sha256")}
                return [restore.prepare(programs, Path(options["path"]), options["members"], **given)]
        except OSError as error:
            remedy = f"nothing that runs was changed. {AGAIN}"
            raise etcd.EtcdError(etcd.trouble(error, remedy)) from error
    if options["state"] == "swapped":
        return restore.swap(lambda: Systemd(module, "kubelet.service").do("stop"))
    if why := kubeadm.start_kubelet():
        raise etcd.EtcdError(f"{why}; {restore.state()}")
    try:
        restore.await_members(etcd.Etcd(module.run_command, crictl), options["members"])
        await_api()
    except etcd.EtcdError as error:
        raise etcd.EtcdError(f"{error}; {restore.state()}") from error
    return WOULD["started"]


def await_api(seconds: float = PATIENCE) -> None:
    """Wait until the API server is ready."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with KubeApi.from_file(timeout=5) as api:
                api.get("/readyz")
                return
        except KubeError as error:
            if time.monotonic() > deadline:
                raise etcd.EtcdError(f"the API server is not ready {seconds:g} s after the restore: {error}") from error
            time.sleep(0.5)
