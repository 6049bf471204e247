"""What kubeadm_init makes of what it finds, and how it runs kubeadm."""

from __future__ import annotations

import multiprocessing
import os
import time
import typing as t
from pathlib import Path

import kubeadm_init
import pytest
from ansible.module_utils.yunkube import kubeadm
from ansible.module_utils.yunkube.kube_api import KubeApi, KubeError, parse_kubeconfig
from fake_kube_api import FakeKubeApi

ENDPOINT = "10.0.0.1:6443"
CONFIG = (
    "clusters:\n- cluster:\n    certificate-authority-data: eA==\n    server: https://10.0.0.1:6443\n"
    "users:\n- user:\n    client-certificate-data: eA==\n    client-key-data: eA==\n"
)


def host(root: Path, *files: str) -> Path:
    """Have files on a host; kubeconfigs with content."""
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CONFIG if name.endswith(".conf") else "")
    return root


def manifests(*names: str) -> list[str]:
    return [f"{kubeadm.MANIFESTS}/{name}.yaml" for name in names or kubeadm.COMPONENTS]


def silent() -> tuple[str, ...]:
    raise KubeError("https://10.0.0.1:6443 does not answer: refused")


def look(root: Path, ask: t.Callable[[], tuple[str, ...]] = tuple, *, kubelet_runs: bool = True) -> str:
    """Return the state that the module sees."""
    return kubeadm_init.look(root, ENDPOINT, ask, kubelet_runs=kubelet_runs).state


def test_a_bare_host_has_no_control_plane(tmp_path: Path) -> None:
    assert look(tmp_path, silent) == "absent"


def test_a_control_plane_with_kubeadms_last_steps_is_complete(tmp_path: Path) -> None:
    host(tmp_path, "etc/kubernetes/admin.conf")
    assert look(tmp_path) == "complete"
    assert look(tmp_path, kubelet_runs=False) == "stopped"


def test_a_control_plane_without_them_is_partial(tmp_path: Path) -> None:
    host(tmp_path, "etc/kubernetes/admin.conf")
    found = kubeadm_init.look(tmp_path, ENDPOINT, lambda: ("DaemonSet kube-proxy",), kubelet_runs=True)
    assert found.state == "partial"
    assert found.missing == ("DaemonSet kube-proxy",)


def test_a_host_that_has_just_started_is_silent_and_not_partial(tmp_path: Path) -> None:
    host(tmp_path, "etc/kubernetes/admin.conf", "var/lib/kubelet/config.yaml", *manifests())
    assert look(tmp_path, silent) == "silent"


@pytest.mark.parametrize("missing", [*manifests(), "var/lib/kubelet/config.yaml"])
def test_an_init_that_was_killed_before_the_kubelet_started_is_partial(tmp_path: Path, missing: str) -> None:
    host(tmp_path, "etc/kubernetes/admin.conf", "var/lib/kubelet/config.yaml", *manifests())
    (tmp_path / missing).unlink()
    assert look(tmp_path, silent) == "partial"


def test_hosts_of_other_clusters_are_foreign(tmp_path: Path) -> None:
    node = host(tmp_path / "node", "etc/kubernetes/kubelet.conf")
    assert "is a node of a cluster already" in kubeadm_init.look(node, ENDPOINT, tuple, kubelet_runs=True).detail
    master = host(tmp_path / "master", "etc/kubernetes/admin.conf")
    found = kubeadm_init.look(master, "10.9.9.9:6443", tuple, kubelet_runs=True)
    assert found.state == "foreign"
    assert "https://10.0.0.1:6443, not https://10.9.9.9:6443" in found.detail


def test_the_last_steps_are_asked_for_over_one_connection(tmp_path: Path) -> None:
    fake = FakeKubeApi(tmp_path)
    api = KubeApi(parse_kubeconfig(fake.kubeconfig))
    assert kubeadm_init.missing_steps(api) == tuple(kubeadm_init.LAST_STEPS)
    for path in kubeadm_init.LAST_STEPS.values():
        fake.put(path)
    assert kubeadm_init.missing_steps(api) == ()
    assert fake.connections == 1
    api.close()
    fake.close()


def test_leftovers_are_ignored_by_name_and_only_where_they_are_ours(tmp_path: Path) -> None:
    host(tmp_path, *manifests("kube-apiserver", "etcd"), "etc/kubernetes/pki/etcd/ca.crt", "var/lib/etcd/member/x")
    listening = {6443: "kube-apiserver", 2379: "etcd", 10250: "kubelet", 10257: "nginx", 10259: "kube-scheduler"}
    assert kubeadm.init_leftovers(tmp_path, listening) == [
        "FileAvailable--etc-kubernetes-manifests-kube-apiserver.yaml",
        "FileAvailable--etc-kubernetes-manifests-etcd.yaml",
        "DirAvailable--var-lib-etcd",
        "Port-6443",
        "Port-10250",
        "Port-2379",
    ]  # nginx on a port is not ours, nor is a scheduler without its manifest


def test_etcds_data_without_our_certificates_is_never_ignored(tmp_path: Path) -> None:
    host(tmp_path, *manifests("etcd"), "var/lib/etcd/member/x")
    assert "DirAvailable--var-lib-etcd" not in kubeadm.init_leftovers(tmp_path, {})


def test_listeners_are_found_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 00000000:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1\n"
        "   1: 0100007F:192B 0100007F:8000 01 00000000:00000000 00:00000000 00000000 0 0 4712 1\n"
    )
    (tmp_path / "31/fd").mkdir(parents=True)
    (tmp_path / "31/comm").write_text("kube-apiserver\n")
    (tmp_path / "31/fd/5").symlink_to("socket:[4711]")
    assert kubeadm.listeners(tmp_path) == {6443: "kube-apiserver"}


PREFLIGHT = """[init] Using Kubernetes version: v1.37.2
[preflight] Running pre-flight checks
[preflight] Some fatal errors occurred:
\t[ERROR Port-6443]: Port 6443 is in use
\t[ERROR NumCPU]: the number of available CPUs 1 is less than the required 2
[preflight] If you know what you are doing, you can make a check non-fatal with `--ignore-preflight-errors=...`
error: error execution phase preflight: preflight checks failed
"""


def test_a_failed_check_is_named_with_its_remedy() -> None:
    outcome = kubeadm.Outcome(1, PREFLIGHT, 1.0)
    assert kubeadm.cause(outcome) == (
        "Port-6443: Port 6443 is in use; NumCPU: the number of available CPUs 1 is less than the required 2"
    )
    result = kubeadm.failure("init", outcome)
    assert result["kind"] == "preflight"
    assert result["faults"][0]["check"] == "Port-6443"
    assert "cluster_ignore_preflight_errors" in result["faults"][0]["remedy"]


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("[x] y\nerror: error execution phase kubelet-start: no such thing\nTo see the stack trace\n", "no such thing"),
        ("error execution phase wait-control-plane: timed out\n", "timed out"),
        ("something odd\n", "something odd"),
        ("", "exit code 1 without a word"),
    ],
)
def test_the_cause_is_kubeadms_own_error_line(output: str, cause: str) -> None:
    assert kubeadm.cause(kubeadm.Outcome(1, output, 1.0)) == cause


def test_a_kubelet_that_ends_is_the_cause() -> None:
    journal = [
        "E1123 23:48:11.567789   12136 manager.go:340] Registration of the raw container failed",
        'E1123 23:48:11.567898   12 kubelet.go:1833] "Failed to start cAdvisor" err="inotify_init: too many files"',
        "kubelet.service: Main process exited, code=exited, status=1/FAILURE",
    ]
    assert kubeadm.kubelet_cause(journal) == "Failed to start cAdvisor: inotify_init: too many files"
    assert kubeadm.kubelet_cause(journal[2:]) == ""


def program(folder: Path, text: str) -> str:
    """Write a stand-in for kubeadm."""
    path = folder / "kubeadm"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_configuration_goes_through_memory_and_tokens_stay_out_of_the_output(tmp_path: Path) -> None:
    fake = program(tmp_path, 'cat "$3"; echo; echo "token abcdef.0123456789abcdef"; ls "$PWD" >/dev/null; exit 3')
    with kubeadm.exclusive(1, tmp_path / "run") as lock:
        outcome = kubeadm.run([fake, "init"], "kind: InitConfiguration", lock, 10, tmp_path / "run")
    assert outcome.rc == 3
    assert outcome.output == "kind: InitConfiguration\ntoken (token)\n"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["kubeadm.lock"]


def test_a_kubeadm_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    with kubeadm.exclusive(1, tmp_path / "run") as lock:
        outcome = kubeadm.run([program(tmp_path, "exec sleep 60"), "init"], "", lock, 0.3, tmp_path / "run")
    assert "had not ended" in kubeadm.cause(outcome)


def _killed(folder: Path) -> None:
    with kubeadm.exclusive(1, folder / "run") as lock:
        kubeadm.run([str(folder / "kubeadm"), "init"], "", lock, 60, folder / "run")


def test_a_kubeadm_whose_module_was_killed_is_waited_for(tmp_path: Path) -> None:
    program(tmp_path, f"touch {tmp_path}/started; sleep 1.5; touch {tmp_path}/done")
    killed = multiprocessing.get_context("fork").Process(target=_killed, args=(tmp_path,))
    killed.start()
    while not (tmp_path / "started").exists():
        time.sleep(0.02)
    assert killed.pid is not None
    os.kill(killed.pid, 9)
    killed.join()
    with pytest.raises(kubeadm.BusyError, match="another kubeadm still runs"), kubeadm.exclusive(0.1, tmp_path / "run"):
        pass
    with kubeadm.exclusive(10, tmp_path / "run"):
        assert (tmp_path / "done").exists()


def test_patches_are_kubeadms_files_and_stale_ones_go(tmp_path: Path) -> None:
    kubeadm.write_patches([{"etcd": {"spec": 1}}], tmp_path)
    kubeadm.write_patches([{"corednsdeployment": {"spec": 2}}, {"corednsdeployment": {"spec": 3}}], tmp_path)
    assert sorted(path.name for path in (tmp_path / "patches").iterdir()) == [
        "corednsdeployment0+strategic.json",
        "corednsdeployment1+strategic.json",
    ]
