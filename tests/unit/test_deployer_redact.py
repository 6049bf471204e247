# SPDX-License-Identifier: Apache-2.0
"""No secret gets to a screen, a log or a pipe, whatever its shape."""

from __future__ import annotations

import base64

import pytest
from ansible.module_utils.yunkube.control.redact import HIDDEN, Redactor, printable, secret_values

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
        "ansible_become_pass: canary1",
        "ansible_ssh_pass=canary1",
        "export DBPASS='canary1'",
        "HTTPS_PROXY=http://user:canary1@proxy.example.com:3128",
        "cannot connect to http://user:p@canary1@proxy.example.com:3128/",
        "redis://:canary1@cache:6379/0",
        "curl -H 'Authorization: Bearer canary.1234567'",
        "Authorization: Basic Y2FuYXJ5canary",
        '"authorization": "Y2FuYXJ5canary"',
        "token is eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.canary-_1",
        '{"auths": {"r.example.com": {"auth": "dXNlcjpjcanaryGE="}}}',
        ".dockerconfigjson: eyJhdXRocyIcanary",
        "access_key: canary1",
        "apiKey: canary1",
        "S3_ACCESS_KEY=canary1",
        "- name: DB_PASSWORD\n  value: canary1",
        "+        - name: DB_PASSWORD\n+          value: canary1",
        '{"name": "API_KEY", "value": "canary1"}',
        "{'name': 'API_TOKEN', 'value': 'canary1'}",
        "- name: DB_PASS\n  value: 'canary 1'",
        "keyword password: canary1",
        "{'keyword': 1, 'password': 'canary1'}",
    ],
)
def test_a_secret_is_hidden(text: str) -> None:
    redacted = Redactor().text(text)
    assert HIDDEN in redacted
    assert Redactor().text(redacted) == redacted
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
        "bypass: all, compass=north, underpass: 3",
        "pass: 12, fail: 1",
        "author: someone, authority: /state/ca.crt",
        "auth: token",
        "http://proxy.example.com:3128/a@b",
        "ssh://git@git.example.com:22/shop",
        "Bearer authentication is used",
        'WWW-Authenticate: Bearer realm="https://r.example.com/auth"',
        "- name: DB_HOST\n  value: db1",
        "- name: TOKEN_FILE\n  value: /run/token",
        "node_token_ttl_seconds: 900",
        "ansible_vault_password_file: /home/me/vault",
        "monkey: 1, keyboard: de, access_key_rotation_ttl: 3",
        "eyJ is how a JWT begins",
        "Error processing keyword 'become_pass': The lookup plugin 'x' failed to load",
        "Error while resolving value for 'registry_password': 'x_secret' is undefined",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor().text(text) == text


def test_known_values_are_hidden_wherever_they_stand() -> None:
    values = secret_values({"x_password": "hunter22", "nested": {"api_token": "tok-1234"}, "name": "plain"})
    assert values == ("hunter22", "tok-1234")
    assert Redactor(values).text("login hunter22 with tok-1234 as plain") == f"login {HIDDEN} with {HIDDEN} as plain"


def test_passwords_in_urls_and_pairs_are_known_values() -> None:
    pairs = [{"name": "DB_PASSWORD", "value": "pair-4711"}, {"name": "DB_HOST", "value": "db1"}]
    tree = {"kubelet_environment": {"HTTPS_PROXY": "http://me:url-4711@proxy:3128"}, "env": pairs}
    assert secret_values(tree) == ("pair-4711", "url-4711")
    assert Redactor().tree(tree) == {
        "kubelet_environment": {"HTTPS_PROXY": f"http://me:{HIDDEN}@proxy:3128"},
        "env": [{"name": "DB_PASSWORD", "value": HIDDEN}, {"name": "DB_HOST", "value": "db1"}],
    }
    assert Redactor().tree({"auths": {"r": {"auth": "dXNlcjpwYXNz"}}, "auth": "no"}) == {
        "auths": {"r": {"auth": HIDDEN}},
        "auth": "no",
    }


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred\x1b[0m", "ared"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("\x1b[2J\x1b[H\x1bcgone", "gone"),
        ("\x9b31mred\x00\x08\x7f", "31mred"),
        ("one\r\ntwo\tthree", "one\ntwo\tthree"),
        ("abc\u202egpj.exe", "abcgpj.exe"),
        ("to\x1b[0mken: canary", "token: [redacted]"),
        ("grüße, 漢字, ✓", "grüße, 漢字, ✓"),
    ],
)
def test_what_would_steer_a_terminal_is_taken_out(text: str, shown: str) -> None:
    assert printable(text) == shown or Redactor().text(text) == shown
    assert Redactor().tree({"msg": [text]}) == {"msg": [shown]}
