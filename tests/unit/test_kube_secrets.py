# SPDX-License-Identifier: Apache-2.0
"""Secrets that are made once and kept: what is kept, what is made again, and that a real TLS client takes it."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import socket
import ssl
import threading
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import objects as kube_objects
from ansible.module_utils.yunkube.kube import secrets as kube_secrets
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError, parse_kubeconfig
from ansible.module_utils.yunkube.kube.objects import read_data
from ansible.module_utils.yunkube.kube.secrets import certificate, crypt, login, manifest_of
from fake_kube_api import copy_certificates, make_certificates
from kube_api_server import POD, ApiServer

LOGIN: Json = {"kind": "login", "namespace": "shop", "name": "login", "username": "admin", "password": "", "more": {}}
NAMES = ["10.77.0.11", "master1", "shop.example"]
CERTIFICATE: Json = {"kind": "certificate", "namespace": "shop", "name": "tls", "names": NAMES}
AUTHORITY: Json = {
    "kind": "authority",
    "namespace": "shop",
    "name": "authority",
    "names": NAMES,
    "common_name": "Shop of test",
}
NAMESPACE: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
DEPLOYMENT: Json = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": POD["containers"]}},
    },
}


def secret(data: dict[str, str], **metadata: t.Any) -> Json:
    """A Secret as the API returns it."""
    return {
        "metadata": metadata,
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


@pytest.fixture(autouse=True)
def pki(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cluster's CA."""
    folder = tmp_path / "pki"
    folder.mkdir()
    copy_certificates(folder)
    monkeypatch.setattr(kube_secrets, "PKI", folder)
    return folder


def test_a_password_is_made_once() -> None:
    first = login(None, LOGIN)
    assert len(first["password"]) == 24
    assert login(secret(first), LOGIN) == first
    assert login(None, LOGIN)["password"] != first["password"]


def test_the_hash_is_of_the_password_and_bcrypts() -> None:
    made = login(None, LOGIN | {"password": "correct horse"})
    name, _, hashed = made["htpasswd"].strip().partition(":")
    assert name == "admin"
    assert hashed.startswith("$2b$08$")
    assert crypt("correct horse", hashed) == hashed
    assert crypt("another", hashed) != hashed


def test_a_given_password_or_another_name_replaces_the_old() -> None:
    first = login(None, LOGIN)
    given = login(secret(first), LOGIN | {"password": "correct horse"})
    assert given["password"] == "correct horse"
    assert given["htpasswd"] != first["htpasswd"]
    renamed = login(secret(given), LOGIN | {"username": "robot"})
    assert renamed["password"] == "correct horse"
    assert renamed["htpasswd"].startswith("robot:")


def test_no_password_is_generated_for_another_account() -> None:
    with pytest.raises(KubeError, match=r"^registry_password: missing$"):
        login(None, LOGIN | {"missing": "registry_password: missing"})
    assert login(None, LOGIN | {"missing": "x", "password": "theirs"})["password"] == "theirs"


def test_a_second_account_that_reads_has_its_own_password_and_is_made_once() -> None:
    wanted = LOGIN | {"reader": "pull", "more": {"address": "r:5000"}}
    first = login(None, wanted)
    assert login(secret(first), wanted) == first
    assert first["reads"] == "reader"
    assert first["reader_password"] not in ("", first["password"])
    lines = dict(line.split(":") for line in first["reader_htpasswd"].splitlines())
    for name, password in (("pull", first["reader_password"]), ("admin", first["password"])):
        assert crypt(password, lines[name]) == lines[name]  # the account that writes may read, too
    assert "pull" not in first["htpasswd"]
    given = login(secret(first), wanted | {"reader_password": "correct horse"})
    assert given["reader_password"] == "correct horse"
    assert given["htpasswd"] == first["htpasswd"]
    assert given["reader_htpasswd"] != first["reader_htpasswd"]
    without = login(secret(first), LOGIN)
    assert "reads" not in without
    assert without["reader_htpasswd"] == first["reader_htpasswd"]  # a server that runs has it mounted
    with pytest.raises(KubeError, match="choose another one"):
        login(None, LOGIN | {"reader": "admin"})


def test_a_damaged_hash_is_made_again() -> None:
    first = login(None, LOGIN)
    corrected = login(secret(first | {"htpasswd": "admin:broken\n"}), LOGIN)
    assert corrected["password"] == first["password"]
    assert crypt(first["password"], corrected["htpasswd"].strip().partition(":")[2]) in corrected["htpasswd"]


def shake(folder: Path, served: dict[str, str], authority: str, name: str) -> None:
    """Connect to a server of a name, trusting one authority alone."""
    (folder / "pem").write_text(served["tls.key"] + served["tls.crt"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "pem")
    client = ssl.create_default_context(cadata=authority)
    ours, theirs = socket.socketpair()

    def answer() -> None:
        with ours, contextlib.suppress(OSError):
            server.wrap_socket(ours, server_side=True).close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        client.wrap_socket(theirs, server_hostname=name).close()
    finally:
        theirs.close()
        thread.join()


def test_a_certificate_serves_its_names_and_no_other(tmp_path: Path, pki: Path) -> None:
    made = certificate(None, CERTIFICATE)
    for name in NAMES:
        shake(tmp_path, made, (pki / "ca.crt").read_text(), name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(tmp_path, made, (pki / "ca.crt").read_text(), "other.example")


def made_by(authority: Json, names: list[str]) -> dict[str, str]:
    """Return a certificate for names by an authority's Secret, whatever that may sign."""
    data = read_data(authority)
    return kube_secrets.sign(names, kube_secrets.Authority(data["tls.crt"], data["tls.key"]))


@pytest.mark.parametrize("names", [NAMES, ["10.77.0.11", "fd00::1"], ["shop.example"]])
def test_an_authority_for_browsers_is_trusted_for_its_names_alone(tmp_path: Path, pki: Path, names: list[str]) -> None:
    authority = manifest_of(None, AUTHORITY | {"names": names})
    wanted = CERTIFICATE | {"names": names, "authority": "authority", "common_name": "Shop"}
    tls = manifest_of(None, wanted, {"authority": authority})
    served, trusted = read_data(tls), read_data(authority)["tls.crt"]
    assert served["ca.crt"] == trusted != (pki / "ca.crt").read_text()
    for name in names:
        shake(tmp_path, served, trusted, name)
    outside = ["bank.example", "10.77.0.12", "::1", "example"]
    for name in outside:  # what whoever has its key could make
        with pytest.raises(ssl.SSLCertVerificationError, match="subtree"):
            shake(tmp_path, made_by(authority, [name]), trusted, name)
        with pytest.raises(ssl.SSLCertVerificationError, match="subtree"):
            shake(tmp_path, made_by(authority, [*names, name]), trusted, name)


def test_an_authority_is_kept_until_a_name_is_added_or_it_ends() -> None:
    first = manifest_of(None, AUTHORITY)
    assert manifest_of(first, AUTHORITY) == first
    assert manifest_of(first, AUTHORITY | {"names": NAMES[:1]}) == first
    assert manifest_of(first, AUTHORITY | {"names": [*NAMES, "new"]})["data"] != first["data"]
    now = dt.datetime.now(dt.UTC)
    assert kube_secrets.own_authority(first, AUTHORITY, now + dt.timedelta(days=3250)) == read_data(first)
    assert kube_secrets.own_authority(first, AUTHORITY, now + dt.timedelta(days=3260)) != read_data(first)


def test_a_certificate_is_kept_until_thirty_days_before_its_end() -> None:
    made = manifest_of(None, CERTIFICATE)
    now = dt.datetime.now(dt.UTC)
    assert certificate(made, CERTIFICATE, now + dt.timedelta(days=330)) == read_data(made)
    assert certificate(made, CERTIFICATE, now + dt.timedelta(days=340)) != read_data(made)


def test_a_certificate_for_other_names_or_of_another_authority_is_made_again(pki: Path) -> None:
    made = manifest_of(None, CERTIFICATE)
    assert certificate(made, CERTIFICATE | {"names": NAMES[::-1]}) == read_data(made)
    assert certificate(made, CERTIFICATE | {"names": NAMES[:1]}) != read_data(made)
    make_certificates(pki)
    assert certificate(made, CERTIFICATE)["ca.crt"] != read_data(made)["ca.crt"]


def test_a_host_that_cannot_sign_says_why(monkeypatch: pytest.MonkeyPatch, pki: Path) -> None:
    (pki / "ca.key").rename(pki / "elsewhere")
    with pytest.raises(KubeError, match=r"ca\.key is not on this host"):
        certificate(None, CERTIFICATE)
    (pki / "elsewhere").rename(pki / "ca.key")
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(KubeError, match="install the package openssl"):
        certificate(None, CERTIFICATE)


@pytest.fixture
def api(server: ApiServer) -> t.Iterator[KubeApi]:
    with KubeApi(parse_kubeconfig(server.kubeconfig)) as client:
        yield client


def change(api: KubeApi, state: str = "present", password: str = "", *, dry_run: bool = False) -> list[str]:
    """Apply a namespace, two secrets and a Deployment; return what changed."""
    resources = json.loads(json.dumps([NAMESPACE, DEPLOYMENT]))
    manifests = kube_secrets.with_secrets(api, resources, [LOGIN | {"password": password}, CERTIFICATE], state)
    return [one.name for one in kube_objects.change_all(api, manifests, state, dry_run=dry_run)]


def annotation(server: ApiServer) -> str:
    """What the Deployment's pods say of the secrets."""
    web = server.get("/apis/apps/v1/namespaces/shop/deployments/web")
    return str(web["spec"]["template"]["metadata"]["annotations"][kube_objects.SECRETS])


def test_secrets_come_between_namespaces_and_the_rest_and_once(server: ApiServer, api: KubeApi) -> None:
    names = ["Namespace shop", "Secret shop/login", "Secret shop/tls", "Deployment shop/web"]
    before_all = server.etcd.keys()
    assert change(api, dry_run=True) == names
    assert server.etcd.keys() == before_all
    assert change(api) == names
    assert change(api) == []
    assert change(api, dry_run=True) == []
    before = annotation(server)
    assert change(api, password="another", dry_run=True) == ["Secret shop/login", "Deployment shop/web"]
    assert change(api, password="another") == ["Secret shop/login", "Deployment shop/web"]
    assert annotation(server) != before
    assert change(api, "absent") == names[::-1]


def test_no_secret_is_in_a_diff(api: KubeApi) -> None:
    manifests = kube_secrets.with_secrets(api, [NAMESPACE], [LOGIN | {"password": "canary"}], "present")
    text = json.dumps(kube_objects.as_diff(kube_objects.change_all(api, manifests, "present", dry_run=False)))
    assert "canary" not in text
    assert base64.b64encode(b"canary").decode() not in text
    assert "(hidden)" in text
