"""Tokens as kubeadm makes them."""

from __future__ import annotations

import datetime as dt
import re
import threading
from pathlib import Path

import kubeadm_token
import pytest
from ansible.module_utils.yunkube.kube_api import KubeApi, KubeError, parse_kubeconfig
from fake_kube_api import FakeKubeApi


def test_a_token_is_new_each_time_and_well_formed() -> None:
    tokens = {".".join(kubeadm_token.new_token()) for _ in range(20)}
    assert len(tokens) == 20
    assert all(re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token) for token in tokens)


def test_the_secret_is_what_kubeadm_makes() -> None:
    secret = kubeadm_token.secret_of(
        "abcdef", "0123456789abcdef", "node1", dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
    )
    assert secret["metadata"] == {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}
    assert secret["type"] == "bootstrap.kubernetes.io/token"
    assert secret["stringData"]["expiration"] == "2026-11-23T12:00:00Z"
    assert secret["stringData"]["description"] == "join of node1"
    assert secret["stringData"]["auth-extra-groups"] == "system:bootstrappers:kubeadm:default-node-token"


def test_the_token_is_given_out_once_it_is_signed(tmp_path: Path) -> None:
    fake = FakeKubeApi(tmp_path)
    api = KubeApi(parse_kubeconfig(fake.kubeconfig))
    fake.put(kubeadm_token.CLUSTER_INFO, data={"kubeconfig": "x"})
    signed = {"kubeconfig": "x", "jws-kubeconfig-abcdef": "y"}
    threading.Timer(0.3, lambda: fake.put(kubeadm_token.CLUSTER_INFO, data=signed)).start()
    kubeadm_token.wait_for_signature(api, "abcdef", 10)
    with pytest.raises(KubeError, match="does not sign"):
        kubeadm_token.wait_for_signature(api, "zzzzzz", 0.1)
    api.close()
    fake.close()
