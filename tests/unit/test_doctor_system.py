# SPDX-License-Identifier: Apache-2.0
"""What of a host's own files and settings the doctor looks at."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.doctor import collect_host, collect_system, read_host
from ansible.module_utils.yunkube.doctor.diagnose import diagnose
from doctor_record import healthy, node

SCHEDULER = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-scheduler\n  namespace: kube-system\n"


def put(root: Path, path: str, text: str = "", mode: int = 0o600) -> Path:
    """Write a file of a host."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return file


def test_the_last_file_that_sets_a_value_of_the_kernel_counts(tmp_path: Path) -> None:
    put(tmp_path, "usr/lib/sysctl.d/99-z.conf", "net.ipv4.ip_forward = 0\n")
    put(tmp_path, "etc/sysctl.d/50-a.conf", "net.ipv4.ip_forward = 1\nnet/bridge/bridge-nf-call-iptables=1\n")
    found = collect_system.boot_sysctls(tmp_path)
    assert found["net.ipv4.ip_forward"] == {"value": "0", "file": "/usr/lib/sysctl.d/99-z.conf"}
    assert found["net.bridge.bridge-nf-call-iptables"]["value"] == "1"
    put(tmp_path, "etc/sysctl.d/99-z.conf", "# net.ipv4.ip_forward = 0\n")  # instead of the other of its name
    assert collect_system.boot_sysctls(tmp_path)["net.ipv4.ip_forward"]["value"] == "1"


def test_a_copy_of_a_manifest_is_found_and_a_static_pod_of_a_users_is_not(tmp_path: Path) -> None:
    folder = "etc/kubernetes/manifests"
    put(tmp_path, f"{folder}/kube-scheduler.yaml", SCHEDULER)
    put(tmp_path, f"{folder}/.kube-scheduler.yaml.swp", SCHEDULER)
    put(tmp_path, f"{folder}/mine.yaml", SCHEDULER.replace("kube-scheduler", "mine"))
    assert collect_system.strays(tmp_path) == {}
    put(tmp_path, f"{folder}/kube-scheduler.yaml.bak", SCHEDULER)
    assert collect_system.strays(tmp_path) == {f"/{folder}/kube-scheduler.yaml.bak": "kube-scheduler"}
    (tmp_path / folder / "kube-scheduler.yaml").unlink()  # the kubelet runs the copy: it must stay
    assert collect_system.strays(tmp_path) == {}


def test_two_halves_of_a_key_are_compared(tmp_path: Path) -> None:
    for name in ("one", "two"):
        made = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        subprocess.run([*made, "-out", str(tmp_path / f"{name}.key")], check=True, capture_output=True)
        derive = [
            "openssl",
            "pkey",
            "-in",
            str(tmp_path / f"{name}.key"),
            "-pubout",
            "-out",
            str(tmp_path / f"{name}.pub"),
        ]
        subprocess.run(derive, check=True, capture_output=True)
    pki = "etc/kubernetes/pki"
    put(tmp_path, f"{pki}/sa.key", (tmp_path / "one.key").read_text())
    put(tmp_path, f"{pki}/sa.pub", (tmp_path / "one.pub").read_text())
    found = collect_system.service_account(tmp_path)
    assert found["sa.pub"] == found["sa.key"] != ""
    put(tmp_path, f"{pki}/sa.pub", (tmp_path / "two.pub").read_text())
    found = collect_system.service_account(tmp_path)
    assert found["sa.pub"] != found["sa.key"]
    assert "PRIVATE" not in str(found)
    both = (tmp_path / "two.pub").read_text() + (tmp_path / "one.pub").read_text()
    put(tmp_path, f"{pki}/sa.pub", both)  # while keys are rotated
    found = collect_system.service_account(tmp_path)
    assert found["sa.pub"] == found["sa.key"]


def test_what_is_missing_of_a_masters_keys(tmp_path: Path) -> None:
    pki = "etc/kubernetes/pki"
    assert collect_system.missing_keys(tmp_path) == []  # an authority that is kept elsewhere
    put(tmp_path, f"{pki}/ca.key")
    for name in collect_system.LEAVES:
        put(tmp_path, f"{pki}/{name}.crt")
        put(tmp_path, f"{pki}/{name}.key")
    assert collect_system.missing_keys(tmp_path) == []
    (tmp_path / pki / "front-proxy-client.crt").unlink()
    assert collect_system.missing_keys(tmp_path) == [f"/{pki}/front-proxy-client.crt"]


def test_keys_that_others_can_read_are_found(tmp_path: Path) -> None:
    put(tmp_path, "etc/kubernetes/pki/ca.key")
    put(tmp_path, "etc/kubernetes/pki/etcd/ca.key", mode=0o640)
    put(tmp_path, "etc/kubernetes/pki/ca.crt", mode=0o644)
    put(tmp_path, "etc/kubernetes/admin.conf", "users:\n- user: {client-key-data: eA==}\n", mode=0o644)
    put(tmp_path, "etc/kubernetes/resolv.conf", "nameserver 192.0.2.1\n", mode=0o644)  # a user's, and no secret
    found = {"/etc/kubernetes/pki/etcd/ca.key": "0640", "/etc/kubernetes/admin.conf": "0644"}
    assert collect_system.open_keys(tmp_path) == found


def test_the_kubelets_certificate_is_looked_for_where_its_kubeconfig_says(tmp_path: Path) -> None:
    put(tmp_path, "etc/kubernetes/kubelet.conf", f"client-certificate: /var/lib/kubelet/pki/{collect_system.CLIENT}\n")
    put(tmp_path, "var/lib/kubelet/pki/kubelet-client-2026-01-01.pem")
    link = tmp_path / "var/lib/kubelet/pki" / collect_system.CLIENT
    link.symlink_to("gone.pem")
    found = collect_system.client(tmp_path)
    assert found == {"wanted": True, "there": False, "others": ["kubelet-client-2026-01-01.pem"]}


@pytest.mark.parametrize(
    ("exceptions", "direct"),
    [
        ("", False),
        ("localhost,10.0.0.0/24", True),
        ("10.0.1.0/24", False),
        ("10.0.0.11", True),
        ("*", True),
        ("example.com", False),
        ("10.0.0.11:6443", True),
    ],
)
def test_a_proxy_is_in_the_way_of_what_no_exception_names(exceptions: str, direct: bool) -> None:
    assert collect_system._direct("10.0.0.11", exceptions) is direct
    assert collect_system._direct("api.example.com", ".example.com")
    assert collect_system._direct("api.example.com", "*.Example.com")
    assert collect_system._direct("127.0.0.1", "")  # Go never uses a proxy for these


def test_a_name_server_that_answers_anything_answers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        try:
            server.bind(("127.0.0.9", 53))
        except PermissionError:
            pytest.skip("only root may listen there")

        def answer() -> None:
            server.recvfrom(512)  # the first packet is lost
            data, address = server.recvfrom(512)
            server.sendto(data, address)

        thread = threading.Thread(target=answer)
        thread.start()
        assert collect_system.resolver("127.0.0.9") == "ok"
        thread.join()
    assert "refused" in collect_system.resolver("127.0.0.9")
    assert collect_system.resolvers(["127.0.0.53", "::1"]) == {}


@pytest.mark.parametrize(("listens", "said"), [(False, "refused"), (True, "no answer in ")])
def test_a_refusal_that_gets_lost_is_known_from_tcp(listens: bool, said: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, socket.socket() as stream:
        silent.bind(("127.0.0.9", 53))
        stream.bind(("127.0.0.9", 53))
        if listens:
            stream.listen()
        assert said in collect_system.resolver("127.0.0.9")
        silent.setblocking(False)
        assert [silent.recv(512) for _ in range(3)] == [collect_system.QUESTION] * 3  # one may have been lost


def test_places_that_cannot_be_written_to_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "var/lib/kubelet").mkdir(parents=True)
    real = os.statvfs

    class ReadOnly:
        f_flag = os.ST_RDONLY

    def statvfs(path: Path) -> object:
        """As the kernel answers for one of them."""
        return ReadOnly() if str(path).endswith("kubelet") else real(path)

    assert collect_system.read_only(tmp_path) == []
    monkeypatch.setattr(os, "statvfs", statvfs)
    assert collect_system.read_only(tmp_path) == ["/var/lib/kubelet"]


def test_addresses_of_pods_are_counted_and_nothing_else(tmp_path: Path) -> None:
    for name in ("10.244.1.2", "10.244.1.3", "last_reserved_ip.0", "lock"):
        put(tmp_path, f"{collect_system.ADDRESSES}/{name}")
    assert collect_system.addresses(tmp_path)["taken"] == 2


def test_a_runtime_that_is_told_not_to_serve_kubelets(tmp_path: Path) -> None:
    put(tmp_path, "etc/containerd/config.toml", 'disabled_plugins = ["cri"]\nversion = 2\n')
    assert collect_host.runtime(tmp_path)["disabled"] == ["cri"]
    put(tmp_path, "etc/containerd/config.toml", "version = 3\n")
    assert "disabled" not in collect_host.runtime(tmp_path)


def test_where_kubeconfigs_lead(tmp_path: Path) -> None:
    put(tmp_path, "etc/kubernetes/admin.conf", "clusters:\n- cluster:\n    server: https://10.0.0.1:6443\n")
    assert collect_system.servers(tmp_path) == {"/etc/kubernetes/admin.conf": "https://10.0.0.1:6443"}


def test_a_kubelet_may_be_told_the_name_of_its_node(tmp_path: Path) -> None:
    flags = 'KUBELET_KUBEADM_ARGS="--hostname-override=node1"\n'
    assert not collect_system.named_by_flag(tmp_path)
    put(tmp_path, "var/lib/kubelet/kubeadm-flags.env", flags)
    assert collect_system.named_by_flag(tmp_path)


def test_a_host_that_is_called_otherwise_on_purpose_is_no_fault() -> None:
    facts = healthy()
    node(facts).hostname = "ip-10-0-0-21"
    assert [one.id for one in diagnose(facts)] == ["hostname-changed"]
    node(facts).named_by_flag = True
    assert diagnose(facts) == []


SYSTEMCTL = """#!/bin/sh
printf 'Id=yunkube-backup.timer\\nActiveState=inactive\\nUnitFileState=disabled\\nResult=success\\n\\n'
printf 'Id=yunkube-backup.service\\nActiveState=failed\\nUnitFileState=static\\nResult=%s\\n'
"""


@pytest.mark.parametrize(("result", "said"), [("exit-code", "no snapshot was saved: a reason"), ("success", "")])
def test_the_schedule_of_backups_is_read_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: str, said: str
) -> None:
    programs = {"systemctl": SYSTEMCTL % result, "journalctl": "#!/bin/sh\necho 'no snapshot was saved: a reason'\n"}
    for name, text in programs.items():
        put(tmp_path, f"bin/{name}", text, 0o755)
    monkeypatch.setattr(read_host, "SEARCH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert collect_system.backup(tmp_path) == {}
    put(tmp_path, "etc/systemd/system/yunkube-backup.timer")
    expected = {"timer": "inactive", "enabled": "disabled", "result": result, "said": said}
    assert collect_system.backup(tmp_path) == expected
