# SPDX-License-Identifier: Apache-2.0
"""Certificates are renewed on a running cluster: without a gap of the API, as it is configured, and only when due.

The tests follow each other on the same hosts: two masters and a node.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube.api import parse_kubeconfig
from ansible.module_utils.yunkube.kube.x509 import Certificate, read_certificate
from laboratory import Lab, docker

LAB = ("certs", "10.119.0", 2, 1)
UP_MAKES_HOSTS = True
SETTINGS = """\
master_key_algorithm: ECDSA-P384
master_cluster_configuration: {certificateValidityPeriod: 4380h0m0s}
dashboard_provider: kube_web_view
"""
MASTERS = ("master1", "master2")
NODE_PORT = 30443
MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"


def certificates(lab: Lab, host: str) -> dict[str, Certificate]:
    """Return what a master has issued, by file."""
    script = 'cd /etc/kubernetes && for f in pki/*.crt pki/etcd/*.crt *.conf; do echo "== $f"; cat $f; done'
    found = {}
    for part in lab.run(host, script).split("== ")[1:]:
        name, _, text = part.partition("\n")
        if not name.endswith("ca.crt") and name != "kubelet.conf":
            pem = parse_kubeconfig(text).certificate.decode() if name.endswith(".conf") else text
            found[name] = read_certificate(pem)
    return found


def shown(address: str, port: int) -> Certificate:
    """Return the certificate that a server shows."""
    return read_certificate(ssl.get_server_certificate((address, port), timeout=10))


def starts(lab: Lab, host: str) -> dict[str, str]:
    """Return when each container of the control plane was created."""
    crictl = "crictl --runtime-endpoint unix:///run/containerd/containerd.sock ps --output json"
    listed = json.loads(lab.run(host, crictl))["containers"]
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    return {one["metadata"]["name"]: one["createdAt"] for one in listed if one["metadata"]["name"] in names}


def until(happened: Callable[[], bool], seconds: float = 180) -> None:
    """Wait until something has happened."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@contextlib.contextmanager
def asking(lab: Lab) -> Iterator[list[str]]:
    """Ask the API at its endpoint ten times a second, each time on a new connection; give what failed."""
    config = parse_kubeconfig((lab.state / "kubeconfig").read_text())
    context = ssl.create_default_context(cadata=config.ca.decode())
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(config.certificate + b"\n" + config.key)
        pair.flush()
        context.load_cert_chain(pair.name)
    failed: list[str] = []
    asked: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.1):
            asked.append(time.monotonic())
            connection = http.client.HTTPSConnection(config.server.removeprefix("https://"), timeout=5, context=context)
            try:
                connection.request("GET", "/api/v1/namespaces/kube-system/configmaps/kubeadm-config")
                if (status := connection.getresponse().status) != 200:
                    failed.append(f"HTTP status {status}")
            except (OSError, http.client.HTTPException) as error:
                failed.append(repr(error))
            finally:
                connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield failed
    finally:
        ended.set()
        thread.join()
        sys.stdout.write(f"\n{len(failed)} of {len(asked)} requests failed: {failed[:5]}\n")
    assert len(asked) > 50


def test_up_makes_a_cluster(lab: Lab) -> None:
    result = lab.deploy("up")
    assert result.code == 0, result.errors


def test_nothing_is_due_on_a_new_cluster(lab: Lab) -> None:
    before = {host: certificates(lab, host) for host in MASTERS}
    result = lab.deploy("certs renew")
    assert result.code == 0, result.errors
    assert set(result.changed.values()) == {0}
    rows = {(row["check"], row["target"]): (row["before"], row["after"]) for row in result.summary["table"]}
    assert rows["/etc/kubernetes/pki/apiserver.crt", "master2"] in ((182, 182), (181, 181))
    assert ("/var/lib/kubelet/pki/kubelet-client-current.pem", "master1") in rows
    assert ("Secret dashboard/dashboard-tls", "cluster") in rows
    assert {host: certificates(lab, host) for host in MASTERS} == before


def test_a_dry_run_lists_everything_and_changes_nothing(lab: Lab) -> None:
    before = {host: (certificates(lab, host), starts(lab, host)) for host in MASTERS}
    kubeconfig = (lab.state / "kubeconfig").read_text()
    result = lab.deploy("certs renew", "--all", "--dry-run")
    assert result.code == 0, result.errors
    assert all(result.changed[host] for host in MASTERS)
    assert {host: (certificates(lab, host), starts(lab, host)) for host in MASTERS} == before
    assert not lab.succeeds("master1", "ls -d /var/lib/yunkube/doctor/*-certs-renew")
    assert (lab.state / "kubeconfig").read_text() == kubeconfig


def test_one_that_is_stopped_or_not_well_keeps_all_as_they_are(lab: Lab) -> None:
    before = {host: certificates(lab, host) for host in MASTERS}
    lab.run("master2", f"mv {MANIFEST} /root/")
    try:
        until(lambda: not lab.succeeds("master2", "pgrep --exact kube-apiserver"))
        broken = lab.deploy("certs renew", "--all")
    finally:
        lab.run("master2", f"mv /root/kube-apiserver.yaml {MANIFEST}")
    assert broken.code == 3, broken.errors
    assert broken.faults.splitlines() == [
        f"control plane: {MANIFEST} is missing; `doctor` says why, and what to do about it"
    ]
    assert "Nothing was changed." in broken.errors
    assert {host: certificates(lab, host) for host in MASTERS} == before


def test_all_are_renewed_without_a_gap_of_the_api_and_used(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    ready = "curl --silent --insecure --fail https://127.0.0.1:6443/readyz"
    until(lambda: lab.succeeds("master2", ready))  # it comes back
    before = {host: certificates(lab, host) for host in MASTERS}
    started = {host: starts(lab, host) for host in MASTERS}
    dashboard = shown(f"{lab.network}.21", NODE_PORT)
    kubeconfig = (lab.state / "kubeconfig").read_text()
    with capsys.disabled(), asking(lab) as failed:
        began = time.monotonic()
        result = lab.deploy("certs renew", "--all")
        sys.stdout.write(f"\n{time.monotonic() - began:6.1f} s  certs renew --all of two masters\n")
    assert result.code == 0, result.errors
    assert failed == []
    for host in MASTERS:
        now = certificates(lab, host)
        assert set(now) == set(before[host])
        assert [name for name in now if now[name].public_key == before[host][name].public_key] == []
        assert {one.algorithm for one in now.values()} == {"ECDSA-P384"}
        ends = [one.not_after for one in now.values()]
        assert 180 * 86400 < min(ends).timestamp() - time.time() < max(ends).timestamp() - time.time() < 183 * 86400
        later = starts(lab, host)
        again = {name for name in later if later[name] != started[host][name]}
        assert again == {"kube-controller-manager", "kube-scheduler"}
        address = f"{lab.network}.{11 + MASTERS.index(host)}"
        assert shown(address, 6443) == now["pki/apiserver.crt"]
        assert lab.run(host, "find /var/lib/yunkube/doctor -name '*.key' -perm /077") == ""
    assert shown(f"{lab.network}.21", NODE_PORT).public_key != dashboard.public_key
    assert (lab.state / "kubeconfig").read_text() != kubeconfig
    assert lab.kubectl("auth", "whoami", "--output=jsonpath={.status.userInfo.username}") == "kubernetes-admin"
    log = Path(result.summary["log"]).read_text()
    assert not re.search("PRIVATE KEY|client-key-data: [^(]", log)


def test_afterwards_nothing_is_due_and_nothing_differs(lab: Lab) -> None:
    result = lab.deploy("certs renew")
    assert (result.code, set(result.changed.values())) == (0, {0}), result.errors
    up = lab.deploy("up")
    assert (up.code, set(up.changed.values())) == (0, {0}), (up.errors, up.summary)


def test_a_master_that_does_not_answer_is_one_line(lab: Lab) -> None:
    before = certificates(lab, "master1")
    docker("stop", "--timeout", "1", f"yunkube-{lab.name}-master2")
    result = lab.deploy("certs renew", "--all")
    assert result.code in (3, 4), result.errors  # of two members of etcd, one has no quorum
    assert "master2" in [failure["host"] for failure in result.failures if failure["unreachable"]]
    assert "Nothing was changed." in result.errors
    assert certificates(lab, "master1") == before
