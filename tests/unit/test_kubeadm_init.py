# SPDX-License-Identifier: Apache-2.0
"""What kubeadm_init does in each state that it finds, and how it runs kubeadm."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
import types
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import bootstrap_tokens, control_plane, kubeadm
from ansible.module_utils.yunkube.kube.api import DAMAGED, KubeApi, KubeError, parse_kubeconfig
from fake_kube_api import FakeKubeApi

ENDPOINT = "10.0.0.1:6443"
CONFIG = (
    "clusters:\n- cluster:\n    certificate-authority-data: eA==\n    server: https://10.0.0.1:6443\n"
    "users:\n- user:\n    client-certificate-data: eA==\n    client-key-data: eA==\n"
)


def host(root: Path, *files: str) -> Path:
    """Write files on a host; kubeconfigs with content."""
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
    return control_plane.look(root, ENDPOINT, ask, kubelet_runs=kubelet_runs).state


def test_a_bare_host_has_no_control_plane(tmp_path: Path) -> None:
    assert look(tmp_path, silent) == "absent"


def test_a_control_plane_with_kubeadms_last_steps_is_complete(tmp_path: Path) -> None:
    host(tmp_path, "etc/kubernetes/admin.conf")
    assert look(tmp_path) == "complete"
    assert look(tmp_path, kubelet_runs=False) == "stopped"


def test_a_control_plane_without_them_is_partial(tmp_path: Path) -> None:
    host(tmp_path, "etc/kubernetes/admin.conf")
    found = control_plane.look(tmp_path, ENDPOINT, lambda: ("DaemonSet kube-proxy",), kubelet_runs=True)
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
    assert "is a node of a cluster already" in control_plane.look(node, ENDPOINT, tuple, kubelet_runs=True).detail
    master = host(tmp_path / "master", "etc/kubernetes/admin.conf")
    found = control_plane.look(master, "10.9.9.9:6443", tuple, kubelet_runs=True)
    assert found.state == "foreign"
    assert "https://10.0.0.1:6443, not https://10.9.9.9:6443" in found.detail


@pytest.mark.parametrize("error", [KubeError("x shows …: expired", reason="Certificate"), KubeError("no", 401)])
def test_a_control_plane_with_an_expired_certificate_is_neither_foreign_nor_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: KubeError
) -> None:
    def ask() -> tuple[str, ...]:
        raise error

    def end(**result: t.Any) -> t.NoReturn:
        raise ValueError(str(result))

    host(tmp_path, "etc/kubernetes/admin.conf", "var/lib/kubelet/config.yaml", *manifests())
    assert look(tmp_path, ask) == "rejected"
    monkeypatch.setattr(kubeadm, "exclusive", lambda _seconds: pytest.fail("it goes on to run kubeadm"))
    options = {"endpoint": ENDPOINT, "others": {}, "recorded": "", "config": "", "timeout": 1, "boot_timeout": 0}
    module = types.SimpleNamespace(
        params={**options, "kubeconfig_server": ""}, check_mode=False, fail_json=end, exit_json=end
    )
    init = control_plane.Init(t.cast("t.Any", module))
    init.root = tmp_path
    monkeypatch.setattr(init, "_ask", ask)
    with pytest.raises(ValueError, match=r"certificate: .*expired.*'commands': \['doctor'\]"):
        init.run()


def test_a_damaged_kubeconfig_ends_the_run_however_it_is_found_out(tmp_path: Path) -> None:
    def ask() -> tuple[str, ...]:
        raise KubeError("/etc/kubernetes/admin.conf cannot be used: no key; restore it", reason=DAMAGED)

    def end(**result: t.Any) -> t.NoReturn:
        raise ValueError(result["msg"])

    host(tmp_path, "etc/kubernetes/admin.conf", "var/lib/kubelet/config.yaml", *manifests())
    module = types.SimpleNamespace(params={"endpoint": ENDPOINT}, fail_json=end)
    init = control_plane.Init(t.cast("t.Any", module))
    init.root = tmp_path
    init._ask = ask  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"^/etc/kubernetes/admin.conf cannot be used: no key; restore it$"):
        init.look()
    path = tmp_path / "etc/kubernetes/admin.conf"
    path.write_text(path.read_text()[:40])
    with pytest.raises(ValueError, match=rf"^{path} cannot be used: the kubeconfig has no [\w-]+; restore it"):
        init.look()


def objection(others: dict[str, bool | None], recorded: str = "", *, answers: bool = False) -> str:
    """Return why no cluster is to be made, in a line."""
    options = {"endpoint": ENDPOINT, "others": others, "recorded": recorded}
    fault = control_plane.objection(options, lambda endpoint: answers and endpoint == ENDPOINT)
    return f"{fault.message}; {fault.remedy}" if fault else ""


def test_a_first_cluster_is_made() -> None:
    assert objection({}) == ""
    assert objection({"m2": False, "m3": False}) == ""


def test_no_second_cluster_is_made_beside_a_master_that_has_it() -> None:
    said = objection({"m2": True, "m3": False}, answers=True)
    assert "the cluster is on m2" in said
    assert f"cluster_control_plane_host: m2 and cluster_control_plane_endpoint: {ENDPOINT}" in said
    assert "make a running master answer" not in said
    assert "make a running master answer" in objection({"m2": True})


def test_no_second_cluster_is_made_where_there_may_be_one() -> None:
    assert f"an API answers at {ENDPOINT}" in objection({}, answers=True)
    assert "master_cluster_lost" in objection({}, "/state/kubeconfig")
    living = objection({}, "/state/kubeconfig", answers=True)
    assert (
        f"made before (/state/kubeconfig), and this host has no control plane, while an API answers at {ENDPOINT}"
        in living
    )
    assert "lost" not in living
    assert "unknown whether m2 has the cluster" in objection({"m2": None, "m3": False})


@pytest.mark.parametrize("check_mode", [True, False])
def test_the_module_refuses_before_it_does_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    def end(**result: t.Any) -> t.NoReturn:
        raise ValueError(str(result))

    monkeypatch.setattr(kubeadm, "exclusive", lambda _seconds: pytest.fail("it goes on to run kubeadm"))
    options = {"endpoint": "127.0.0.1:1", "others": {"m2": True}, "recorded": "", "config": "", "timeout": 1}
    module = types.SimpleNamespace(
        params={**options, "kubeconfig_server": ""}, check_mode=check_mode, fail_json=end, exit_json=end
    )
    init = control_plane.Init(t.cast("t.Any", module))
    init.root = tmp_path
    with pytest.raises(ValueError, match="the cluster is on m2"):
        init.run()


@pytest.mark.parametrize(
    ("files", "new"),
    [
        ([], True),
        (["etc/kubernetes/admin.conf"], True),  # killed before etcd had data, or while it joined
        (["etc/kubernetes/admin.conf", "var/lib/etcd/member/snap"], False),
    ],
)
def test_what_kubeadm_would_recreate_is_distinguished_from_what_it_continues(
    tmp_path: Path, files: list[str], new: bool
) -> None:
    host(tmp_path, *files)
    found = control_plane.look(tmp_path, ENDPOINT, silent, kubelet_runs=False)
    assert control_plane.is_new(found, tmp_path) is new


def test_an_api_is_distinguished_from_another_program_on_its_port(tmp_path: Path) -> None:
    fake = FakeKubeApi(tmp_path)
    assert control_plane.api_answers(fake.address)
    fake.close()
    with socket.create_server(("127.0.0.1", 0)) as other:

        def hang_up() -> None:
            other.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert not control_plane.api_answers(f"127.0.0.1:{other.getsockname()[1]}")
        thread.join()
    assert not control_plane.api_answers("127.0.0.1:1")


class Module:
    """As much of a module as the end of an init uses."""

    params: t.ClassVar[dict[str, t.Any]] = {}

    def __init__(self) -> None:
        """Begin with nothing."""
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Keep it."""
        self.warnings.append(text)


def test_a_token_that_cannot_be_deleted_does_not_fail_a_cluster_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeKubeApi(tmp_path)
    fake.refuse[f"GET {bootstrap_tokens.SECRETS}"] = (503, "etcdserver: leader changed")
    config = parse_kubeconfig(fake.kubeconfig)
    monkeypatch.setattr(KubeApi, "from_file", classmethod(lambda cls, timeout: cls(config, timeout)))
    module = Module()
    control_plane.Init(t.cast("t.Any", module))._take_back_tokens()
    assert "leader changed" in module.warnings[0]
    fake.close()


def systemctl(folder: Path, monkeypatch: pytest.MonkeyPatch, *, start: int, active: int) -> None:
    """Put a systemctl and a journalctl first in the path."""
    text = f"case $1 in is-active) exit {active};; *) echo 'Unit kubelet.service is masked.' >&2; exit {start};; esac"
    program(folder, text).rename(folder / "systemctl")
    said = 'E1123 23:48:11.567898   12 run.go:72] "command failed" err="no such file"'
    program(folder, f"echo '{said}'").rename(folder / "journalctl")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_a_kubelet_that_does_not_start_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl(tmp_path, monkeypatch, start=1, active=3)
    assert kubeadm.start_kubelet() == "systemctl start kubelet: Unit kubelet.service is masked."
    systemctl(tmp_path, monkeypatch, start=0, active=3)
    assert kubeadm.start_kubelet(again=True) == "the kubelet does not stay up: command failed: no such file"
    systemctl(tmp_path, monkeypatch, start=0, active=0)
    assert kubeadm.start_kubelet(seconds=0.1) == ""


def test_the_last_steps_are_asked_for_over_one_connection(tmp_path: Path) -> None:
    fake = FakeKubeApi(tmp_path)
    api = KubeApi(parse_kubeconfig(fake.kubeconfig))
    assert control_plane.missing_steps(api) == tuple(control_plane.LAST_STEPS)
    for path in control_plane.LAST_STEPS.values():
        fake.put(path)
    assert control_plane.missing_steps(api) == ()
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
        "Port-2380",
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
        ("", "exit code 1 without any output"),
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


def program(folder: Path, text: str) -> Path:
    """Write a stand-in for kubeadm."""
    path = folder / "kubeadm"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_configuration_goes_through_memory_and_tokens_stay_out_of_the_output(tmp_path: Path) -> None:
    fake = str(program(tmp_path, 'cat "$3"; echo; echo "token abcdef.0123456789abcdef"; ls "$PWD" >/dev/null; exit 3'))
    with kubeadm.exclusive(1, tmp_path / "run") as lock:
        outcome = kubeadm.run([fake, "init"], "kind: InitConfiguration", lock, 10, tmp_path / "run")
    assert outcome.rc == 3
    assert outcome.output == "kind: InitConfiguration\ntoken (token)\n"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["kubeadm.lock"]


def test_a_proxy_of_the_login_is_nothing_to_kubeadm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "http://192.0.2.1:3128")
    monkeypatch.setenv("PROXY_OF_MINE", "stays")
    fake = str(program(tmp_path, "env | grep -iE '_proxy=|proxy_of_mine'"))
    with kubeadm.exclusive(1, tmp_path / "run") as lock:
        outcome = kubeadm.run([fake, "init"], "", lock, 10, tmp_path / "run")
    assert outcome.output == "PROXY_OF_MINE=stays\n"


def test_a_kubeadm_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    with kubeadm.exclusive(1, tmp_path / "run") as lock:
        outcome = kubeadm.run([str(program(tmp_path, "exec sleep 60")), "init"], "", lock, 0.3, tmp_path / "run")
    assert "timed out" in kubeadm.cause(outcome)
    assert "run the same command again" in kubeadm.failure("init", outcome, "master_init_timeout")["remedy"]
    assert "master_init_timeout" in kubeadm.failure("init", outcome, "master_init_timeout")["remedy"]


@pytest.mark.parametrize(
    "output",
    [
        "error execution phase wait-control-plane: [kube-apiserver check failed at https://10.0.0.1:6443: refused]",
        "error execution phase upload-config: Post: net/http: request canceled: timeout awaiting response headers",
    ],
)
def test_a_kubeadm_that_gave_up_waiting_may_be_run_again(output: str) -> None:
    late = kubeadm.failure("init", kubeadm.Outcome(1, output, 240.0), "master_init_timeout")
    assert "run the same command again" in late["remedy"]
    other = kubeadm.Outcome(1, "error execution phase kubelet-start: no such thing\n", 1.0)
    assert "remedy" not in kubeadm.failure("init", other, "master_init_timeout")


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
