# SPDX-License-Identifier: Apache-2.0
"""The cluster's own registry: who may push, who may pull, and that a host really can."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from scenario import Cluster
from testinfra.host import Host

testinfra_hosts = ["ansible://masters"]

PUSH, PULL = "10.114.0.11:5000", "10.114.0.11:5001"
CA = "/etc/kubernetes/pki/ca.crt"
IMAGE = f"{PUSH}/molecule/pause:1"


@pytest.fixture(scope="module")
def login(cluster: Cluster) -> dict[str, str]:
    """The Secret with both accounts, once the registry runs."""
    cluster.wait_for("registry", "registry")
    return cluster.secret("registry", "registry-login")


def status(host: Host, address: str, account: str = "", method: str = "GET", path: str = "/v2/") -> str:
    """Ask with the cluster's authority, and the account out of a file as ever; return the HTTP status."""
    user = f"user = {json.dumps(account)}\n" if account else ""
    curl = f"curl --silent --show-error --max-time 10 --config - --cacert {CA} --request {method} --output /dev/null"
    return str(host.check_output(f"{curl} --write-out %{{http_code}} https://{address}{path} <<'END'\n{user}END"))


def pusher(login: dict[str, str]) -> str:
    """Who may push."""
    return f"{login['username']}:{login['password']}"


def reader(login: dict[str, str]) -> str:
    """Who may only pull."""
    return f"{login['reader_username']}:{login['reader_password']}"


def test_both_accounts_were_made_with_passwords_of_their_own(login: dict[str, str]) -> None:
    assert (login["username"], login["reader_username"]) == ("admin", "pull")
    assert login["address"] == PUSH
    assert login["password"] != login["reader_password"]
    assert min(len(login["password"]), len(login["reader_password"])) >= 16


@pytest.mark.parametrize("address", [PUSH, PULL])
def test_a_password_is_required(host: Host, login: dict[str, str], address: str) -> None:
    assert status(host, address) == "401"
    assert status(host, address, f"{login['username']}:wrong") == "401"


def test_the_account_of_the_pods_can_pull_and_not_push(host: Host, login: dict[str, str]) -> None:
    uploads = "/v2/molecule/pause/blobs/uploads/"
    assert status(host, PULL, reader(login)) == "200"
    assert status(host, PUSH, pusher(login), "POST", uploads) == "202"
    assert status(host, PUSH, reader(login), "POST", uploads) == "401"
    assert status(host, PULL, reader(login), "POST", uploads) == "405"


def test_a_host_pulls_what_was_pushed(host: Host, login: dict[str, str]) -> None:
    names = host.check_output("ctr --namespace k8s.io images list --quiet").splitlines()
    pause = next(name for name in names if "/pause:" in name)
    images = "ctr --namespace k8s.io images"
    host.check_output(f"{images} tag --force {pause} {IMAGE}")
    account = shlex.quote(pusher(login))
    host.check_output(f"{images} push --local --user {account} --tlscacert {CA} --platform linux/amd64 {IMAGE}")
    host.check_output(f"{images} remove {IMAGE}")
    assert host.run(f"crictl pull {IMAGE}").rc != 0  # without an account
    assert "up to date" in host.check_output(f"crictl pull --creds {shlex.quote(reader(login))} {IMAGE}")
    assert IMAGE in host.check_output("ctr --namespace k8s.io images list --quiet").splitlines()
    assert host.check_output("find /var/lib/yunkube/registry -path '*/molecule/pause/_manifests/tags/1'")


def test_its_certificate_is_of_the_clusters_authority_and_for_its_address(host: Host) -> None:
    shown = host.check_output(f"openssl s_client -connect {PUSH} -CAfile {CA} -verify_return_error </dev/null 2>&1")
    assert "Verify return code: 0 (ok)" in shown
    names = host.check_output(
        f"openssl s_client -connect {PUSH} </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName"
    )
    assert set(re.findall(r"(?:DNS|IP Address):(\S+?)(?:,|$)", names, re.MULTILINE)) == {"10.114.0.11", "master1"}


def test_its_pods_have_no_token_and_no_capability(cluster: Cluster) -> None:
    (pod,) = cluster.get("pods", "--namespace=registry")["items"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    for container in pod["spec"]["containers"]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
