# SPDX-License-Identifier: Apache-2.0
"""What kubeadm_join does in each state that it finds."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import kubeadm_init
import kubeadm_join
import pytest
from ansible.module_utils.yunkube.kube import control_plane, kubeadm
from ansible.module_utils.yunkube.kube import join as kube_join
from ansible.module_utils.yunkube.kube.api import KubeError
from ansible.module_utils.yunkube.kube.x509 import read_certificate

ENDPOINT = "10.0.0.1:6443"
CONFIG = (
    "clusters:\n- cluster:\n    certificate-authority-data: eA==\n    server: https://10.0.0.1:6443\n"
    "users:\n- user:\n    client-certificate-data: eA==\n    client-key-data: eA==\n"
)


def answer(status: int = 0, reason: str = "") -> t.Callable[[], object]:
    """Return an API that says no."""

    def ask() -> object:
        raise KubeError("GET node: no", status, reason)

    return ask


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    """Return a host with a kubelet.conf."""
    (tmp_path / "etc/kubernetes/pki").mkdir(parents=True)
    (tmp_path / "etc/kubernetes/kubelet.conf").write_text(CONFIG)
    return tmp_path


def test_a_bare_host_has_not_joined(tmp_path: Path) -> None:
    assert kube_join.look(tmp_path, ENDPOINT, dict).state == "absent"


@pytest.mark.parametrize(
    ("ask", "state"),
    [
        (dict, "joined"),
        (answer(), "joined"),  # a silent API is no reason to join again
        (answer(404), "unknown"),
        (answer(401), "foreign"),
        (answer(403), "foreign"),
        (answer(0, "OtherCluster"), "foreign"),
    ],
)
def test_the_api_says_whose_node_a_host_is(joined: Path, ask: t.Callable[[], object], state: str) -> None:
    assert kube_join.look(joined, ENDPOINT, ask).state == state


def test_a_damaged_kubeconfig_is_not_taken_for_a_silent_api(joined: Path) -> None:
    with pytest.raises(KubeError, match="GET node: no"):
        kube_join.look(joined, ENDPOINT, answer(0, "Damaged"))


def test_a_node_whose_certificate_has_expired_is_not_called_another_clusters(joined: Path) -> None:
    conf, pem = joined / "etc/kubernetes/kubelet.conf", joined / "var/lib/kubelet/pki/kubelet-client-current.pem"
    conf.write_text(conf.read_text().replace("client-certificate-data: eA==", f"client-certificate: {pem}"))
    under_root = joined / str(pem).lstrip("/")
    for path in (pem, under_root):
        path.parent.mkdir(parents=True)
    under_root.symlink_to(pem)
    new = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=n1"]
    calls = [[*new, "-keyout", f"{joined}/key", "-out", f"{joined}/csr"]]
    for days, state in (("0", "expired"), ("9", "foreign")):
        calls.append(["x509", "-req", "-in", f"{joined}/csr", "-signkey", f"{joined}/key", "-out", str(pem)])
        calls[-1] += ["-days", days]
        while calls:
            subprocess.run(["openssl", *calls.pop(0)], check=True, capture_output=True)
        assert kube_join.look(joined, ENDPOINT, answer(401)).state == state
    pem.write_text("")
    assert kube_join.look(joined, ENDPOINT, answer(401)).state == "foreign"


def test_a_kubelet_that_never_got_its_certificate_has_not_joined(joined: Path) -> None:
    conf, pem = joined / "etc/kubernetes/kubelet.conf", joined / "var/lib/kubelet/pki/kubelet-client-current.pem"
    for key in ("certificate", "key"):
        text = conf.read_text().replace(f"client-{key}-data: eA==", f"client-{key}: /{pem.relative_to(joined)}")
        conf.write_text(text)
    assert kube_join.look(joined, ENDPOINT, dict).state == "absent"
    assert "FileAvailable--etc-kubernetes-kubelet.conf" in kubeadm.join_leftovers(joined, {})
    pem.parent.mkdir(parents=True)
    pem.touch()
    assert kube_join._has_certificate(joined, conf)


def test_a_master_that_is_not_marked_has_not_joined_to_the_end(joined: Path) -> None:
    def node(**labels: str) -> t.Callable[[], object]:
        return lambda: {"metadata": {"labels": labels}}

    marked = {"node-role.kubernetes.io/control-plane": ""}
    assert kube_join.look(joined, ENDPOINT, node(), master=True).state == "partial"
    assert kube_join.look(joined, ENDPOINT, node(**marked), master=True).state == "joined"
    assert kube_join.look(joined, ENDPOINT, node(), master=False).state == "joined"
    assert kube_join.look(joined, ENDPOINT, answer(), master=True).state == "joined"


def test_a_node_of_another_endpoint_is_foreign(joined: Path) -> None:
    found = kube_join.look(joined, "10.9.9.9:6443", dict)
    assert found.state == "foreign"
    assert found.detail.endswith("at https://10.0.0.1:6443, and cluster_control_plane_endpoint is 10.9.9.9:6443")
    assert found.remedy.startswith("where that is the same cluster, write the endpoint that it has")


def test_nobody_is_advised_to_reset_a_host() -> None:
    for module in (kubeadm_init, control_plane, kubeadm_join, kube_join):
        assert "`kubeadm reset`" not in Path(str(module.__file__)).read_text().replace("Never `kubeadm reset`", "")


def test_a_masters_kubelet_may_ask_its_own_api_server(joined: Path) -> None:
    (joined / kubeadm.MANIFESTS).mkdir()
    (joined / kubeadm.MANIFESTS / "kube-apiserver.yaml").touch()
    assert kube_join.look(joined, "lb.example.org:6443", dict).state == "joined"


def test_leftovers_of_a_join_are_ignored_by_name(tmp_path: Path) -> None:
    assert kubeadm.join_leftovers(tmp_path, {10250: "kubelet"}) == []
    (tmp_path / "etc/kubernetes/pki").mkdir(parents=True)
    (tmp_path / "etc/kubernetes/pki/ca.crt").touch()
    (tmp_path / "etc/kubernetes/bootstrap-kubelet.conf").touch()
    assert kubeadm.join_leftovers(tmp_path, {10250: "kubelet"}) == [
        "FileAvailable--etc-kubernetes-bootstrap-kubelet.conf",
        "FileAvailable--etc-kubernetes-pki-ca.crt",
        "Port-10250",
    ]


def test_what_an_interrupted_join_started_may_begin_to_listen_at_any_moment(tmp_path: Path) -> None:
    # An API server that waits for its etcd comes and goes: it may listen when kubeadm looks, if not when we do.
    manifests = tmp_path / kubeadm.MANIFESTS
    manifests.mkdir(parents=True)
    (tmp_path / "etc/kubernetes/kubelet.conf").touch()
    assert kubeadm.join_leftovers(tmp_path, {})[1:] == ["Port-10250"]
    (manifests / "kube-apiserver.yaml").touch()
    assert "Port-6443" in kubeadm.join_leftovers(tmp_path, {})
    assert "Port-6443" in kubeadm.join_leftovers(tmp_path, {6443: "kube-apiserver"})
    assert "Port-6443" not in kubeadm.join_leftovers(tmp_path, {6443: "nginx"})


def test_another_clusters_ca_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "etc/kubernetes/pki/ca.crt"
    path.parent.mkdir(parents=True)
    assert kube_join.wrong_ca(tmp_path, f"sha256:{'0' * 64}") == ""
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null"]
    subprocess.run(
        ["openssl", "req", "-x509", *made, "-out", str(path), "-subj", "/CN=k"], check=True, capture_output=True
    )
    pin = read_certificate(path.read_text()).pin
    assert kube_join.wrong_ca(tmp_path, f'caCertHashes: ["{pin}"]') == ""
    assert "another cluster's CA" in kube_join.wrong_ca(tmp_path, f"sha256:{'0' * 64}")
