"""Applying manifests: create, change and delete; each plain, repeated and in check mode."""

from __future__ import annotations

import copy

import kube_apply
import pytest
from ansible.module_utils.yunkube.kube import objects as kube_objects
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError, parse_kubeconfig
from fake_kube_api import FakeKubeApi

MANIFESTS: list[Json] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "net"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cfg", "namespace": "net"}, "data": {"mtu": "0"}},
    {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "ds", "namespace": "net"}, "spec": {"x": 1}},
]
NAMES = ["Namespace net", "ConfigMap net/cfg", "DaemonSet net/ds"]


def change(fake: FakeKubeApi, manifests: list[Json], state: str = "present", *, dry_run: bool = False) -> list[str]:
    """Apply through a fresh connection; return what changed."""
    api = KubeApi(parse_kubeconfig(fake.kubeconfig))
    with api:
        changes = kube_apply.change_all(api, copy.deepcopy(manifests), state, dry_run=dry_run)
    return [entry.name for entry in changes]


def test_everything_is_created_once(fake: FakeKubeApi) -> None:
    assert change(fake, MANIFESTS, dry_run=True) == NAMES
    assert fake.objects == {}
    assert change(fake, MANIFESTS) == NAMES
    assert change(fake, MANIFESTS) == []
    assert change(fake, MANIFESTS, dry_run=True) == []


def test_only_what_differs_is_changed(fake: FakeKubeApi) -> None:
    change(fake, MANIFESTS)
    other = copy.deepcopy(MANIFESTS)
    other[1]["data"]["mtu"] = "1400"
    assert change(fake, other, dry_run=True) == ["ConfigMap net/cfg"]
    assert fake.objects["/api/v1/namespaces/net/configmaps/cfg"]["data"] == {"mtu": "0"}
    assert change(fake, other) == ["ConfigMap net/cfg"]


def test_deleting_goes_backwards_and_rests_when_all_is_gone(fake: FakeKubeApi) -> None:
    change(fake, MANIFESTS)
    assert change(fake, MANIFESTS, "absent", dry_run=True) == NAMES[::-1]
    assert change(fake, MANIFESTS, "absent") == NAMES[::-1]
    assert change(fake, MANIFESTS, "absent") == []


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
    assert [entry.name for entry in kube_apply.without_api(MANIFESTS, "present")] == NAMES
    assert kube_apply.without_api(MANIFESTS, "absent") == []
