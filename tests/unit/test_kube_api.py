# SPDX-License-Identifier: Apache-2.0
"""The client against a real API server, and against one whose connections are counted and answers are chosen."""

from __future__ import annotations

import re
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube import api as kube_api
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError, parse_kubeconfig, read_kubeconfig
from fake_kube_api import FakeKubeApi, kubeconfig, make_certificates
from kube_api_server import ApiServer

CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "one", "namespace": "here"},
    "data": {"a": "1"},
}
PATH = "/api/v1/namespaces/here/configmaps/one"


@pytest.fixture
def fake(tmp_path: Path) -> t.Iterator[FakeKubeApi]:
    chosen = FakeKubeApi(tmp_path)
    chosen.put("/api/v1/namespaces/here")
    yield chosen
    chosen.close()


@pytest.fixture
def api(server: ApiServer) -> t.Iterator[KubeApi]:
    server.put("/api/v1/namespaces/here")
    with KubeApi(parse_kubeconfig(server.kubeconfig), timeout=5) as client:
        yield client


@pytest.fixture
def counted(fake: FakeKubeApi) -> t.Iterator[KubeApi]:
    with KubeApi(parse_kubeconfig(fake.kubeconfig), timeout=5) as client:
        yield client


def test_many_requests_share_one_connection(fake: FakeKubeApi, counted: KubeApi) -> None:
    for _ in range(5):
        counted.get("/api/v1/namespaces/here")
    assert fake.connections == 1


def test_a_connection_that_the_other_side_closed_is_opened_again(fake: FakeKubeApi, counted: KubeApi) -> None:
    counted.get("/api/v1/namespaces/here")
    assert counted._connection is not None
    counted._connection.sock.close()
    assert counted.get("/api/v1/namespaces/here")["metadata"]["name"] == "here"
    assert fake.connections == 2


def test_an_apply_creates_then_changes_then_rests(api: KubeApi) -> None:
    made = api.apply(CONFIG_MAP)
    assert api.apply(CONFIG_MAP)["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    changed = api.apply({**CONFIG_MAP, "data": {"a": "2"}})
    assert changed["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    (entry,) = changed["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("yunkube", "Apply")


def test_a_field_that_is_not_applied_any_more_goes(api: KubeApi) -> None:
    api.apply({**CONFIG_MAP, "data": {"a": "1", "b": "2"}})
    api.patch(PATH, {"data": {"theirs": "3"}})
    assert api.apply(CONFIG_MAP)["data"] == {"a": "1", "theirs": "3"}


def test_a_dry_run_changes_nothing(api: KubeApi) -> None:
    assert api.apply(CONFIG_MAP, dry_run=True)["data"] == {"a": "1"}
    assert api.find(PATH) is None


def test_what_is_there_already_or_was_changed_meanwhile_is_a_conflict(api: KubeApi) -> None:
    made = api.apply(CONFIG_MAP)
    with pytest.raises(KubeError, match="already exists") as caught:
        api.post("/api/v1/namespaces/here/configmaps", CONFIG_MAP)
    assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")
    api.apply({**CONFIG_MAP, "data": {"a": "2"}})
    with pytest.raises(KubeError, match="has been modified") as caught:
        api.patch(PATH, {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"a": "3"}})
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")


def test_what_is_invalid_is_refused_with_the_field(api: KubeApi) -> None:
    with pytest.raises(KubeError, match=r"metadata\.name: Invalid value") as caught:
        api.apply({**CONFIG_MAP, "metadata": {"name": "Not_A_Name", "namespace": "here"}})
    assert caught.value.status == 422


def test_a_watch_yields_what_happens_while_it_lasts(api: KubeApi) -> None:
    events = api.watch("/api/v1/namespaces/here/configmaps", 30, fieldSelector="metadata.name=one")
    api.apply(CONFIG_MAP)
    assert next(events)["type"] == "ADDED"
    api.apply({**CONFIG_MAP, "data": {"a": "2"}})
    changed = next(events)
    assert (changed["type"], changed["object"]["data"]) == ("MODIFIED", {"a": "2"})
    api.delete(PATH)
    assert next(events)["type"] == "DELETED"
    events.close()  # type: ignore[attr-defined]


def test_what_a_finalizer_keeps_is_marked_and_goes_with_it(api: KubeApi) -> None:
    metadata = {"name": "one", "namespace": "here", "finalizers": ["example.com/hold"]}
    api.apply({**CONFIG_MAP, "metadata": metadata})
    assert api.delete(PATH)
    assert "deletionTimestamp" in api.get(PATH)["metadata"]
    api.patch(PATH, {"metadata": {"finalizers": None}})
    assert api.find(PATH) is None


def test_kinds_are_found_by_the_api(api: KubeApi) -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "x"}}
    assert api.path_of(role) == "/apis/rbac.authorization.k8s.io/v1/clusterroles/x"
    assert api.path_of(CONFIG_MAP) == "/api/v1/namespaces/here/configmaps/one"
    assert api.path_of(CONFIG_MAP | {"metadata": {"name": "two"}}) == "/api/v1/namespaces/default/configmaps/two"


def test_kinds_are_asked_for_once(fake: FakeKubeApi, counted: KubeApi) -> None:
    for name in ("one", "two"):
        counted.path_of(CONFIG_MAP | {"metadata": {"name": name}})
    assert sum(line == "GET /api/v1" for line in fake.log) == 1


def test_an_unknown_kind_is_named(api: KubeApi) -> None:
    with pytest.raises(KubeError, match="no kind Cat in v1") as caught:
        api.path_of({"apiVersion": "v1", "kind": "Cat", "metadata": {"name": "x"}})
    assert caught.value.status == 404


def test_a_refusal_carries_the_message_of_the_api(fake: FakeKubeApi, counted: KubeApi) -> None:
    fake.refuse["GET /api/v1/nodes"] = (403, "nodes is forbidden")
    with pytest.raises(KubeError, match="nodes is forbidden") as caught:
        counted.get("/api/v1/nodes")
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


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("days", "names", "why"),
    [("0", "IP:127.0.0.1", "certificate has expired"), ("9", "IP:127.0.0.2", "IP address mismatch")],
)
def test_a_certificate_of_no_use_is_not_taken_for_that_of_another_cluster(
    tmp_path: Path, days: str, names: str, why: str
) -> None:
    server = tmp_path / "server"
    server.mkdir()
    for name in ("ca.crt", "ca.key", "server.csr", "server.key"):
        (server / name).write_bytes((tmp_path / name).read_bytes())
    (server / "ext").write_text(f"subjectAltName={names}\n")
    sign = ["openssl", "x509", "-req", "-in", "server.csr", "-out", "server.crt", "-CA", "ca.crt", "-CAkey", "ca.key"]
    subprocess.run([*sign, "-days", days, "-extfile", "ext"], check=True, capture_output=True, cwd=server)
    fake = FakeKubeApi(tmp_path, server)
    with pytest.raises(KubeError, match=f"shows a certificate that cannot be used: .*{why}") as caught:
        KubeApi(parse_kubeconfig(kubeconfig(tmp_path, f"https://{fake.address}"))).get("/version")
    assert caught.value.reason == "Certificate"
    fake.close()


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


def lines_of(text: str) -> str:
    """Return a kubeconfig as a disk leaves it that has lost a page: zero bytes."""
    return text[:300] + "\0" * 600 + text[900:]


DAMAGE: dict[str, t.Callable[[str], str]] = {
    **{f"the first {part} of 20 parts": lambda text, part=part: text[: len(text) * part // 20] for part in range(20)},  # type: ignore[misc]
    "a page of zero bytes": lines_of,
    "another key": lambda text: text.replace("client-key-data: LS0t", "client-key-data: AAAA"),
    "no base64": lambda text: re.sub("client-certificate-data: .*", "client-certificate-data: abcde", text),
    "another CA": lambda text: re.sub("authority-data: .*", "authority-data: AAAA", text),
    "a CA that is no text": lambda text: re.sub("authority-data: .*", "authority-data: //79", text),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_kubeconfig_is_one_error_with_its_path_and_what_to_do(
    fake: FakeKubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = tmp_path / "admin.conf"
    monkeypatch.setattr(kube_api, "ADMIN_CONF", str(path))
    path.write_text(DAMAGE[how](fake.kubeconfig))
    with pytest.raises(KubeError) as caught:
        KubeApi.from_file(str(path))
    said = str(caught.value)
    assert said.startswith(f"{path} cannot be used: ")
    assert said.endswith(
        "; restore it from a backup, or move it away and see docs/faults/kubeconfig-missing.md, which writes it again"
    )
    assert "\n" not in said
    assert caught.value.reason == kube_api.DAMAGED
    assert "LS0t" not in said, "a key"


def test_a_kubeconfig_of_binary_data_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "kubelet.conf").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KubeError, match=r"kubelet.conf cannot be used: it is no text; restore it from a backup$"):
        KubeApi.from_file(str(tmp_path / "kubelet.conf"))
