"""The client against a real TLS server."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError, parse_kubeconfig, read_kubeconfig
from fake_kube_api import FakeKubeApi, kubeconfig, make_certificates

CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "one", "namespace": "here"},
    "data": {"a": "1"},
}


@pytest.fixture
def fake(tmp_path: Path) -> t.Iterator[FakeKubeApi]:
    server = FakeKubeApi(tmp_path)
    server.put("/api/v1/namespaces/here")
    yield server
    server.close()


@pytest.fixture
def api(fake: FakeKubeApi) -> t.Iterator[KubeApi]:
    client = KubeApi(parse_kubeconfig(fake.kubeconfig), timeout=5)
    yield client
    client.close()


def test_many_requests_share_one_connection(fake: FakeKubeApi, api: KubeApi) -> None:
    for _ in range(5):
        api.get("/api/v1/namespaces/here")
    assert fake.connections == 1


def test_a_connection_that_the_other_side_closed_is_opened_again(fake: FakeKubeApi, api: KubeApi) -> None:
    api.get("/api/v1/namespaces/here")
    assert api._connection is not None
    api._connection.sock.close()
    assert api.get("/api/v1/namespaces/here")["metadata"]["name"] == "here"
    assert fake.connections == 2


def test_an_apply_creates_then_changes_then_rests(fake: FakeKubeApi, api: KubeApi) -> None:
    made = api.apply(CONFIG_MAP)
    assert api.apply(CONFIG_MAP)["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    changed = api.apply({**CONFIG_MAP, "data": {"a": "2"}})
    assert changed["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    assert any("fieldManager=yunkube&force=true" in line for line in fake.log)


def test_a_dry_run_changes_nothing(fake: FakeKubeApi, api: KubeApi) -> None:
    assert api.apply(CONFIG_MAP, dry_run=True)["data"] == {"a": "1"}
    assert "/api/v1/namespaces/here/configmaps/one" not in fake.objects


def test_kinds_are_asked_for_once(fake: FakeKubeApi, api: KubeApi) -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "x"}}
    assert api.path_of(role) == "/apis/rbac.authorization.k8s.io/v1/clusterroles/x"
    assert api.path_of(CONFIG_MAP) == "/api/v1/namespaces/here/configmaps/one"
    assert api.path_of(CONFIG_MAP | {"metadata": {"name": "two"}}) == "/api/v1/namespaces/default/configmaps/two"
    assert sum(line == "GET /api/v1" for line in fake.log) == 1


def test_an_unknown_kind_is_named(api: KubeApi) -> None:
    with pytest.raises(KubeError, match="no kind Cat in v1") as caught:
        api.path_of({"apiVersion": "v1", "kind": "Cat", "metadata": {"name": "x"}})
    assert caught.value.status == 404


def test_a_refusal_carries_the_message_of_the_api(fake: FakeKubeApi, api: KubeApi) -> None:
    fake.refuse["GET /api/v1/nodes"] = (403, "nodes is forbidden")
    with pytest.raises(KubeError, match="nodes is forbidden") as caught:
        api.get("/api/v1/nodes")
    assert caught.value.status == 403
    assert not caught.value.silent


def test_what_is_not_there_is_none_and_need_not_be_deleted(api: KubeApi) -> None:
    assert api.find("/api/v1/namespaces/here/configmaps/none") is None
    assert api.delete("/api/v1/namespaces/here/configmaps/none") is False


@pytest.mark.usefixtures("fake")
def test_a_server_that_is_not_there_is_silent(tmp_path: Path) -> None:
    config = parse_kubeconfig(kubeconfig(tmp_path, "https://127.0.0.1:1"))
    with pytest.raises(KubeError, match=r"https://127.0.0.1:1 does not answer: .*refused") as caught:
        KubeApi(config).get("/version")
    assert caught.value.silent


@pytest.mark.usefixtures("fake")
def test_the_server_of_another_cluster_is_recognized(tmp_path: Path) -> None:
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    make_certificates(other_folder)
    other = FakeKubeApi(other_folder, other_folder)
    with pytest.raises(KubeError, match="CA did not sign") as caught:
        KubeApi(parse_kubeconfig(kubeconfig(tmp_path, f"https://{other.address}"))).get("/version")
    assert caught.value.reason == "OtherCluster"
    other.close()


def test_a_kubelets_kubeconfig_names_files(tmp_path: Path) -> None:
    for name in ("ca", "pair"):
        (tmp_path / name).write_text(name)
    text = (
        f"clusters:\n- cluster:\n    certificate-authority: {tmp_path}/ca\n    server: https://10.0.0.1:6443\n"
        f"users:\n- user:\n    client-certificate: {tmp_path}/pair\n    client-key: {tmp_path}/pair\n"
    )
    assert parse_kubeconfig(text) == ("https://10.0.0.1:6443", b"ca", b"pair", b"pair")
    (tmp_path / "pair").unlink()
    with pytest.raises(KubeError, match="pair, which cannot be read"):
        parse_kubeconfig(text)


def test_half_a_kubeconfig_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(KubeError, match="no certificate-authority"):
        parse_kubeconfig("clusters:\n- cluster:\n    server: https://10.0.0.1:6443\n")
    with pytest.raises(KubeError, match="not a master yet"):
        read_kubeconfig(str(tmp_path / "none"))
