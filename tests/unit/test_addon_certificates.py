# SPDX-License-Identifier: Apache-2.0
"""Certificates of addons are renewed in their Secrets, and `up` finds nothing to do afterwards."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import addon_certificates
import pytest
import real_module
from ansible.module_utils.yunkube.kube import addon_certificates as certificates
from ansible.module_utils.yunkube.kube import objects, secrets
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError, parse_kubeconfig
from ansible.module_utils.yunkube.kube.x509 import read_certificate
from fake_kube_api import copy_certificates
from kube_api_server import POD, ApiServer

SPACE = {"namespace": "shop"}
NAMES = ["10.77.0.11", "shop.example"]
WANTED: list[Json] = [
    {**SPACE, "kind": "authority", "name": "authority", "names": NAMES, "common_name": "Shop of test"},
    {**SPACE, "kind": "certificate", "name": "tls", "names": NAMES, "common_name": "Shop", "authority": "authority"},
    {**SPACE, "kind": "login", "name": "login", "username": "admin", "password": "canary-canary"},
]
NAMESPACE: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
TLS = "/api/v1/namespaces/shop/secrets/tls"


def deployment() -> Json:
    """Return a Deployment of the addon."""
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": POD["containers"]}},
        },
    }


@pytest.fixture
def api(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[KubeApi]:
    """A cluster with the addon; nothing runs there, so its rollouts count as done."""
    (tmp_path / "pki").mkdir()
    copy_certificates(tmp_path / "pki")
    monkeypatch.setattr(secrets, "PKI", tmp_path / "pki")
    monkeypatch.setattr(certificates, "workload_problem", lambda _found: "")
    with KubeApi(parse_kubeconfig(server.kubeconfig)) as api:
        assert len(up(api)) == 5
        yield api


def up(api: KubeApi) -> list[str]:
    """Return what `up` would apply, and apply it."""
    manifests = secrets.with_secrets(api, [NAMESPACE, deployment()], WANTED, "present")
    return [change.name for change in objects.change_all(api, manifests, "present", dry_run=False)]


def renew(api: KubeApi, *, dry_run: bool = False, **options: t.Any) -> certificates.Renewed:
    """Renew what is due."""
    return certificates.renew(
        api, {"secrets": WANTED, "days": 90, "all": False, "address": "", **options}, dry_run=dry_run
    )


def test_a_certificate_is_renewed_for_its_names_and_up_finds_nothing_to_do(api: KubeApi) -> None:
    assert up(api) == []
    former = objects.read_data(api.get(TLS))
    planned = renew(api, all=True, dry_run=True)
    assert objects.read_data(api.get(TLS)) == former
    done = renew(api, all=True)
    words = ["renew the certificate in Secret shop/tls", "replace the pods of Deployment shop/web"]
    assert planned.words == done.words == words
    now = objects.read_data(api.get(TLS))
    assert now["tls.key"] != former["tls.key"]
    assert now["ca.crt"] == former["ca.crt"]
    old, new = (read_certificate(data["tls.crt"]) for data in (former, now))
    assert (new.names, new.algorithm) == (old.names, old.algorithm)
    assert [(row["check"], row["after"]) for row in done.table] == [
        ("Secret shop/authority", 3649), ("Secret shop/tls", 364),
    ]  # fmt: skip
    assert renew(api).words == []
    assert up(api) == []


def test_what_ends_later_stays(api: KubeApi) -> None:
    before = api.get(TLS)
    renewed = renew(api, days=400)  # it was only just issued
    assert (renewed.changes, renewed.words) == ([], [])
    assert [row["before"] for row in renewed.table] == [3649, 364]
    assert api.get(TLS) == before


def test_what_is_not_there_is_left_to_up(api: KubeApi) -> None:
    api.delete(TLS)
    assert renew(api, all=True) == certificates.Renewed([], [], [])


def test_a_run_that_was_killed_before_the_pods_were_replaced_is_finished(
    api: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "restart", lambda *_given, **_more: [])
        renew(api, all=True)
    assert renew(api).words == ["replace the pods of Deployment shop/web"]
    assert renew(api).words == []


def test_pods_that_do_not_start_are_an_error(api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "ROLLOUT", 0)
    monkeypatch.setattr(certificates, "workload_problem", lambda _found: "0 of 1 pods are ready")
    with pytest.raises(KubeError, match=r"Deployment shop/web is not ready .*: 0 of 1 pods are ready"):
        renew(api, all=True)


def test_a_server_that_shows_the_former_certificate_is_an_error(
    api: KubeApi, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "ROLLOUT", 0)
    with pytest.raises(KubeError, match="it shows the former certificate"):
        renew(api, all=True, address=server.address)


def test_no_key_and_no_password_is_in_the_result(
    api: KubeApi, server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "admin.conf").write_text(server.kubeconfig)
    given = {"secrets": WANTED, "all": True, "kubeconfig": str(tmp_path / "admin.conf"), "_ansible_diff": True}
    journal, result = real_module.run(addon_certificates.main, given, monkeypatch, capsys)
    assert result["changed"]
    assert api.get(TLS)
    text = journal + json.dumps(result)
    assert "(hidden" in text
    assert "canary" not in text
    assert "PRIVATE KEY" not in text


def test_a_secret_that_holds_something_else_is_reported_with_what_makes_it(
    api: KubeApi, server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.patch(TLS, {"data": {"tls.crt": "bm90aGluZw=="}})
    (tmp_path / "admin.conf").write_text(server.kubeconfig)
    given = {"secrets": WANTED, "kubeconfig": str(tmp_path / "admin.conf")}
    _, result = real_module.run(addon_certificates.main, given, monkeypatch, capsys)
    assert (result["failed"], result["msg"]) == (True, "Secret tls holds no certificate")
    assert (result["remedy"], result["commands"]) == ("run `up`, which makes it", ["up"])
