# SPDX-License-Identifier: Apache-2.0
"""A master's certificates are renewed before they expire: which are due, who must be well, what proves the new ones."""

from __future__ import annotations

import datetime as dt
import json
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor import certificates, repairs
from ansible.module_utils.yunkube.doctor.control_plane_health import DOCTOR, HEALTHY, SERVED, ControlPlane
from ansible.module_utils.yunkube.doctor.repair_work import RepairError, Work, now
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube import kubeadm, unverified
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.control_plane import kubeconfig_digest
from ansible.module_utils.yunkube.kube.etcd import EtcdError
from ansible.module_utils.yunkube.kube.x509 import is_due, read_certificate
from ansible.module_utils.yunkube.result import PREFLIGHT, Fault, Report
from ansible.module_utils.yunkube.words import joined

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

KUBERNETES = certificates.KUBERNETES
KUBELET = Path("/var/lib/kubelet/pki/kubelet-client-current.pem")
CAS = ("pki/ca.crt", "pki/front-proxy-ca.crt", "pki/etcd/ca.crt")
ONLY_FIRST = "super-admin.conf"  # kubeadm writes it on the first master only, and people move it away
RELOAD = 90  # seconds that a server may take to show a new certificate by itself: it looks every minute at the latest
CLIENTS = {"kube-controller-manager": "controller-manager.conf", "kube-scheduler": "scheduler.conf"}

OPTIONS: dict[str, dict[str, t.Any]] = {
    "state": {"type": "str", "choices": ["checked", "renewed"], "default": "renewed"},
    "node": {"type": "str", "required": True},
    "masters": {"type": "list", "elements": "str", "default": []},
    "days": {"type": "int", "default": 90},
    "all": {"type": "bool", "default": False},
    "kubeconfig_server": {"type": "str", "default": ""},
}


def paths(root: Path) -> list[Path]:
    """Return what kubeadm renews on a master: first what the API is asked with."""
    names = sorted(repairs.RENEWALS, key=lambda name: name != "admin.conf")
    found = [root / _folder(name) / name for name in names]
    return [path for path in found if path.name != ONLY_FIRST or path.exists()]


def _folder(name: str) -> str:
    if name.endswith(".conf"):
        return ""
    return "pki/etcd" if repairs.RENEWALS[name][0].startswith("etcd-") else "pki"


def authority_of(path: Path, root: Path) -> Path:
    """Return the certificate of the authority that signs a certificate."""
    return root / "pki" / repairs.AUTHORITIES.get(path.name, "ca.crt")


def as_line(row: Json) -> str:
    """Return what the table says of a certificate as text."""
    return f"{row['check']} of {row['target']}: {row['before']} days before, {row['after']} now"


class Renewal:
    """The look at one master, and the renewal of its certificates; it ends the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read the options."""
        self.module, self.options = module, module.params
        self.work = Work(module, "certs-renew")
        self.root = KUBERNETES
        self.control_plane = ControlPlane(self.work, self.options["node"], self.options["masters"], self.root)
        self.lifetime = dt.timedelta()

    def run(self) -> None:
        """Refuse what is not well; renew what is due, and see that it is used."""
        try:
            self._run()
        except (RepairError, KubeError, EtcdError, OSError, ValueError) as error:
            kept = f"; copies of the former files are in {self.work.backup}" if self.work.backup else ""
            self.module.fail_json(
                msg=f"{error}{kept}",
                remedy="correct that, then run the same command again: it continues with what is left",
                changes=self.work.changes,
            )

    def _run(self) -> None:
        renews = self.options["state"] == "renewed"
        found = self.control_plane.faults(everyone=renews)
        if any(self.control_plane.manifest(name).exists() for name in kubeadm.COMPONENTS):
            found += self.unreadable()
        due = [] if found else self.due()
        found += self.without_authority(due)
        if found:
            self.module.fail_json(**Report(tuple(found), PREFLIGHT).as_failure())
        if not renews:
            self.module.exit_json(changed=False, changes=[], due=[str(path) for path in due], table=[])
        before = self.ends()
        self.renew(due)
        after = self.ends() | ({path: self.new_end(path) for path in due} if self.work.dry else {})
        table = [self.row(path, before.get(path), after[path]) for path in after]
        self.module.exit_json(
            changed=bool(self.work.changes),
            changes=self.work.changes,
            due=[str(path) for path in due],
            table=table,
            lines=[as_line(row) for row in table],
            kubeconfig_digest=kubeconfig_digest(self.root / "admin.conf", self.options["kubeconfig_server"]),
            **({"backup": self.work.backup} if self.work.backup else {}),
            **({"diff": self.work.diff} if self.module._diff else {}),  # noqa: SLF001
        )

    # Which certificates there are, and which are due.

    def unreadable(self) -> list[Fault]:
        """Return a fault for each certificate that is missing or damaged, those of authorities as well."""
        found = []
        for path in [*paths(self.root), *(self.root / name for name in CAS)]:
            try:
                certificates.read(path)
            except FileNotFoundError:
                found.append(Fault("certificate", f"{path} is missing", DOCTOR, commands=("doctor",)))
            except (OSError, ValueError, KubeError) as error:
                found.append(Fault("certificate", f"{path} cannot be read: {error}", DOCTOR, commands=("doctor",)))
        return found

    def due(self) -> list[Path]:
        """Return what is to be renewed, by the cluster's own configuration."""
        version = self.work.run("kubeadm", "version", "--output", "short").strip()
        config = certificates.configuration(version, (self.root / "kubelet.conf", self.root / "admin.conf"), self.root)
        self.lifetime = certificates.wanted_of(config).lifetime
        moment, within = now(), dt.timedelta(days=self.options["days"])
        return [
            path
            for path in paths(self.root)
            if self.options["all"] or is_due(certificates.read(path).not_after, self.new_end(path), within, moment)
        ]

    def new_end(self, path: Path) -> dt.datetime:
        """Return when a certificate ends that is issued now: never after its authority."""
        return min(now() + self.lifetime, certificates.read(authority_of(path, self.root)).not_after)

    def without_authority(self, due: list[Path]) -> list[Fault]:
        """Return a fault for each authority whose key is elsewhere: kubeadm would pass over what it signs."""
        found = []
        for authority in sorted({authority_of(path, self.root) for path in due}):
            key = authority.with_suffix(".key")
            if not key.exists():
                names = joined([path.name for path in due if authority_of(path, self.root) == authority])
                message = f"{key} is not on this host, so kubeadm cannot renew {names}"
                remedy = "have them signed where that authority is kept; docs/certificates.md says how"
                found.append(Fault("external authority", message, remedy))
        return found

    def ends(self) -> dict[Path, dt.datetime]:
        """Return when each certificate of this master ends."""
        found = {path: certificates.read(path).not_after for path in paths(self.root)}
        for path in [*(self.root / name for name in CAS), KUBELET]:
            if path.exists():
                found[path] = certificates.read(path).not_after
        return found

    def row(self, path: Path, before: dt.datetime | None, after: dt.datetime) -> Json:
        """Return what the table at the end says of a certificate."""
        moment = now()
        left = (after - moment).days
        detail = "renewed by the kubelet itself" if path == KUBELET else ""
        if path.name in ("ca.crt", "front-proxy-ca.crt"):
            detail = "a certificate authority, which is not renewed"
        return {
            "check": str(path),
            "target": self.options["node"],
            "ok": left >= constants.EXPIRES_SOON_SECONDS // 86400,
            "before": (before - moment).days if before else None,
            "after": left,
            "detail": detail,
        }

    # The renewal.

    def renew(self, due: list[Path]) -> None:
        """Renew what is due, one after the other, and wait until all of it is in use."""
        for path in due:
            before = f"{path.name} expires on {certificates.read(path).not_after:%Y-%m-%d}\n"
            repairs.renew_certificate(self.work, "", path=str(path))
            ends = self.new_end(path) if self.work.dry else certificates.read(path).not_after
            self.work.shows(f"renew {path}", before, f"{path.name} expires on {ends:%Y-%m-%d}\n")
        self.finish_restarts()
        if self.work.dry:
            return
        for name in SERVED:
            self.wait_for_server(name)
        for path in due:
            if path.suffix == ".conf":
                self.wait_for_login(path)
        if due:
            self.control_plane.wait()

    def finish_restarts(self) -> None:
        """Restart what still runs with a former kubeconfig, as after a run that was killed between both."""
        for part, name in CLIENTS.items():
            if self.started(part) < (self.root / name).stat().st_mtime and f"restart {part}" not in self.work.changes:
                repairs.restart_part(self.work, part)
                repairs.leaders_lead(self.work, now())

    def started(self, part: str) -> float:
        """Return when the container of a static pod was created."""
        listed = repairs.containers_of(self.work, part, "--output", "json")
        return max((int(one["createdAt"]) / 1e9 for one in json.loads(listed)["containers"]), default=0.0)

    def wait_for_server(self, name: str) -> None:
        """Wait until a server shows its file's certificate; one that does not read it by itself is restarted."""
        part, _ = SERVED[name]
        wrong = f"{part} does not show the certificate of {self.root / name}"
        try:
            self.work.wait(lambda: self.is_shown(name), wrong, RELOAD)
        except RepairError:
            repairs.restart_part(self.work, part)
            self.work.wait(lambda: self.is_shown(name), wrong, RELOAD)

    def is_shown(self, name: str) -> bool:
        """Say whether every address of a server shows the certificate that is in the file."""
        client = self.root / "pki/etcd/healthcheck-client.crt"
        pair = (str(client), str(client.with_suffix(".key"))) if SERVED[name][1] else None
        wanted = certificates.read(self.root / name)
        try:
            return all(
                read_certificate(unverified.certificate(host, port, scaled(5), pair)) == wanted
                for host, port in self.control_plane.listening(name)
            )
        except (OSError, ValueError):
            return False

    def wait_for_login(self, path: Path) -> None:
        """Wait until the API accepts a new kubeconfig."""

        def accepted() -> bool:
            with KubeApi.from_file(str(path), timeout=5) as api:
                return bool(api.get("/version"))

        self.work.wait(accepted, f"the API does not accept {path}", HEALTHY)
