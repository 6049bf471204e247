# SPDX-License-Identifier: Apache-2.0
"""Tokens as kubeadm makes them, and why there are none."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import json
import os
import re
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import kubeadm_token
import pytest
import real_module
from ansible.module_utils.yunkube.host import run_lock
from ansible.module_utils.yunkube.kube import api as kube_api
from ansible.module_utils.yunkube.kube import bootstrap_tokens, kubeadm
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError, parse_kubeconfig
from fake_kube_api import FakeKubeApi
from kube_api_server import ApiServer

ROOT = Path(__file__).resolve().parents[2]


def test_a_token_is_new_each_time_and_well_formed() -> None:
    tokens = {".".join(bootstrap_tokens.new_token()) for _ in range(20)}
    assert len(tokens) == 20
    assert all(re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token) for token in tokens)


def test_the_secret_is_what_kubeadm_makes() -> None:
    secret = bootstrap_tokens.secret_of(
        "abcdef", "0123456789abcdef", "node1", dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC).timestamp()
    )
    assert secret["metadata"] == {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}
    assert secret["type"] == "bootstrap.kubernetes.io/token"
    assert secret["stringData"]["expiration"] == "2026-11-23T12:00:00Z"
    assert secret["stringData"]["description"] == "join of node1"
    assert secret["stringData"]["auth-extra-groups"] == "system:bootstrappers:kubeadm:default-node-token"


@pytest.fixture
def api(server: ApiServer) -> t.Iterator[KubeApi]:
    """A client of an API whose cluster-info is signed for no token yet."""
    server.put(bootstrap_tokens.CLUSTER_INFO, data={"kubeconfig": "x"})
    with KubeApi(parse_kubeconfig(server.kubeconfig)) as client:
        yield client


def tokens_in(server: ApiServer) -> list[str]:
    """Return the names of the token Secrets that are there."""
    return server.names(bootstrap_tokens.SECRETS)


def test_tokens_are_given_out_once_they_are_signed(server: ApiServer, api: KubeApi) -> None:
    signed = {"kubeconfig": "x", "jws-kubeconfig-abcdef": "y", "jws-kubeconfig-ghijkl": "z"}
    threading.Timer(0.3, lambda: server.put(bootstrap_tokens.CLUSTER_INFO, data=signed)).start()
    bootstrap_tokens.wait_for_signatures(api, ["abcdef", "ghijkl"], 10)
    with pytest.raises(KubeError, match="does not sign"):
        bootstrap_tokens.wait_for_signatures(api, ["abcdef", "zzzzzz"], 0.1)


def test_every_host_gets_a_token_of_its_own(server: ApiServer, api: KubeApi) -> None:
    hosts = [f"node{number}" for number in range(1, 41)]
    with bootstrap_tokens.minted(api, hosts, 900) as tokens:
        assert list(tokens) == hosts
        assert len({one["token"] for one in tokens.values()}) == 40
        assert sorted(tokens_in(server)) == sorted(f"bootstrap-token-{one['token_id']}" for one in tokens.values())


def test_what_was_minted_is_revoked_where_it_cannot_be_used(server: ApiServer, api: KubeApi) -> None:
    with pytest.raises(KubeError), bootstrap_tokens.minted(api, ["node1", "node2"], 900) as tokens:
        bootstrap_tokens.wait_for_signatures(api, [one["token_id"] for one in tokens.values()], 0.1)
    assert tokens_in(server) == []


def test_a_token_that_a_killed_run_left_for_the_host_is_revoked(server: ApiServer, api: KubeApi) -> None:
    for token, text in (("aaaaaa", "join of node1"), ("bbbbbb", "join of node11"), ("cccccc", "mine")):
        data = {"description": base64.b64encode(text.encode()).decode()}
        server.put(f"{bootstrap_tokens.SECRETS}/bootstrap-token-{token}", type=bootstrap_tokens.TYPE, data=data)
    with bootstrap_tokens.minted(api, ["node1", "node2"], 900) as tokens:
        new = [f"bootstrap-token-{one['token_id']}" for one in tokens.values()]
        assert sorted(tokens_in(server)) == sorted(["bootstrap-token-bbbbbb", "bootstrap-token-cccccc", *new])


Fail = t.Callable[..., str]


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fail:
    """The module on a host of the test's own, which fails: from a kubeconfig and options to the reason."""
    conf, folder = tmp_path / "admin.conf", tmp_path / "run"
    monkeypatch.setattr(KubeApi, "from_file", lambda: KubeApi(kube_api.read_kubeconfig(str(conf)), 3))
    monkeypatch.setattr(kubeadm, "exclusive", functools.partial(kubeadm.exclusive, folder=folder))
    monkeypatch.setattr(kubeadm, "run", functools.partial(kubeadm.run, folder=folder))
    monkeypatch.setattr(run_lock, "FOLDER", tmp_path / "lock")
    monkeypatch.setattr(kubeadm_token, "scaled", lambda _: 0.2)

    def reason(kubeconfig: str, **options: t.Any) -> str:
        if kubeconfig:
            conf.write_text(kubeconfig)
        _, result = real_module.run(kubeadm_token.main, {"hosts": ["node1"], **options}, monkeypatch, capsys)
        assert result["failed"]
        return str(result["msg"])

    return reason


@pytest.mark.parametrize("check", [False, True])
def test_tokens_are_revoked_and_a_check_says_which_would_be(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], check: bool
) -> None:
    monkeypatch.setattr(KubeApi, "from_file", lambda: KubeApi(parse_kubeconfig(server.kubeconfig), 3))
    monkeypatch.setattr(run_lock, "FOLDER", tmp_path / "lock")
    for token in ("aaaaaa", "bbbbbb"):
        server.put(f"{bootstrap_tokens.SECRETS}/bootstrap-token-{token}", type=bootstrap_tokens.TYPE)

    def revoke(*tokens: str) -> dict[str, t.Any]:
        options = {"hosts": ["node1"], "state": "absent", "token_ids": tokens, "_ansible_check_mode": check}
        result = real_module.run(kubeadm_token.main, options, monkeypatch, capsys)[1]
        return {key: value for key, value in result.items() if key not in ("invocation", "failed")}

    assert revoke("aaaaaa", "zzzzzz") == {"changed": True, "changes": ["revoke the tokens of node1"]}
    assert tokens_in(server) == [
        f"bootstrap-token-{token}" for token in (("aaaaaa", "bbbbbb") if check else ("bbbbbb",))
    ]
    assert revoke("zzzzzz") == {"changed": False, "changes": []}


def test_tokens_that_a_check_did_not_create_need_no_api(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(KubeApi, "from_file", lambda: pytest.fail("there is no cluster yet"))
    monkeypatch.setattr(run_lock, "FOLDER", tmp_path / "lock")
    options = {"hosts": ["node1"], "state": "absent", "token_ids": [""], "_ansible_check_mode": True}
    result = real_module.run(kubeadm_token.main, options, monkeypatch, capsys)[1]
    assert (result["changed"], result["changes"]) == (False, [])


def program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a kubeadm, which is not run."""
    find = "ansible.module_utils.basic.AnsibleModule.get_bin_path"
    monkeypatch.setattr(find, lambda _self, name, **_: str(folder / name))


def test_a_host_that_is_no_master_is_told(failing: Fail) -> None:
    assert "admin.conf does not exist: this host is not a master yet" in failing("")


def test_a_kubeconfig_that_is_broken_is_told(failing: Fail) -> None:
    assert "admin.conf cannot be used: the kubeconfig has no server; restore it" in failing("apiVersion: v1\n")


def test_the_pin_of_a_damaged_kubeconfig_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap_tokens, "ADMIN_CONF", str(tmp_path / "admin.conf"))
    (tmp_path / "admin.conf").write_text("apiVersion: v1\n")
    with pytest.raises(KubeError, match=r"admin.conf cannot be used: the kubeconfig has no server; restore it"):
        bootstrap_tokens.ca_pin()


def test_an_api_that_is_down_is_told(failing: Fail, server: ApiServer) -> None:
    port = server.address.rpartition(":")[2]
    reason = failing(server.kubeconfig.replace(f":{port}", ":1"))
    assert "127.0.0.1:1" in reason
    assert "refused" in reason


def test_an_api_that_forbids_is_told(failing: Fail, fake: FakeKubeApi) -> None:
    fake.refuse[f"GET {bootstrap_tokens.SECRETS}"] = (403, "not you")
    assert "not you" in failing(fake.kubeconfig)


def test_a_controller_manager_that_is_down_is_told(failing: Fail, server: ApiServer) -> None:
    server.put(bootstrap_tokens.CLUSTER_INFO, data={"kubeconfig": "x"})
    assert "is kube-controller-manager running?" in failing(server.kubeconfig)


def test_a_kubeadm_that_fails_is_told_without_the_key_and_the_token(
    failing: Fail, server: ApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.put(bootstrap_tokens.CLUSTER_INFO, data={"kubeconfig": "x"})
    program(tmp_path, monkeypatch)
    text = f"error: no room for {'ab' * 32} and abcdef.0123456789abcdef"
    (tmp_path / "kubeadm").write_text(f"#!/bin/sh\necho {text}; exit 1")
    (tmp_path / "kubeadm").chmod(0o755)
    reason = failing(server.kubeconfig, certificate_key=True, kubernetes_version="1.37.2")
    assert "kubeadm init phase upload-certs: no room for [redacted] and (token)" in reason
    assert tokens_in(server) == []


def test_another_kubeadm_that_runs_is_told(
    failing: Fail, server: ApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bootstrap_tokens, "UPLOAD_SECONDS", 0.2)
    program(tmp_path, monkeypatch)
    with kubeadm.exclusive(1):
        reason = failing(server.kubeconfig, certificate_key=True, kubernetes_version="1.37.2")
    assert "another kubeadm still runs on this host" in reason


# What ends before the module can say anything: it reaches a person through plugins/action/kubeadm_token.py alone.
MODULE = """#!/usr/bin/python
import os
from ansible.module_utils.basic import AnsibleModule
how = AnsibleModule(argument_spec={"hosts": {"type": "list"}, "how": {}}).params["how"]
if how == "crash":
    raise RuntimeError("the token abcdef.0123456789abcdef is odd")
if how == "killed":
    os.kill(os.getpid(), 9)
os.write(2, b"no room for abcdef.0123456789abcdef")
os._exit(3)
"""
NO_SUDO = {"ansible_become": True, "ansible_become_user": "nobody"}
ENDS: dict[str, tuple[dict[str, t.Any], str]] = {
    "crash": ({}, "the token [redacted] is odd"),
    "killed": ({}, "exit code 137"),
    "text": ({}, "exit code 3"),
    "unreachable": ({"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}, "refused"),
    "no python": ({"ansible_python_interpreter": "/no/python"}, "/no/python"),
    "no sudo": ({**NO_SUDO, "ansible_become_exe": "/bin/false"}, "become"),
}


def test_a_reason_reaches_a_person_however_the_module_ends(tmp_path: Path) -> None:
    (tmp_path / "kubeadm_token.py").write_text(MODULE)
    tasks: list[dict[str, t.Any]] = []
    for how, (variables, _) in ENDS.items():
        call = {"kubeadm_token": {"hosts": ["n1"], "how": how}, "vars": variables, "no_log": True, "register": "found"}
        copy = {"content": "{{ found.msg }}", "dest": f"{tmp_path}/{how}.txt"}
        tasks += [call, {"copy": copy, "vars": {"ansible_become": False}}]
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local"]
    # A cache of packed modules of its own: this one is no module that a cluster may get.
    env = {**os.environ, "XDG_CACHE_HOME": f"{tmp_path}/cache", "ANSIBLE_LIBRARY": f"{tmp_path}:{ROOT}/library"}
    env["ANSIBLE_SSH_RETRIES"] = "0"
    done = subprocess.run(
        [*argv, f"{tmp_path}/play.yml"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = {how: (tmp_path / f"{how}.txt").read_text() for how in ENDS}
    assert {how: words for how, (_, words) in ENDS.items() if words not in told[how]} == {}, told
    assert "0123456789abcdef" not in f"{told}{done.stdout}"
