# SPDX-License-Identifier: Apache-2.0
"""Repairs change as little as helps, keep what was there, and say what they did."""

from __future__ import annotations

import base64
import datetime as dt
import re
import subprocess
import typing as t
from pathlib import Path

import doctor_repair
import pytest
from ansible.module_utils.yunkube.doctor import certificates, repairs
from ansible.module_utils.yunkube.doctor.more_repairs import REPAIRS
from ansible.module_utils.yunkube.doctor.repair_work import RepairError, Work
from ansible.module_utils.yunkube.doctor.table import TABLE
from ansible.module_utils.yunkube.host import patience
from ansible.module_utils.yunkube.kube import kubelet_file
from fake_kube_api import FakeKubeApi

TRUTH = {"FLANNEL_NETWORK": "10.244.0.0/16", "FLANNEL_SUBNET": "10.244.1.1/24", "FLANNEL_MTU": "1450"}
READY = {"conditions": [{"type": "Ready", "status": "True"}]}
ELSEWHERE = {"images", "plugins", "cloud_routes"}  # bundle_install and flannel's routes.yml do these


class Module:
    """As much of a module as repairs use; programs answer from a list."""

    def __init__(self, *, check_mode: bool = False, answers: t.Mapping[str, str] | None = None) -> None:
        """Answer `answers`, by the program's name, and nothing else."""
        self.check_mode = check_mode
        self.answers = answers or {}
        self.ran: list[list[str]] = []

    def get_bin_path(self, name: str, **_more: t.Any) -> str:
        """Find every program."""
        return name

    def run_command(self, argv: list[str], **_more: t.Any) -> tuple[int, str, str]:
        """Note it and answer."""
        self.ran.append(argv)
        return 0, self.answers.get(argv[0], ""), ""


@pytest.fixture(autouse=True)
def _own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.module_utils.yunkube.doctor.repair_work.KEPT", tmp_path / "kept")
    monkeypatch.setattr(repairs, "SUBNET_ENV", tmp_path / "subnet.env")
    monkeypatch.setattr(kubelet_file, "CONFIG", tmp_path / "config.yaml")
    monkeypatch.setattr(repairs, "KUBELET_CONF", str(tmp_path / "kubelet.conf"))
    monkeypatch.setattr(repairs, "ADMIN_CONF", tmp_path / "admin.conf")
    monkeypatch.setattr(repairs, "PKI", tmp_path / "pki")
    monkeypatch.setattr(repairs, "node_name", lambda: "node1")
    monkeypatch.setattr(repairs, "probe", lambda _url: "ok")
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


@pytest.fixture
def fake(tmp_path: Path) -> t.Iterator[FakeKubeApi]:
    folder = tmp_path / "api"
    folder.mkdir()
    server = FakeKubeApi(folder)
    for name in ("kubelet.conf", "admin.conf"):
        (tmp_path / name).write_text(server.kubeconfig)
    for space in ("kube-system", "kube-flannel"):
        server.put(f"/api/v1/namespaces/{space}")
    server.put("/api/v1/nodes/node1", status=READY)
    yield server
    server.close()


def work(**settings: t.Any) -> Work:
    """Return work of a module."""
    return Work(t.cast("t.Any", Module(**settings)), "fault")


def ran(one: Work) -> list[str]:
    """Return what was run."""
    return [" ".join(argv) for argv in t.cast("t.Any", one.module).ran]


def test_every_repair_of_the_table_is_there() -> None:
    assert {fault.repair for fault in TABLE if fault.repair} == {*REPAIRS} | ELSEWHERE


def test_a_service_is_enabled_and_started(fake: FakeKubeApi) -> None:
    one = work(answers={"systemctl": "ActiveState=inactive\nUnitFileState=disabled\n"})
    repairs.start_unit(one, "kubelet", unit="kubelet")
    assert one.changes == ["enable kubelet", "start kubelet"]
    assert ran(one)[1:] == ["systemctl enable kubelet", "systemctl start kubelet"]
    assert fake.log


def test_in_check_mode_nothing_is_done() -> None:
    one = work(check_mode=True, answers={"systemctl": "ActiveState=inactive\nUnitFileState=enabled\n"})
    repairs.start_unit(one, "kubelet", unit="kubelet")
    assert one.changes == ["start kubelet"]
    assert len(ran(one)) == 1


def test_a_file_is_kept_for_root_alone_before_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("old\n")
    one = work()
    one.write(path, "new\n")
    copy = Path(one.backup) / str(path).lstrip("/")
    assert (path.read_text(), copy.read_text()) == ("new\n", "old\n")
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    assert one.diff[0]["before"] == "old\n"


def test_flannel_starts_again_and_writes_the_file_itself(
    fake: FakeKubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.put(f"{repairs.FLANNEL_PODS}/old", spec={"nodeName": "node1"}, status=READY)

    def appear(_seconds: float) -> None:
        fake.put(f"{repairs.FLANNEL_PODS}/new", spec={"nodeName": "node1"}, status=READY)
        (tmp_path / "subnet.env").write_text("".join(f"{key}={value}\n" for key, value in TRUTH.items()))

    monkeypatch.setattr("time.sleep", appear)
    one = work()
    repairs.restart_flannel(one, "", truth=TRUTH)
    assert one.changes == ["delete pod old, which comes back"]
    assert f"{repairs.FLANNEL_PODS}/old" not in fake.objects


def test_kube_proxy_starts_again_until_a_service_answers(fake: FakeKubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {"labels": {"k8s-app": "kube-proxy"}}
    fake.put(f"{repairs.PROXY_PODS}/old", spec={"nodeName": "node1"}, status=READY, metadata=labels)
    fake.put(f"{repairs.PROXY_PODS}/coredns", spec={"nodeName": "node1"}, status=READY)
    asked = iter(["timed out", "ok"])

    def appear(_seconds: float) -> None:
        fake.put(f"{repairs.PROXY_PODS}/new", spec={"nodeName": "node1"}, status=READY, metadata=labels)

    monkeypatch.setattr("time.sleep", appear)
    monkeypatch.setattr(repairs, "reach", lambda _url: next(asked))
    one = work()
    repairs.restart_kube_proxy(one, "", address="10.96.0.1", port=443)
    assert one.changes == ["delete pod old, which comes back"]
    assert list(asked) == []


def test_only_where_flannel_cannot_the_file_is_written_from_the_truth(tmp_path: Path, fake: FakeKubeApi) -> None:
    del fake  # it has no pod of flannel's
    (tmp_path / "subnet.env").write_text("FANNEL_NETWORK=10.244.0.0/16\n")
    one = work()
    repairs.restart_flannel(one, "", truth=TRUTH)
    lines = (tmp_path / "subnet.env").read_text().splitlines()
    assert lines == [*(f"{key}={value}" for key, value in TRUTH.items()), "FLANNEL_IPMASQ=true"]
    assert one.backup


def test_without_the_truth_no_file_is_invented(tmp_path: Path, fake: FakeKubeApi) -> None:
    del fake
    with pytest.raises(RepairError, match="not known"):
        repairs.restart_flannel(work(), "", truth={})
    assert not (tmp_path / "subnet.env").exists()


def test_a_driver_is_changed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: 1\ncgroupDriver: systemd\nb: 2\n")
    repairs.set_cgroup_driver(work(), "", driver="cgroupfs")
    assert (tmp_path / "config.yaml").read_text() == "a: 1\ncgroupDriver: cgroupfs\nb: 2\n"


def test_flannels_network_is_set_and_the_rest_of_it_stays(fake: FakeKubeApi, tmp_path: Path) -> None:
    network = {"net-conf.json": '{"Network": "10.99.0.0/16", "Backend": {"Type": "host-gw"}}'}
    fake.put(repairs.FLANNEL_CONFIG, data=network)
    one = work()
    repairs.set_net_conf(one, "", network="10.244.0.0/16")
    there = fake.objects[repairs.FLANNEL_CONFIG]["data"]["net-conf.json"]
    assert there == '{"Network": "10.244.0.0/16", "Backend": {"Type": "host-gw"}}'
    assert list(Path(one.backup).rglob("net-conf.json"))
    with pytest.raises(RepairError, match="does not say"):
        repairs.set_net_conf(work(), "", network="")
    assert (tmp_path / "kept").exists()


def test_dns_is_scaled_and_a_node_uncordoned(fake: FakeKubeApi) -> None:
    path = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
    fake.put(path, spec={"replicas": 0}, status={"readyReplicas": 2})
    repairs.scale_dns(work(), "", replicas=2)
    assert fake.objects[path]["spec"]["replicas"] == 2
    one = work()
    repairs.uncordon(one, "", node="node1")
    assert one.changes == ["uncordon node1"]


@pytest.fixture
def leaders(fake: FakeKubeApi) -> FakeKubeApi:
    """Give scheduler and controller manager a leader, which renews its lease all the time."""

    def lead(_request: str) -> None:
        for name in repairs.LEADERS:
            fake.put(f"{repairs.LEASES}/{name}", spec={"renewTime": dt.datetime.now(dt.UTC).isoformat()})

    fake.asked = lead
    return fake


CLUSTER = """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
certificateValidityPeriod: 4380h0m0s
encryptionAlgorithm: ECDSA-P384
"""
KEYS = {"ECDSA-P256": ("ec", "P-256"), "ECDSA-P384": ("ec", "P-384"), "RSA-2048": ("rsa:2048", "")}


def sign(path: Path, algorithm: str = "ECDSA-P384", hours: float = 4380) -> None:
    """Make a certificate that ends in so many hours."""
    kind, curve = KEYS[algorithm]
    more = ["-pkeyopt", f"ec_paramgen_curve:{curve}"] if curve else []
    end = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)).strftime("%Y%m%d%H%M%SZ")
    key = ["openssl", "req", "-new", "-newkey", kind, *more, "-nodes", "-keyout", f"{path}.key", "-subj", "/CN=x"]
    request = subprocess.run(key, check=True, capture_output=True).stdout
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "index").write_text("")
    config = path.parent / "ca.cnf"
    config.write_text(
        f"[ca]\ndefault_ca=x\n[x]\ndatabase={path.parent}/index\nnew_certs_dir={path.parent}\n"
        "rand_serial=yes\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
    )
    argv = ["openssl", "ca", "-batch", "-notext", "-config", str(config), "-selfsign", "-keyfile", f"{path}.key"]
    argv += ["-startdate", "20260101000000Z", "-enddate", end, "-in", "/dev/stdin", "-out", str(path)]
    subprocess.run(argv, check=True, capture_output=True, input=request)


class Kubeadm(Module):
    """kubeadm that makes certificates as its configuration says, or as a test does."""

    def __init__(self, path: Path, algorithm: str = "", hours: float = 0, **settings: t.Any) -> None:
        """Renew `path`."""
        super().__init__(**settings)
        self.path, self.algorithm, self.hours = path, algorithm, hours
        self.config = ""

    def run_command(self, argv: list[str], data: str | None = None, **_more: t.Any) -> tuple[int, str, str]:
        """Renew it."""
        if argv[:2] == ["kubeadm", "version"]:
            return 0, "v1.37.2\n", ""
        if argv[0] == "kubeadm":
            assert argv[-2:] == ["--config", "/dev/stdin"], argv
            self.config = data or ""
            wanted = certificates.wanted_of(self.config)
            if not self.path.exists():
                return 0, "MISSING! certificate for serving the Kubernetes API\n", ""
            hours = self.hours or wanted.lifetime.total_seconds() / 3600
            sign(self.path, self.algorithm or wanted.algorithm, hours)
        return super().run_command(argv)


@pytest.fixture
def cluster(leaders: FakeKubeApi) -> FakeKubeApi:
    """Put kubeadm's configuration into the cluster."""
    leaders.put(certificates.CONFIG, data={"ClusterConfiguration": CLUSTER})
    return leaders


def renew(kubeadm: Kubeadm) -> Work:
    """Renew its certificate."""
    one = Work(t.cast("t.Any", kubeadm), "fault")
    repairs.renew_certificate(one, "", path=str(kubeadm.path))
    return one


def test_a_certificate_is_renewed_by_the_clusters_configuration_without_restarts(
    tmp_path: Path, cluster: FakeKubeApi
) -> None:
    path = tmp_path / "apiserver.crt"
    path.write_text("old")
    kubeadm = Kubeadm(path)
    one = renew(kubeadm)
    assert one.changes == [f"renew {path}"]
    assert not [line for line in ran(one) if line.startswith(("crictl", "systemctl"))]
    assert cluster.objects
    assert kubeadm.config == CLUSTER
    assert certificates.read(path).algorithm == "ECDSA-P384"


def test_without_an_api_the_hosts_own_certificates_say_how(tmp_path: Path, cluster: FakeKubeApi) -> None:
    cluster.refuse[f"GET {certificates.CONFIG}"] = (503, "away")
    for name, hours in (("apiserver-kubelet-client.crt", 4380.0), ("etcd/server.crt", 4380.0), ("odd.crt", -1.0)):
        (tmp_path / "pki/etcd").mkdir(parents=True, exist_ok=True)
        sign(tmp_path / "pki" / name, "RSA-2048" if hours < 0 else "ECDSA-P384", hours)
    path = tmp_path / "pki/apiserver.crt"
    path.write_text("old")
    kubeadm = Kubeadm(path)
    renew(kubeadm)
    assert certificates.wanted_of(kubeadm.config) == certificates.wanted_of(CLUSTER)
    assert "kubernetesVersion: v1.37.2" in kubeadm.config
    assert f"controlPlaneEndpoint: {cluster.address}" in kubeadm.config
    assert "clusterName: test" in kubeadm.config


def test_without_an_api_and_without_a_certificate_nothing_is_guessed(tmp_path: Path, cluster: FakeKubeApi) -> None:
    cluster.refuse[f"GET {certificates.CONFIG}"] = (503, "away")
    path = tmp_path / "apiserver.crt"
    path.write_text("old")
    with pytest.raises(RepairError, match="holds no certificate"):
        renew(Kubeadm(path))
    assert path.read_text() == "old"


def test_what_kubeadm_made_is_looked_at(tmp_path: Path, cluster: FakeKubeApi) -> None:
    path = tmp_path / "apiserver.crt"
    assert cluster.objects
    with pytest.raises(RepairError, match=r"apiserver.crt is missing; it says: MISSING! certificate"):
        renew(Kubeadm(path))
    path.write_text("old")
    with pytest.raises(RepairError, match=r"its key is RSA-2048, not ECDSA-P384, it ends on .*, not on "):
        renew(Kubeadm(path, "RSA-2048", 8760))


def test_who_would_not_see_a_new_certificate_starts_again(tmp_path: Path, cluster: FakeKubeApi) -> None:
    path = tmp_path / "scheduler.conf"
    path.write_text(cluster.kubeconfig)

    class Conf(Kubeadm):
        def run_command(self, argv: list[str], data: str | None = None, **_more: t.Any) -> tuple[int, str, str]:
            """Put the certificate into a kubeconfig."""
            if argv[:2] == ["kubeadm", "certs"]:
                sign(tmp_path / "crt")
                text = base64.b64encode((tmp_path / "crt").read_bytes()).decode()
                path.write_text(re.sub("(client-certificate-data:) .*", rf"\1 {text}", path.read_text()))
                return 0, "", ""
            return super().run_command(argv, data)

    one = renew(Conf(path, answers={"crictl": "abc\n"}))
    assert one.changes[1] == "restart kube-scheduler"
    assert ran(one)[-1].endswith("--timeout 30s stop --timeout 5 abc")


def test_a_leader_counts_only_if_it_was_heard_of_after_the_restart(
    tmp_path: Path, cluster: FakeKubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease of the process that was stopped looks fresh for some seconds."""
    cluster.asked = lambda _request: None
    for name in repairs.LEADERS:
        cluster.put(f"{repairs.LEASES}/{name}", spec={"renewTime": dt.datetime.now(dt.UTC).isoformat()})
    assert (tmp_path / "admin.conf").exists()
    repairs.leaders_lead(work())
    monkeypatch.setattr("ansible.module_utils.yunkube.doctor.repair_work.scaled", lambda _seconds: 0.1)
    with pytest.raises(RepairError, match="has no leader"):
        repairs.leaders_lead(work(), dt.datetime.now(dt.UTC))


def test_renewing_before_expiry_restarts_nothing(tmp_path: Path, cluster: FakeKubeApi) -> None:
    path = tmp_path / "apiserver-kubelet-client.crt"
    path.write_text((cluster.folder / "server.crt").read_text())
    assert renew(Kubeadm(path)).changes == [f"renew {path}"]


def test_the_administrators_kubeconfig_is_made_by_the_clusters_configuration(
    tmp_path: Path, cluster: FakeKubeApi
) -> None:
    path = tmp_path / "admin.conf"
    path.unlink()

    class Conf(Kubeadm):
        def run_command(self, argv: list[str], data: str | None = None, **_more: t.Any) -> tuple[int, str, str]:
            """Write it, with a certificate of a year."""
            if argv[:2] == ["kubeadm", "init"]:
                self.config = data or ""
                path.write_text(cluster.kubeconfig)
                return 0, "", ""
            return super().run_command(argv, data)

    kubeadm = Conf(path)
    with pytest.raises(RepairError, match="its key is ECDSA-P256, not ECDSA-P384"):
        repairs.write_admin_conf(Work(t.cast("t.Any", kubeadm), "x"), "")
    assert kubeadm.config == CLUSTER


def test_exactly_one_rule_is_deleted() -> None:
    one = work()
    repairs.delete_rule(one, "", undo="iptables -D INPUT -p udp --dport 8472 -j DROP")
    assert ran(one) == ["iptables-save", "iptables -D INPUT -p udp --dport 8472 -j DROP"]
    with pytest.raises(RepairError, match="not the deletion"):
        repairs.delete_rule(work(), "", undo="iptables -F")


def test_a_program_may_be_run_again(tmp_path: Path) -> None:
    path = tmp_path / "bridge"
    path.write_text("")
    path.chmod(0o644)
    repairs.set_mode(work(), "", path=str(path))
    assert path.stat().st_mode & 0o777 == 0o755


def test_links_are_changed_by_name() -> None:
    one = work()
    repairs.set_mtu(one, "", link="eth0", mtu=1500)
    repairs.set_address(one, "", link="cni0", address="10.244.1.1/24")
    assert ran(one) == [
        "ip link set dev eth0 mtu 1500",
        "ip -4 address flush dev cni0",
        "ip address add 10.244.1.1/24 broadcast + dev cni0",
    ]


def test_a_failed_program_is_reported_with_its_error() -> None:
    class Failing(Module):
        def run_command(self, argv: list[str], **_more: t.Any) -> tuple[int, str, str]:
            """Fail."""
            return 1, "", f"{argv[0]} says no"

    with pytest.raises(RepairError, match="systemctl says no"):
        Work(t.cast("t.Any", Failing()), "x").run("systemctl", "start", "kubelet")


def test_waiting_fails_after_its_time_and_says_what_is_wrong() -> None:
    with pytest.raises(RepairError, match="the sun is not up after 0 s"):
        work().wait(lambda: False, "the sun is not up", 0)


def test_a_wait_of_its_own_length_follows_from_the_factor_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(patience.VARIABLE, "3")
    with pytest.raises(RepairError, match="is not ready after 3 s"):
        work().wait(lambda: False, "it is not ready", 1)


def test_the_module_says_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ansible(Module):
        params: t.ClassVar[dict[str, t.Any]] = {
            "id": "x", "repair": "set_mtu", "target": "", "arguments": {"link": "eth0", "mtu": 1500}, "patches": [],
        }  # fmt: skip
        _diff = False

        def __init__(self, **_settings: t.Any) -> None:
            """Take any settings."""
            super().__init__()

        def exit_json(self, **result: t.Any) -> None:
            """Keep the result."""
            told.update(result)

    told: dict[str, t.Any] = {}
    monkeypatch.setattr(doctor_repair, "AnsibleModule", Ansible)
    doctor_repair.main()
    assert told == {"changed": True, "changes": ["set the MTU of eth0 to 1500"]}
