# SPDX-License-Identifier: Apache-2.0
"""A master's certificates are renewed as the cluster is configured, are in use at the end, and nothing else is touched.

kubeadm, TLS and the API client are real; the API server, etcd and the container runtime are the test's own.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import shutil
import socketserver
import ssl
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.doctor import certificates, control_plane_health, renewal, repairs
from ansible.module_utils.yunkube.doctor.renewal import Renewal
from ansible.module_utils.yunkube.host import patience
from ansible.module_utils.yunkube.kube import kubeadm
from ansible.module_utils.yunkube.kube.x509 import is_due
from fake_kube_api import FakeKubeApi, copy_certificates
from kube_api_server import programs
from serving import running

NOW = dt.datetime(2026, 11, 30, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
CONFIG = """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: test
kubernetesVersion: v1.37.2
controlPlaneEndpoint: {address}
certificatesDir: {root}/pki
encryptionAlgorithm: {algorithm}
certificateValidityPeriod: {hours}h0m0s
apiServer: {{certSANs: [127.0.0.1]}}
"""
NODE = """\
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: 192.0.2.11}
nodeRegistration: {name: master1}
"""
RESTARTS = ["restart kube-controller-manager", "restart kube-scheduler"]


@pytest.mark.parametrize(
    ("left", "lifetime", "within", "due"),
    [(91, 365, 90, False), (90, 365, 90, True), (-1, 365, 90, True), (364, 365, 400, False), (29, 30, 90, False)],
)
def test_what_ends_in_time_is_due_unless_it_was_only_just_issued(
    left: int, lifetime: int, within: int, due: bool
) -> None:
    assert is_due(NOW + left * DAY, NOW + lifetime * DAY, within * DAY, NOW) is due


class Server(socketserver.ThreadingTCPServer):
    """Shows a certificate, read for each connection as etcd does, or as it was when the server was started."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), Shake)
        self.path, self.frozen = path, ""

    def freeze(self) -> None:
        """Read the file no more."""
        frozen = self.path.with_name(f"frozen-{self.path.name}")
        for suffix in (".crt", ".key"):
            shutil.copy(self.path.with_suffix(suffix), frozen.with_suffix(suffix))
        self.frozen = str(frozen)


class Shake(socketserver.BaseRequestHandler):
    """One handshake."""

    def handle(self) -> None:
        """Show the certificate."""
        server = t.cast("Server", self.server)
        path = Path(server.frozen or server.path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path, path.with_suffix(".key"))
        with contextlib.suppress(OSError):
            context.wrap_socket(self.request, server_side=True).close()


class Ended(Exception):  # noqa: N818 - no error, a way out
    """The module's result."""


class Master:
    """As much of a module as the renewal uses, on a host that has a control plane."""

    _diff = True

    def __init__(self, root: Path, api: FakeKubeApi, etcd: Server, peer: Server) -> None:
        """Be healthy."""
        self.root, self.api, self.etcd, self.peer = root, api, etcd, peer
        self.check_mode = False
        self.params: dict[str, t.Any] = {}
        self.members, self.unhealthy = ["master1"], ""
        self.created = dict.fromkeys(("kube-controller-manager", "kube-scheduler"), time.time())
        self.stopped: list[str] = []

    def get_bin_path(self, name: str, **_more: t.Any) -> str:
        """Find every program."""
        return name

    def exit_json(self, **result: t.Any) -> t.NoReturn:
        """End."""
        raise Ended({"failed": False, **result})

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        """End with a failure."""
        raise Ended({"failed": True, **result})

    def run_command(self, argv: list[str], data: str | None = None, **_more: t.Any) -> tuple[int, str, str]:
        """Run kubeadm, and answer as the container runtime would."""
        said = " ".join(argv)
        if argv[:2] == ["kubeadm", "version"]:
            return 0, "v1.37.2\n", ""
        if argv[0] == "kubeadm":
            assert argv[1:3] == ["certs", "renew"], argv
            assert argv[-2:] == ["--config", "/dev/stdin"], argv
            self.renew(argv[3], data or "")
            return 0, "", ""
        if "member list" in said:
            url = f"https://127.0.0.1:{self.etcd.server_address[1]}"
            found = [{"ID": 1, "name": name, "peerURLs": [], "clientURLs": [f"{url}/{name}"]} for name in self.members]
            return 0, json.dumps({"members": found}), ""
        if "endpoint health" in said:
            asked = re.findall(r"--endpoints=(\S+)", said)[0].split(",")
            return (
                0,
                json.dumps([{"endpoint": url, "health": not url.endswith(f"/{self.unhealthy}")} for url in asked]),
                "",
            )
        if "--output json" in said:
            part = said.partition("--name ^")[2].partition("$")[0]
            return 0, json.dumps({"containers": [{"createdAt": str(int(self.created[part] * 1e9))}]}), ""
        if " ps " in said:
            return 0, said.partition("--name ^")[2].partition("$")[0], ""  # its name for an id
        assert argv[-4:-1] == ["stop", "--timeout", "5"], argv
        self.stopped.append(argv[-1])
        self.created[argv[-1]] = time.time()
        if argv[-1] == "etcd":
            self.etcd.frozen = ""
        return 0, "", ""

    def renew(self, name: str, config: str) -> None:
        """Let kubeadm renew, into this folder; it knows only one for kubeconfigs."""
        if name.endswith(".conf"):
            (self.root / name).unlink()
            issue(self.root, config + NODE, "kubeconfig", name.removesuffix(".conf"))
        else:
            issue(self.root, config, name)
        if name == "apiserver":
            context = t.cast("ssl.SSLSocket", self.api._server.socket).context
            context.load_cert_chain(self.root / "pki/apiserver.crt", self.root / "pki/apiserver.key")

    def run(self, *, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """Return what the module ends with."""
        self.check_mode = check_mode
        defaults = {name: option.get("default") for name, option in renewal.OPTIONS.items()}
        self.params = {**defaults, "node": "master1", **options}
        with pytest.raises(Ended) as ended:
            Renewal(t.cast("t.Any", self)).run()
        return t.cast("dict[str, t.Any]", ended.value.args[0])


def issue(root: Path, config: str, *words: str) -> None:
    """Let kubeadm issue certificates: a kubeconfig, those of a new master, or a new one in the place of another."""
    (root / "config.yaml").write_text(config)
    argv = {"kubeconfig": ["init", "phase", *words, "--kubeconfig-dir", str(root)], "certs": ["init", "phase", *words]}
    chosen = argv.get(words[0], ["certs", "renew", *words])
    program = str(programs("kubeadm")["kubeadm"])
    done = subprocess.run(
        [program, *chosen, "--config", str(root / "config.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    address = re.findall(r"controlPlaneEndpoint: (\S+)", config)[0]
    for path in root.glob("*.conf"):
        text = re.sub(r"server: \S+", f"server: https://{address}", path.read_text())
        if text != path.read_text():
            path.write_text(text)


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What kubeadm writes on a master, with certificates of two days; made once."""
    root = tmp_path_factory.mktemp("issued")
    (root / "pki").mkdir()
    copy_certificates(root / "pki")
    config = CONFIG.format(address="127.0.0.1:1", root=root, algorithm="ECDSA-P256", hours=48) + NODE
    issue(root, config, "certs", "all")
    issue(root, config, "kubeconfig", "all")
    return root


@pytest.fixture
def master(tmp_path: Path, issued: Path, fake: FakeKubeApi, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Master]:
    root = tmp_path / "kubernetes"
    shutil.copytree(issued, root)
    for path in root.glob("*.conf"):
        path.write_text(path.read_text().replace("127.0.0.1:1\n", f"{fake.address}\n"))
    fake.objects["/readyz"] = {}
    config = CONFIG.format(address=fake.address, root=root, algorithm="ECDSA-P384", hours=4380)
    fake.put(certificates.CONFIG, data={"ClusterConfiguration": config})

    def lead(_request: str) -> None:
        for name in repairs.LEADERS:
            fake.put(f"{repairs.LEASES}/{name}", spec={"renewTime": dt.datetime.now(dt.UTC).isoformat()})

    fake.asked = lead
    monkeypatch.setenv(patience.VARIABLE, "20")  # no answer of the test's own servers is late
    monkeypatch.setattr("ansible.module_utils.yunkube.doctor.repair_work.KEPT", tmp_path / "kept")
    monkeypatch.setattr(renewal, "KUBERNETES", root)
    monkeypatch.setattr(renewal, "KUBELET", tmp_path / "kubelet.pem")
    monkeypatch.setattr(control_plane_health, "probe", lambda _url: "ok")
    monkeypatch.setattr(repairs, "probe", lambda _url: "ok")
    monkeypatch.setattr(repairs, "KUBELET_CONF", str(root / "kubelet.conf"))
    monkeypatch.setattr(repairs, "ADMIN_CONF", root / "admin.conf")
    monkeypatch.setattr(repairs, "PKI", root / "pki")
    monkeypatch.setattr(kubeadm, "kubelet_active", lambda: True)
    sleep = time.sleep
    monkeypatch.setattr("time.sleep", lambda seconds: sleep(min(seconds, 0.02)))
    shutil.copy(root / "pki/apiserver-kubelet-client.crt", tmp_path / "kubelet.pem")
    with running(Server(root / "pki/etcd/server.crt")) as etcd, running(Server(root / "pki/etcd/peer.crt")) as peer:
        port = fake.address.rpartition(":")[2]
        options = {
            "kube-apiserver": ("advertise-address=127.0.0.1", f"secure-port={port}"),
            "etcd": (
                f"listen-client-urls=https://127.0.0.1:{etcd.server_address[1]}",
                f"listen-peer-urls=https://127.0.0.1:{peer.server_address[1]}",
            ),
        }
        (root / "manifests").mkdir()
        for name in kubeadm.COMPONENTS:
            lines = [f"    - --{option}\n" for option in options.get(name, ())]
            (root / f"manifests/{name}.yaml").write_text("kind: Pod\n" + "".join(lines))
        one = Master(root, fake, etcd, peer)
        context = t.cast("ssl.SSLSocket", fake._server.socket).context
        context.load_cert_chain(root / "pki/apiserver.crt", root / "pki/apiserver.key")
        yield one


def state(root: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def all_of(master: Master) -> list[Path]:
    """Return every certificate that is renewed."""
    return renewal.paths(master.root)


def test_all_that_ends_soon_is_renewed_as_the_cluster_is_configured_and_used(master: Master, tmp_path: Path) -> None:
    before = state(master.root)
    assert {certificates.read(path).algorithm for path in all_of(master)} == {"ECDSA-P256"}
    planned = master.run(check_mode=True)
    assert {name: text for name, text in state(master.root).items() if "config.yaml" not in name} == {
        name: text for name, text in before.items() if "config.yaml" not in name
    }
    result = master.run()
    assert not result["failed"], result
    assert result["changes"] == planned["changes"]
    renewed = [f"renew {path}" for path in all_of(master)]
    assert len(renewed) == 11
    assert [change for change in result["changes"] if change.startswith("renew")] == renewed
    assert sorted(change for change in result["changes"] if change not in renewed) == RESTARTS
    assert master.stopped == ["kube-controller-manager", "kube-scheduler"]
    assert {certificates.read(path).algorithm for path in all_of(master)} == {"ECDSA-P384"}
    rows = {Path(row["check"]).name: (row["before"], row["after"]) for row in result["table"]}
    assert rows["apiserver.crt"] == (1, 182)
    assert rows["kubelet.pem"] == (1, 1)
    assert [(row["check"], row["after"]) for row in planned["table"]] == [
        (row["check"], row["after"]) for row in result["table"]
    ]
    kept = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert len(kept) == 7 * 2 + 4
    assert {path.read_bytes() for path in kept} <= set(before.values())
    assert {path.stat().st_mode & 0o077 for path in kept if path.suffix in (".key", ".conf")} == {0}
    shown = json.dumps(result["diff"])
    assert "expires on" in shown
    assert "BEGIN" not in shown
    again = master.run()
    assert (again["changed"], again["changes"], again["due"]) == (False, [], [])


def test_what_ends_later_stays(master: Master) -> None:
    before = state(master.root)
    result = master.run(days=1)
    assert (result["changed"], result["due"]) == (False, [])
    assert state(master.root) == before
    assert [row["before"] for row in result["table"]] == [row["after"] for row in result["table"]]


def test_everything_is_renewed_where_that_is_asked_for(master: Master) -> None:
    assert len(master.run(days=1, all=True, state="checked")["due"]) == 11


def faults_of(result: dict[str, t.Any]) -> list[str]:
    """Return the faults of a module that failed, as a person reads them."""
    assert result["failed"], result
    assert result["kind"] == "preflight"
    return str(result["msg"]).splitlines()


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_changed(master: Master) -> None:
    (master.root / "pki/etcd/ca.key").unlink()
    before = state(master.root)
    (fault,) = faults_of(master.run())
    assert re.match(r"external authority: .*/pki/etcd/ca.key is not on this host, so kubeadm cannot renew ", fault)
    for name in ("apiserver-etcd-client.crt", "server.crt", "peer.crt", "healthcheck-client.crt"):
        assert name in fault
    (master.root / "pki/front-proxy-client.crt").unlink()
    (master.root / "scheduler.conf").write_text("nothing")
    master.unhealthy = "master1"
    told = faults_of(master.run())
    assert [line.partition(":")[0] for line in told] == ["etcd", "certificate", "certificate"]
    assert "member master1 is not healthy" in told[0]
    assert master.stopped == []
    assert {name for name in before if state(master.root).get(name) != before[name]} == {
        str(master.root / "pki/front-proxy-client.crt"), str(master.root / "scheduler.conf"),
    }  # fmt: skip


def test_a_silent_or_unready_api_server_is_one_fault(master: Master) -> None:
    master.api.refuse["GET /readyz"] = (500, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed")
    (fault,) = faults_of(master.run())
    assert fault == (
        "kube-apiserver: GET /readyz: [+]ping ok [-]etcd failed: reason withheld readyz check failed; "
        "`doctor` says why, and what to do about it"
    )
    (master.root / "manifests/kube-apiserver.yaml").unlink()
    (fault,) = faults_of(master.run())
    assert "manifests/kube-apiserver.yaml is missing" in fault


def test_a_host_without_a_control_plane_is_one_fault(master: Master) -> None:
    shutil.rmtree(master.root)
    (fault,) = faults_of(master.run(state="checked"))
    assert fault.startswith("control plane: this host has no control plane; `up` creates it")


def test_of_other_masters_each_says_itself_but_at_its_turn_all_must_be_well(master: Master) -> None:
    master.members, master.unhealthy = ["master1", "master2"], "master2"
    assert not master.run(state="checked")["failed"]
    (fault,) = faults_of(master.run())
    assert "member master2 is not healthy" in fault


def test_a_master_that_the_inventory_lacks_is_refused(master: Master) -> None:
    master.members = ["master1", "gone"]
    assert not master.run(state="checked")["failed"]
    (fault,) = faults_of(master.run(state="checked", masters=["master1"]))
    assert "master gone is not in the inventory" in fault
    assert "`remove gone`" in fault


def test_a_run_that_was_killed_before_a_restart_is_finished(master: Master) -> None:
    master.created["kube-scheduler"] = (master.root / "scheduler.conf").stat().st_mtime - 60
    result = master.run(days=1)
    assert result["changes"] == ["restart kube-scheduler"]
    assert master.run(days=1)["changed"] is False


def test_a_server_that_does_not_read_its_new_certificate_is_restarted(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "RELOAD", 0.05)
    master.etcd.freeze()
    result = master.run()
    assert "restart etcd" in result["changes"]
    assert master.stopped[-1] == "etcd"


def test_a_failure_says_where_the_former_files_are(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "RELOAD", 0.01)
    monkeypatch.setattr(Renewal, "is_shown", lambda _self, _name: False)
    result = master.run()
    assert result["failed"]
    assert "kube-apiserver does not show the certificate of" in result["msg"]
    assert "copies of the former files are in" in result["msg"]
    assert "continues with what is left" in result["remedy"]
