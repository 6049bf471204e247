# SPDX-License-Identifier: Apache-2.0
"""Applying manifests: create, change and delete; each plain, repeated and in check mode."""

from __future__ import annotations

import copy

import pytest
from ansible.module_utils.yunkube.kube import objects as kube_objects
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError, parse_kubeconfig
from fake_kube_api import FakeKubeApi
from kube_api_server import ApiServer

MANIFESTS: list[Json] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "net"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cfg", "namespace": "net"}, "data": {"mtu": "0"}},
    {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "ds", "namespace": "net"},
        "spec": {
            "selector": {"matchLabels": {"app": "ds"}},
            "template": {
                "metadata": {"labels": {"app": "ds"}},
                "spec": {"containers": [{"name": "main", "image": "none"}]},
            },
        },
    },
]
NAMES = ["Namespace net", "ConfigMap net/cfg", "DaemonSet net/ds"]


def change(
    server: ApiServer | FakeKubeApi, manifests: list[Json], state: str = "present", *, dry_run: bool = False
) -> list[str]:
    """Apply through a fresh connection; return what changed."""
    api = KubeApi(parse_kubeconfig(server.kubeconfig))
    with api:
        changes = kube_objects.change_all(api, copy.deepcopy(manifests), state, dry_run=dry_run)
    return [entry.name for entry in changes]


def test_everything_is_created_once(server: ApiServer) -> None:
    before = server.etcd.keys()
    assert change(server, MANIFESTS, dry_run=True) == NAMES
    assert server.etcd.keys() == before
    assert change(server, MANIFESTS) == NAMES
    assert change(server, MANIFESTS) == []
    assert change(server, MANIFESTS, dry_run=True) == []


def test_only_what_differs_is_changed(server: ApiServer) -> None:
    change(server, MANIFESTS)
    other = copy.deepcopy(MANIFESTS)
    other[1]["data"]["mtu"] = "1400"
    assert change(server, other, dry_run=True) == ["ConfigMap net/cfg"]
    assert server.get("/api/v1/namespaces/net/configmaps/cfg")["data"] == {"mtu": "0"}
    assert change(server, other) == ["ConfigMap net/cfg"]


def test_a_field_that_another_manager_took_becomes_ours_and_its_other_fields_stay(server: ApiServer) -> None:
    change(server, MANIFESTS)
    path = "/api/v1/namespaces/net/configmaps/cfg"
    theirs = MANIFESTS[1] | {"data": {"mtu": "9000", "mine": "1"}}
    server.api.patch(path, theirs, "application/apply-patch+yaml", fieldManager="somebody", force="true")
    assert change(server, MANIFESTS) == ["ConfigMap net/cfg"]
    assert server.get(path)["data"] == {"mtu": "0", "mine": "1"}
    assert change(server, MANIFESTS) == []


def test_what_the_api_finds_invalid_is_refused_with_the_objects_name(server: ApiServer) -> None:
    bad = copy.deepcopy(MANIFESTS)
    bad[2]["spec"]["selector"]["matchLabels"] = {"app": "other"}
    with pytest.raises(KubeError, match=r"DaemonSet net/ds: .*spec.template.metadata.labels: Invalid value") as caught:
        change(server, bad)
    assert caught.value.status == 422


def test_deleting_goes_backwards_and_rests_when_all_is_gone(server: ApiServer) -> None:
    change(server, MANIFESTS)
    assert change(server, MANIFESTS, "absent", dry_run=True) == NAMES[::-1]
    assert change(server, MANIFESTS, "absent") == NAMES[::-1]
    server.end_namespace("net")
    assert change(server, MANIFESTS, "absent") == []


def test_a_diff_shows_content_without_bookkeeping_and_without_secrets() -> None:
    secret = {
        "kind": "Secret",
        "metadata": {"name": "s", "resourceVersion": "1", "managedFields": []},
        "data": {"key": "c2VjcmV0"},
        "stringData": {"other": "secret"},
    }
    shown = kube_objects.content_of(secret)
    assert shown == {
        "kind": "Secret",
        "metadata": {"name": "s"},
        "data": {"key": "(hidden)"},
        "stringData": {"other": "(hidden)"},
    }
    diff = kube_objects.as_diff([kube_objects.Change("Secret s", {}, shown)])
    assert diff[0]["before"] == {}
    assert diff[0]["after_header"] == "Secret s"


def test_what_is_no_manifest_is_refused_before_anything_is_sent(fake: FakeKubeApi) -> None:
    with pytest.raises(KubeError, match="not a manifest"):
        change(fake, [*MANIFESTS, {"kind": "Pod"}])
    assert fake.log == []


def test_a_refusal_names_the_object(fake: FakeKubeApi) -> None:
    fake.refuse["PATCH /api/v1/namespaces/net"] = (422, "metadata.name: Invalid value")
    with pytest.raises(KubeError, match=r"Namespace net: .*Invalid value"):
        change(fake, MANIFESTS)


def test_without_an_api_everything_would_be_applied() -> None:
    assert [entry.name for entry in kube_objects.without_api(MANIFESTS, "present")] == NAMES
    assert kube_objects.without_api(MANIFESTS, "absent") == []
