# SPDX-License-Identifier: Apache-2.0
"""Tokens as kubeadm makes them."""

from __future__ import annotations

import base64
import datetime as dt
import re
import threading
import typing as t

import pytest
from ansible.module_utils.yunkube.kube import bootstrap_tokens
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError, parse_kubeconfig
from kube_api_server import ApiServer


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
