# SPDX-License-Identifier: Apache-2.0
"""All faults of a host are found at once, each with its remedy; a suitable host and a member have none."""

from __future__ import annotations

import dataclasses
import importlib.util
import ipaddress
import os
import re
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.host.network import find_listeners, has_address, parse_listeners, parse_routes
from ansible.module_utils.yunkube.host.os_release import parse_os_release
from ansible.module_utils.yunkube.host.requirements import Host, find_faults, foreign, joined
from ansible.module_utils.yunkube.kube.x509 import node_of
from ansible.module_utils.yunkube.result import Fault
from sound_host import FIT, NEEDS

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "plugins/action/host_preflight_report.py"

OURS = {"cluster": "ours", "cluster_id": "0123456789abcdef"}


def checks(host: Host, **needs: t.Any) -> list[str]:
    """Names of the checks that fail."""
    return [fault.check for fault in find_faults(host, NEEDS | needs)]


def test_a_fit_host_has_no_fault_and_neither_has_what_a_killed_run_left() -> None:
    assert find_faults(FIT, NEEDS) == []


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        ({"foreign": ("a containerd of its own",)}, "foreign", "a containerd of its own"),
        ({"memory_mb": 1600}, "memory", "has 1600 MB"),
        ({"cpus": 1}, "cpus", "has 1 processor$"),
        ({"free_mb": {"/": 10}}, "disk", "10 MB free in /"),
        ({"clock": 900.0}, "clock", "100 s behind"),
        ({"clock": 1100.0}, "clock", "100 s ahead"),
        ({"listeners": {2379: "nginx (process 7)"}}, "port", "port 2379 is taken by nginx"),
        ({"missing_features": ("br_netfilter",)}, "kernel_module", "has no br_netfilter"),
        ({"nameservers": ()}, "nameserver", "/etc/resolv.conf names no name server"),
        ({"system": "arch", "system_version": ""}, "system", "runs arch"),
        ({"system_version": "11"}, "system", "runs debian 11"),
        ({"family": "Suse"}, "system", "(?i)Suse family"),
        ({"kernel": "4.19.0-1"}, "kernel", "has kernel 4.19.0-1"),
        ({"kernel": "5.14.0-427.el9"}, "kernel", "kubeadm accepts 5.4, 5.10 and 5.15"),
        ({"architecture": "arm64"}, "architecture", "is arm64, the inventory says amd64"),
        ({"architecture": "riscv64"}, "architecture", "is riscv64, which is not supported"),
        ({"cgroup_version": 1}, "cgroup", "cgroup v1"),
        ({"systemd": False}, "systemd", "not run by systemd"),
        ({"missing_programs": ("openssl",)}, "program", "has no openssl, which backup_certificate needs"),
        ({"has_timezone": False}, "timezone", "does not know the time zone Europe/Berlin of backup_schedule"),
        ({"has_node_ip": False}, "node_ip", "no address 10.0.0.11 at which"),
        ({"routes": (("tun0", ipaddress.IPv4Network("10.96.8.0/24")),)}, "cidr", "10.96.8.0/24 through tun0"),
    ],
)
def test_each_fault_is_named(change: dict[str, t.Any], check: str, words: str) -> None:
    (fault,) = find_faults(dataclasses.replace(FIT, **change), NEEDS)
    assert fault.check == check
    assert fault.remedy
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(fault.message)


def test_all_faults_are_found_at_once_and_none_of_a_member() -> None:
    poor = dataclasses.replace(FIT, memory_mb=1, cpus=1, clock=0.0)
    assert checks(poor) == ["memory", "cpus", "clock"]
    assert checks(poor, ignores=["clock"]) == ["memory", "cpus"]
    assert checks(dataclasses.replace(poor, member=True, record=OURS)) == []


def test_a_member_never_gets_programs_for_another_processor() -> None:
    member = dataclasses.replace(FIT, member=True, record=OURS)
    (fault,) = find_faults(member, NEEDS | {"architecture": "arm64"})
    assert fault.message == "is amd64, the inventory says arm64"
    assert fault.remedy == "set cluster_architecture: amd64 for this host in the inventory"


def test_a_host_of_another_cluster_is_refused_whether_it_is_a_member_or_not() -> None:
    for member in (False, True):
        for record, words in (
            ({"cluster": "theirs", "cluster_id": "f" * 16}, "belongs to the cluster theirs (id ffffffffffffffff), not"),
            ({"cluster": "ours", "cluster_id": "f" * 16}, "(id ffffffffffffffff), not to ours (id 0123456789abcdef)"),
            ({"cluster": "ours"}, "belongs to the cluster ours (without an id), not to ours (id 0123456789abcdef)"),
        ):
            host = dataclasses.replace(FIT, member=member, record=record)
            (fault,) = find_faults(host, NEEDS | {"ignores": ["foreign", "other cluster"]})
            assert (fault.check, fault.remedy != "") == ("other cluster", True)
            assert words in fault.message


def test_a_member_of_anything_without_our_record_is_refused() -> None:
    host = dataclasses.replace(FIT, member=True, joined="https://10.1.2.3:6443")
    (fault,) = find_faults(host, NEEDS | {"ignores": ["foreign", "other cluster"]})
    assert fault.message == (
        "is a member of a cluster (https://10.1.2.3:6443) and has no record of ours (id 0123456789abcdef)"
    )


def test_a_host_of_ours_that_joined_elsewhere_is_refused(tmp_path: Path) -> None:
    ours = dataclasses.replace(FIT, member=True, record=OURS, joined="https://10.0.0.11:6443")
    assert find_faults(ours, NEEDS) == []
    (fault,) = find_faults(dataclasses.replace(ours, joined="https://10.1.2.3:6443"), NEEDS)
    assert (fault.check, "at https://10.1.2.3:6443, not" in fault.message) == ("other cluster", True)
    (tmp_path / "etc/kubernetes/manifests").mkdir(parents=True)
    assert joined(tmp_path) == ""
    (tmp_path / "etc/kubernetes/kubelet.conf").write_text("clusters:\n- cluster:\n    server: https://10.1.2.3:6443\n")
    assert joined(tmp_path) == "https://10.1.2.3:6443"
    (tmp_path / "etc/kubernetes/manifests/kube-apiserver.yaml").touch()  # its kubelet asks its own API server
    assert joined(tmp_path) == ""


def test_a_node_that_was_renamed_in_the_inventory_is_refused() -> None:
    made = dataclasses.replace(FIT, record=OURS, member=True, node="node1")
    [fault] = find_faults(made, NEEDS | {"node": "worker1"})
    assert "is node node1 of this cluster, which the inventory calls worker1" in fault.message
    assert "remove node1 first" in fault.remedy
    assert find_faults(made, NEEDS | {"node": "node1"}) == []


@pytest.mark.parametrize("name", ["node1", "n" * 52, "web-1.example.com"])
def test_a_kubelets_certificate_names_its_node(tmp_path: Path, name: str) -> None:
    path = tmp_path / "kubelet-client-current.pem"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(path)]
    subject = ["-subj", f"/O=system:nodes/CN=system:node:{name}"]
    argv = ["openssl", "req", "-x509", *key, "-out", str(tmp_path / "crt"), *subject]
    subprocess.run(argv, check=True, capture_output=True)
    assert node_of(f"{(tmp_path / 'crt').read_text()}{path.read_text()}") == name
    assert node_of("") == node_of(path.read_text()) == ""


def test_a_firewall_needs_no_network_where_it_is_not_opened() -> None:
    behind = dataclasses.replace(FIT, firewall="ufw")
    assert checks(behind, firewall_sources=[]) == ["firewall"]
    assert checks(behind, firewall_sources=None) == checks(behind) == []
    assert checks(FIT, firewall_sources=[]) == []


def test_before_there_is_an_id_no_recorded_host_is_ours() -> None:
    assert checks(FIT, cluster_id="") == []
    assert checks(dataclasses.replace(FIT, record=OURS), cluster_id="") == ["other cluster"]
    assert checks(dataclasses.replace(FIT, record={"cluster": "ours"}), cluster_id="") == ["other cluster"]


def test_what_the_kubelet_is_configured_to_accept_is_no_fault() -> None:
    assert checks(FIT, turn_swap_off=False) == ["swap"]
    assert checks(FIT, turn_swap_off=False, kubelet_config={"failSwapOn": False}) == []
    old = dataclasses.replace(FIT, cgroup_version=1)
    assert checks(old, kubelet_config={"failCgroupV1": False}) == ["cgroup"]  # kubeadm refuses it too
    accepted = {"kubelet_config": {"failCgroupV1": False}, "kubeadm_ignores": ["SystemVerification"]}
    assert checks(old, **accepted) == []


def test_ports_of_the_control_plane_do_not_matter_on_a_node() -> None:
    host = dataclasses.replace(FIT, listeners={6443: "nginx (process 7)"})
    assert checks(host) == ["port"]
    assert checks(host, master=False) == []


@pytest.mark.parametrize("member", [False, True])
def test_ports_of_the_registry_are_free_but_for_itself(*, member: bool) -> None:
    record = OURS if member else None
    host = dataclasses.replace(FIT, member=member, record=record, listeners={5001: "docker-registry (process 7)"})
    assert checks(host) == []
    (fault,) = find_faults(host, NEEDS | {"registry_ports": [5000, 5001]})
    assert (fault.check, "5001" in fault.message, "cluster_registry_address" in fault.remedy) == ("port", True, True)
    ours = dataclasses.replace(host, listeners={5001: "registry (process 7, of a pod)"})
    assert checks(ours, registry_ports=[5000, 5001]) == []


def test_addresses_of_the_provider_are_reserved() -> None:
    cidrs = {"cluster_pod_cidr": "100.100.0.0/16"}
    assert checks(FIT, cidrs=cidrs) == []
    assert checks(FIT, cidrs=cidrs, reserved_cidrs={"the cloud": "100.64.0.0/10"}) == ["cidr"]


def test_the_kernels_tables_are_read() -> None:
    routes = "Iface\tDestination\tGateway\n"
    routes += "eth0\t00000000\t0100500A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    routes += "eth0\t0000500A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    assert parse_routes(routes) == (("eth0", ipaddress.IPv4Network("10.80.0.0/24")),)
    halves = ("00000000", "00000080")  # what a VPN that takes all traffic has beside the default route
    lines = (f"tun0\t{half}\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n" for half in halves)
    assert parse_routes("Iface\n" + "".join(lines)) == ()
    sockets = "  sl  local_address\n"
    sockets += "   0: 00000000:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n"
    sockets += "   1: 0100007F:192B 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n"
    assert parse_listeners(sockets) == {6443: "4711"}
    assert parse_os_release('ID=debian\nVERSION_ID="12"\n\n') == {"ID": "debian", "VERSION_ID": "12"}


def test_who_holds_a_port_is_found_by_its_socket(tmp_path: Path) -> None:
    line = "   0: 00000000:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 {} 1 0\n"
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text("  sl\n" + line.format(4711))
    assert find_listeners([6443], tmp_path) == {6443: "an unknown process"}
    (tmp_path / "42/fd").mkdir(parents=True)
    (tmp_path / "42/comm").write_text("nginx\n")
    (tmp_path / "42/fd/3").symlink_to("socket:[4711]")
    assert find_listeners([6443], tmp_path) == {6443: "nginx (process 42)"}
    assert find_listeners([10250], tmp_path) == {}
    (tmp_path / "42/cgroup").write_text("0::/kubepods.slice/kubepods-besteffort.slice/x\n")
    assert find_listeners([6443], tmp_path) == {6443: "nginx (process 42, of a pod)"}


@pytest.fixture(name="all_faults")
def _all_faults() -> t.Callable[..., list[dict[str, str]]]:
    spec = importlib.util.spec_from_file_location("host_preflight_report", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    return t.cast("t.Callable[..., list[dict[str, str]]]", plugin.all_faults)


def report(**given: t.Any) -> dict[str, t.Any]:
    """What host_preflight returns."""
    return {"faults": [], "hostname": "", "machine_id": "", "product_uuid": "", **given}


def test_hosts_with_one_identity_are_reported_with_each_other(all_faults: t.Callable[..., list[Fault]]) -> None:
    own = {"check": "memory", "message": "has 1 MB", "remedy": "more"}
    reports = {
        "a": report(machine_id="1", hostname="a"),
        "b": report(machine_id="2", hostname="b", faults=[own]),
        "c": report(machine_id="1", hostname="c"),
    }
    found = [(fault.host, fault.check, fault.message) for fault in all_faults(reports)]
    assert found == [
        ("a", "machine_id", "has machine-id 1, as has c"),
        ("b", "memory", "has 1 MB"),
        ("c", "machine_id", "has machine-id 1, as has a"),
    ]
    assert [fault.host for fault in all_faults(reports, ["machine_id"])] == ["b"]


def test_ids_that_are_not_there_are_not_the_same(all_faults: t.Callable[..., list[Fault]]) -> None:
    assert all_faults({"a": report(), "b": report()}) == []


def test_what_a_cluster_would_use_or_overwrite_of_others_is_foreign(tmp_path: Path) -> None:
    for name in ("var/lib/containerd/lost+found", "var/lib/etcd", "var/lib/kubelet", "var/lib/cni/networks/podman"):
        (tmp_path / name).mkdir(parents=True)
    assert foreign(master=True, root=tmp_path) == ()
    (tmp_path / "var/lib/etcd/default/member").mkdir(parents=True)  # where Debian's own etcd has its data
    assert foreign(master=False, root=tmp_path) == ()  # it stays, also when the cluster goes
    (tmp_path / "var/lib/containerd/io.containerd.content.v1").mkdir()
    (tmp_path / "var/lib/kubelet/config.yaml").touch()
    found = foreign(master=True, root=tmp_path)
    assert [what.rpartition(" ")[2] for what in found] == ["/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet"]


def test_a_network_of_another_program_is_foreign(tmp_path: Path) -> None:
    folder = tmp_path / "etc/cni/net.d"
    folder.mkdir(parents=True)
    (folder / ".kubernetes-cni-keep").touch()
    assert foreign(master=True, root=tmp_path) == ()
    (folder / "87-podman-bridge.conflist").touch()
    (folder / "10-own.conf").touch()
    (what,) = foreign(master=False, root=tmp_path)
    assert what.startswith("/etc/cni/net.d/10-own.conf, a network of another program")


def test_every_check_that_may_be_skipped_can_be_named_in_the_inventory() -> None:
    specs = yaml.safe_load((ROOT / "roles/prepare_host/meta/argument_specs.yml").read_text())["argument_specs"]
    (choices,) = (
        entry["options"]["prepare_host_ignored_checks"]["choices"]
        for entry in specs.values()
        if "prepare_host_ignored_checks" in entry.get("options", {})
    )
    source = (ROOT / "module_utils/yunkube/host/requirements.py").read_text()
    checks = set(re.findall(r'Fault\(\s*"([^"]+)"', source))
    assert len(checks) > 10
    assert checks <= set(choices)
    assert set(re.findall(r"prepare_host_ignored_checks: \[(\w+)\]", source)) <= checks


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York", "UTC"])
def test_the_control_machines_clock_is_right_in_every_time_zone(zone: str) -> None:
    tasks = yaml.safe_load((ROOT / "roles/prepare_host/tasks/preflight.yml").read_text())
    (expression,) = (task["host_preflight"]["control_time"] for task in tasks if "host_preflight" in task)
    argv = [str(Path(sys.executable).parent / "ansible"), "localhost", "-m", "debug", "-a", f"msg='at {expression}'"]
    environment = {**os.environ, "TZ": zone, "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found = re.search(r"at ([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    assert abs(float(found[1]) - time.time()) < 900


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.1.1", "::1", "localhost", "box1.lan", "192.0.2.1", ""])
def test_what_is_no_address_of_its_own_is_none(address: str) -> None:
    assert not has_address(address)


def test_an_address_of_its_own_is_one(one_address: str) -> None:
    assert has_address(one_address)


@pytest.fixture
def one_address() -> str:
    """An address of this machine, by which it would reach another."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        return str(probe.getsockname()[0])
