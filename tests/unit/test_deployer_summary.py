# SPDX-License-Identifier: Apache-2.0
"""The end of the output of a plan and of a status."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.yunkube.control.commands import command
from ansible.module_utils.yunkube.result import Fault
from deployer.arguments import Request
from deployer.commands import PLAYS
from deployer.errors import Exit
from deployer.happenings import Failure, Summary
from deployer.session import next_step
from deployer.views.summary import failure_lines, print_summary

STATUS = {
    "healthy": True,
    "api": {"answers": True, "server": "https://10.0.0.1:6443", "version": "1.37.2", "detail": ""},
    "nodes": [{"name": "master1", "ready": True, "roles": ["control-plane"], "problem": ""}],
    "workloads": [{"name": "DaemonSet kube-system/kube-proxy", "ok": True, "detail": ""}],
    "pods": [],
    "certificates": [{"name": "etc/kubernetes/pki/apiserver.crt", "days": 364}],
}


def printed(capsys: pytest.CaptureFixture[str], **given: Any) -> str:
    """Return the summary as it is printed."""
    standard: dict[str, Any] = {
        "exit_code": 0, "seconds": 1.0, "stages": (), "hosts": {}, "failures": (), "table": (), "status": {},
        "log": "/log", "next": "",
    }  # fmt: skip
    print_summary(Summary(**{**standard, **given}), stages_shown=False)
    return capsys.readouterr().out


def test_a_plan_names_hosts_with_the_same_to_be_done_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("install runc 1.4.3", "start containerd")
    out = printed(
        capsys, verb="plan", exit_code=5, plan={"master1": ("run kubeadm init",), "node1": words, "node2": words}
    )
    assert "master1\n  would run kubeadm init\n" in out
    assert "node1, node2\n  would install runc 1.4.3\n  would start containerd\n" in out


def test_a_plan_of_cloud_hosts_says_what_would_be_made_and_what_comes_next(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(
        capsys, verb="cloud plan", exit_code=5, plan={"localhost": ("create host master-1", "cost 0.1 an hour")}
    )
    assert "localhost\n  would create host master-1\n  would cost 0.1 an hour\n" in out
    assert next_step(Request("cloud plan", "i"), PLAYS["cloud plan"], Exit.CHANGES) == command("cloud up", "i")


def test_a_plan_with_nothing_to_do_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "No changes." in printed(capsys, verb="plan")


def test_a_plan_says_which_hosts_it_could_not_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    words = {"localhost": ("create host node2",)}
    out = printed(capsys, verb="plan", exit_code=5, plan=words, pending=("node2",))
    assert "\nnode2: not checked, as it has to be created or started first\n" in out


def test_a_status_in_order_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, verb="status", status=STATUS, plan={"master1": (), "node1": ()})
    assert "API   https://10.0.0.1:6443, 1.37.2" in out
    assert "Pods  every pod is ready" in out
    assert "Certs the first of 1 to expire is /etc/kubernetes/pki/apiserver.crt, in 364 days" in out
    assert "Hosts master1, node1: as declared" in out
    assert "kube-proxy" not in out


def test_a_status_names_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {
        **STATUS,
        "nodes": [{"name": "node1", "ready": False, "problem": "not ready: KubeletNotReady"}],
        "workloads": [{"name": "DaemonSet kube-system/kube-proxy", "ok": False, "detail": "1 of 2 pods are ready"}],
        "pods": [{"target": "default/web", "detail": "container web is waiting: ImagePullBackOff"}],
        "certificates": [{"name": "etc/kubernetes/admin.conf", "days": 3}, {"name": "ca.crt", "days": 3000}],
    }
    out = printed(capsys, verb="status", status=wrong, plan={"node1": ("write /etc/x", "restart kubelet"), "node2": ()})
    for text in (
        "not ready: KubeletNotReady", "1 of 2 pods are ready", "default/web", "ImagePullBackOff",
        "Certs /etc/kubernetes/admin.conf expires in 3 days", "Hosts node1: would write /etc/x; would restart kubelet",
        "Hosts node2: as declared",
    ):  # fmt: skip
        assert text in out
    assert "every pod is ready" not in out


def test_a_silent_api_is_said_and_nothing_is_called_ready(capsys: pytest.CaptureFixture[str]) -> None:
    silent = {
        "healthy": False,
        "api": {"answers": False, "server": "", "version": "", "detail": "refused; kubelet is not running"},
        "nodes": [], "workloads": [], "pods": [], "certificates": [],
    }  # fmt: skip
    out = printed(capsys, verb="status", status=silent, plan={})
    assert "API   does not answer: refused; kubelet is not running" in out
    assert "ready" not in out
    assert "Hosts not compared" in out


def test_a_run_that_saw_nothing_does_not_say_why_hosts_were_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert "compared" not in printed(capsys, verb="status", status={}, plan={})  # such as with a vault that is locked


def test_faults_are_headed_by_their_task_and_each_names_its_host() -> None:
    fault = Fault("node1: address", "is the same as of master1", "give each host its own")
    failure = Failure(host="master1", task="Fail if a host failed a check", path="", message="", faults=(fault,))
    assert failure_lines(failure) == [
        "Fail if a host failed a check: 1 to fix",
        "  node1: address: is the same as of master1; give each host its own",
    ]
