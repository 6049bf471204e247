"""No secret gets to a screen, a log or a pipe, whatever its shape."""

from __future__ import annotations

import base64

import pytest
from deployer.redact import HIDDEN, Redactor, secret_values

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEcanary\nmore\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text",
    [
        "kubeadm join 10.0.0.1:6443 --token abcdef.0123456789canary",
        'token: "canary1"',
        "x_password=canary1",
        "registry_secret: canary1 # comment",
        "{'db_password': 'canary1', 'port': 3}",
        '{"join_token": "canary \\" 1"}',
        "client-key-data: Y2FuYXJ5canary",
        "client-key-data: |\n  Y2FuYXJ5canary",
        "certificate-key: canary0123",
        f"before\n{PEM}\nafter",
        PEM.replace("\n", "\\n"),
        PEM[:60],
        "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary, cut before its end",
        "data: " + base64.b64encode(PEM.encode()).decode() + "canary",
    ],
)
def test_a_secret_is_hidden(text: str) -> None:
    redacted = Redactor().text(text)
    assert HIDDEN in redacted
    assert "canary" not in redacted
    assert "MII" not in redacted


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "v1.37.2 registry.k8s.io/pause:3.10.2 10.77.0.11:6443",
        "TASK [node : Get a token from the control plane] ***",
        "kubeadm_hide_secrets: true",
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "abcdef.0123456789abcdef.example.com",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor().text(text) == text


def test_known_values_are_hidden_wherever_they_stand() -> None:
    values = secret_values({"x_password": "hunter22", "nested": {"api_token": "tok-1234"}, "name": "plain"})
    assert values == ("hunter22", "tok-1234")
    assert Redactor(values).text("login hunter22 with tok-1234 as plain") == f"login {HIDDEN} with {HIDDEN} as plain"


def test_templates_and_switches_are_no_values() -> None:
    assert secret_values({"a_password": "{{ vault }}", "b_secret": "true", "c_token": "abc", "d_token": 5}) == ()


def test_a_tree_is_hidden_by_name_at_any_depth_and_otherwise_unchanged() -> None:
    tree = {"res": {"token": "canary", "changed": True, "results": [{"admin_password": "canary", "rc": 0}]}, "n": None}
    assert Redactor().tree(tree) == {
        "res": {"token": HIDDEN, "changed": True, "results": [{"admin_password": HIDDEN, "rc": 0}]},
        "n": None,
    }


def test_a_fault_keeps_the_key_that_it_is_about() -> None:
    fault = {
        "file": "cluster.yml",
        "line": 3,
        "key": "node_join_token_tll",
        "message": "unknown key",
        "remedy": "write ...",
    }
    assert Redactor().tree(fault) == fault
