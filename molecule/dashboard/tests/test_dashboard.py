# SPDX-License-Identifier: Apache-2.0
"""The dashboard: what who may see, and over which connection."""

from __future__ import annotations

import base64
import re
import ssl
import urllib.error
import urllib.request

import pytest
from scenario import Cluster, eventually

testinfra_hosts = ["local://"]

URL = "https://10.115.0.11:30443"
PAGES = f"{URL}/clusters/local"


@pytest.fixture(scope="module")
def authority(cluster: Cluster) -> str:
    """What a browser imports, once the dashboard runs."""
    cluster.wait_for("dashboard", "dashboard")
    found = cluster.secret("dashboard", "dashboard-authority")["tls.crt"]

    def answers() -> bool:
        try:
            return ask(found, f"{URL}/")[0] > 0
        except OSError:  # kube-proxy does not know the pod yet
            return False

    eventually(answers, 30, f"{URL} answers")
    return found


@pytest.fixture(scope="module")
def password(cluster: Cluster) -> str:
    """The password that was made."""
    return cluster.secret("dashboard", "dashboard-login")["password"]


def ask(authority: str, url: str, password: str = "", method: str = "GET") -> tuple[int, str]:
    """Ask as a browser that has imported this authority; return status and text."""
    request = urllib.request.Request(url, method=method)  # noqa: S310 - the scenario's own address
    if password:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode())
    try:
        context = ssl.create_default_context(cadata=authority)
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310 - as above
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def test_it_asks_for_the_password_that_was_made(authority: str, password: str) -> None:
    assert len(password) >= 16
    assert ask(authority, f"{PAGES}/nodes")[0] == 401
    assert ask(authority, f"{PAGES}/nodes", f"{password}x")[0] == 401
    assert ask(authority, f"{PAGES}/nodes", password)[0] == 200


def test_it_shows_the_host_and_the_pods_by_name(authority: str, password: str, cluster: Cluster) -> None:
    assert "master1" in ask(authority, f"{PAGES}/nodes", password)[1]
    pods = {pod["metadata"]["name"] for pod in cluster.get("pods", "--namespace=kube-system")["items"]}
    shown = ask(authority, f"{PAGES}/namespaces/kube-system/pods", password)[1]
    assert len(pods) >= 7
    assert [name for name in pods if name not in shown] == []


def test_it_shows_no_secret(authority: str, password: str) -> None:
    assert ask(authority, f"{PAGES}/namespaces/dashboard/configmaps", password)[0] == 200
    assert ask(authority, f"{PAGES}/namespaces/dashboard/secrets", password)[0] == 403


def test_its_account_only_looks(cluster: Cluster) -> None:
    listed = cluster.kubectl("auth", "can-i", "--list", "--as=system:serviceaccount:dashboard:dashboard-viewer")
    verbs = {verb for line in listed.splitlines() for verb in re.findall(r"\[([a-z* ]*)\]$", line)}
    allowed = {verb for listed in verbs for verb in listed.split()}
    assert {"get", "list"} <= allowed
    assert allowed <= {"get", "list", "watch", "create"}
    # What everybody may make: questions about oneself.
    made = [line.split()[0] for line in listed.splitlines() if "create" in line]
    assert [name for name in made if not name.startswith("self")] == []


def test_its_certificate_is_of_an_authority_of_its_own(authority: str, cluster: Cluster) -> None:
    assert ask(authority, f"{URL}/")[0] == 401  # TLS was fine
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(cluster.authority, f"{URL}/")
