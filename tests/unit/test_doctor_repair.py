"""Repairs change as little as helps, keep what was there, and say what they did."""

from __future__ import annotations

import datetime as dt
import typing as t
from pathlib import Path

import doctor_repair
import pytest
from ansible.module_utils.yunkube.doctor import repairs
from ansible.module_utils.yunkube.doctor.faults import TABLE
from ansible.module_utils.yunkube.doctor.repairs import REPAIRS, RepairError, Work
from fake_kube_api import FakeKubeApi

TRUTH = {"FLANNEL_NETWORK": "10.244.0.0/16", "FLANNEL_SUBNET": "10.244.1.1/24", "FLANNEL_MTU": "1450"}
READY = {"conditions": [{"type": "Ready", "status": "True"}]}
BUNDLE = {"images", "plugins"}  # bundle_install does these


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
    monkeypatch.setattr(repairs, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(repairs, "SUBNET_ENV", tmp_path / "subnet.env")
    monkeypatch.setattr(repairs, "KUBELET_CONFIG", tmp_path / "config.yaml")
    monkeypatch.setattr(repairs, "KUBELET_CONF", str(tmp_path / "kubelet.conf"))
    monkeypatch.setattr(repairs, "ADMIN_CONF", tmp_path / "admin.conf")
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
    assert {fault.repair for fault in TABLE if fault.repair} == {*REPAIRS} | BUNDLE


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


def test_flannel_starts_anew_and_writes_the_file_itself(
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


def test_the_kubelets_configuration_comes_from_the_cluster(fake: FakeKubeApi, tmp_path: Path) -> None:
    kept = {"kubelet": 'kind: KubeletConfiguration\ncontainerRuntimeEndpoint: ""\n'}
    fake.put("/api/v1/namespaces/kube-system/configmaps/kubelet-config", data=kept)
    (tmp_path / "config.yaml").write_text("oops: [\n")
    one = work()
    repairs.write_kubelet_config(one, "")
    assert (
        'containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock"' in (tmp_path / "config.yaml").read_text()
    )
    assert one.changes == [f"write {tmp_path / 'config.yaml'}", "restart kubelet"]


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


def test_dns_is_scaled_and_a_node_takes_pods(fake: FakeKubeApi) -> None:
    path = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
    fake.put(path, spec={"replicas": 0}, status={"readyReplicas": 2})
    repairs.scale_dns(work(), "", replicas=2)
    assert fake.objects[path]["spec"]["replicas"] == 2
    one = work()
    repairs.uncordon(one, "", node="node1")
    assert one.changes == ["uncordon node1"]


@pytest.fixture
def leaders(fake: FakeKubeApi) -> FakeKubeApi:
    """Let scheduler and controller manager be at work."""
    for name in repairs.LEADERS:
        fake.put(f"{repairs.LEASES}/{name}", spec={"renewTime": dt.datetime.now(dt.UTC).isoformat()})
    return fake


def test_a_certificate_is_renewed_and_nobody_disturbed(tmp_path: Path, leaders: FakeKubeApi) -> None:
    assert leaders.objects
    path = tmp_path / "apiserver.crt"
    path.write_text("old")
    one = work()
    repairs.renew_certificate(one, "", path=str(path))
    assert (one.changes, ran(one)) == ([f"renew {path}"], ["kubeadm certs renew apiserver"])


def test_who_would_not_see_a_new_certificate_starts_again(tmp_path: Path, leaders: FakeKubeApi) -> None:
    assert leaders.objects
    one = work(answers={"crictl": "abc\n"})
    repairs.renew_certificate(one, "", path=str(tmp_path / "scheduler.conf"))
    assert one.changes[1] == "restart kube-scheduler"
    assert ran(one)[-1].endswith("stop --timeout 5 abc")


def test_one_that_only_ends_soon_disturbs_nobody(tmp_path: Path, leaders: FakeKubeApi) -> None:
    path = tmp_path / "apiserver-kubelet-client.crt"
    path.write_text((leaders.folder / "server.crt").read_text())
    one = work()
    repairs.renew_certificate(one, "", path=str(path))
    assert one.changes == [f"renew {path}"]


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


def test_what_fails_is_told() -> None:
    class Failing(Module):
        def run_command(self, argv: list[str], **_more: t.Any) -> tuple[int, str, str]:
            """Fail."""
            return 1, "", f"{argv[0]} says no"

    with pytest.raises(RepairError, match="systemctl says no"):
        Work(t.cast("t.Any", Failing()), "x").run("systemctl", "start", "kubelet")


def test_what_does_not_come_about_is_given_up() -> None:
    with pytest.raises(RepairError, match="the sun did not happen"):
        work().wait(lambda: False, "the sun", 0)


def test_the_module_says_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ansible(Module):
        params: t.ClassVar[dict[str, t.Any]] = {
            "id": "x", "repair": "set_mtu", "target": "", "arguments": {"link": "eth0", "mtu": 1500},
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
