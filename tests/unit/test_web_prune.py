# SPDX-License-Identifier: Apache-2.0
"""What is no longer declared: data stays, a removal is asked for, and nothing of the addons is ever a web service's."""

from __future__ import annotations

import base64
import json

import pytest
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, parse_kubeconfig
from ansible.module_utils.yunkube.web import deploy as web_deploy
from ansible.module_utils.yunkube.web import rollout as web_rollout
from ansible.module_utils.yunkube.web.ownership import kept_in_words
from ansible.module_utils.yunkube.web.service import OPTIONS
from fake_controllers import Controllers
from fake_kube_api import FakeKubeApi

FORMER = {"app.kubernetes.io/managed-by": "yunkube"}
OWNER = {"app.kubernetes.io/managed-by": "yunkube-web-services"}
WEB: Json = {"name": "web", "image": "web:1"}
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/web"
SERVICE = "/api/v1/namespaces/default/services/web"
CLAIM = "/api/v1/namespaces/shops/persistentvolumeclaims/data"
DATA: Json = {
    "name": "db",
    "namespace": "shops",
    "resources": [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}},
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "orders.shop.example"},
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}},
    ],
}
KEPT = [
    "PersistentVolumeClaim shops/data",
    "PersistentVolume disk",
    "CustomResourceDefinition orders.shop.example",
    "Namespace shops",
]


@pytest.fixture
def fake(fake: FakeKubeApi, monkeypatch: pytest.MonkeyPatch) -> FakeKubeApi:
    monkeypatch.setattr(web_rollout, "PAUSE", 0.0)
    for name in ("default", "kube-system"):
        fake.put(f"/api/v1/namespaces/{name}")
    for name in ("registry", "dashboard"):
        fake.put(f"/api/v1/namespaces/{name}", metadata={"labels": dict(FORMER)})
        template = {"spec": {"containers": [{"name": name, "image": f"{name}:1"}]}}
        path = f"/apis/apps/v1/namespaces/{name}/deployments/{name}"
        fake.put(path, metadata={"labels": dict(FORMER)}, spec={"template": template})
    Controllers(fake).act(fake, "")
    return fake


def deploy(
    fake: FakeKubeApi, *services: Json, prune: str = "services", ask: bool = False, dry_run: bool = False
) -> web_deploy.Deploy:
    """Apply these services."""
    filled = [{name: option.get("default") for name, option in OPTIONS.items()} | one for one in services]
    with KubeApi(parse_kubeconfig(fake.kubeconfig)) as api:
        run = web_deploy.Deploy(api, filled, "registry/registry-login", dry_run=dry_run, prune=prune, ask=ask)
        run.run(3)
    return run


def recorded(fake: FakeKubeApi) -> set[str]:
    """Return the kinds and names of what the record names."""
    entries = json.loads(fake.objects[web_deploy.RECORD_PATH]["data"]["objects"])
    return {f"{entry['kind']} {entry['name']}" for entry in entries}


def changing(fake: FakeKubeApi) -> list[str]:
    """Return the requests that changed something."""
    return [line for line in fake.log if not line.startswith("GET") and "dryRun" not in line]


def make_old(fake: FakeKubeApi) -> None:
    """Give everything the label that web services had before they had one of their own."""
    for found in fake.objects.values():
        labels = found["metadata"].get("labels") or {}
        if OWNER.items() <= labels.items():
            found["metadata"]["labels"] = labels | FORMER


def test_what_holds_data_stays_and_is_reported(fake: FakeKubeApi) -> None:
    deploy(fake, DATA)
    for dry_run in (True, False):
        run = deploy(fake, dry_run=dry_run)
        assert run.in_words() == ["remove ConfigMap shops/settings"]
        assert sorted(run.kept) == sorted(KEPT)
    assert CLAIM in fake.objects
    assert recorded(fake) == {name.replace("shops/", "") for name in KEPT}
    again = deploy(fake)
    assert (again.in_words(), sorted(again.kept)) == ([], sorted(KEPT))


def definition(kind: str, *, namespaced: bool = True) -> Json:
    """Return the definition of a kind of the shop's."""
    names = {"kind": kind, "plural": f"{kind.lower()}s"}
    spec = {"group": "shop.example", "names": names, "scope": "Namespaced" if namespaced else "Cluster"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.shop.example"},
        "spec": {**spec, "versions": [{"name": "v1", "served": True, "storage": True}]},
    }


def custom(kind: str) -> Json:
    """Return an object of such a kind."""
    return {"apiVersion": "shop.example/v1", "kind": kind, "metadata": {"name": "first"}}


@pytest.mark.parametrize("known", [False, True])
def test_a_resource_goes_where_its_service_is_also_with_its_definition_in_the_same_run(
    fake: FakeKubeApi, *, known: bool
) -> None:
    if known:  # another kind of the same group: what the API said of the group is no longer all
        deploy(fake, {"name": "old", "namespace": "olds", "resources": [definition("Return")]}, prune="keep")
    fake.establishing = 2
    kinds = {"name": "kinds", "resources": [definition("Order"), definition("Region", namespaced=False)]}
    shop = {"name": "shop", "namespace": "shops", "resources": [custom("Order"), custom("Region")]}
    for dry_run in (True, False):
        run = deploy(fake, shop, kinds, prune="keep", dry_run=dry_run)
        assert run.faults == []
        assert {"create Order shops/first", "create Region first"} <= set(run.in_words())
    assert "/apis/shop.example/v1/namespaces/shops/orders/first" in fake.objects
    assert "/apis/shop.example/v1/regions/first" in fake.objects
    assert not any("/namespaces/default/orders" in path for path in fake.objects)
    assert deploy(fake, shop, kinds, prune="services").in_words() == []


def test_a_kind_without_a_definition_is_reported(fake: FakeKubeApi) -> None:
    shop = {"name": "shop", "resources": [definition("Order"), custom("Region")]}
    (fault,) = deploy(fake, shop).faults
    assert (fault.host, fault.message) == (
        "default/shop",
        "Region first: the API server has no kind Region in shop.example/v1",
    )


def test_data_is_removed_on_request(fake: FakeKubeApi) -> None:
    before = set(fake.objects)
    deploy(fake, DATA)
    deploy(fake)
    run = deploy(fake, prune="data")
    assert sorted(run.in_words()) == sorted(f"remove {name}" for name in KEPT)
    assert run.kept == []
    assert set(fake.objects) == before


def test_a_namespace_that_holds_others_objects_stays_known_and_goes_once_they_are_gone(fake: FakeKubeApi) -> None:
    deploy(fake, DATA)
    other = "/api/v1/namespaces/shops/configmaps/other"
    fake.put(other, data={"a": "1"})
    for dry_run in (True, False, False):
        run = deploy(fake, prune="data", dry_run=dry_run)
        assert run.kept == ["Namespace shops"]
        assert "remove Namespace shops" not in run.in_words()
    assert other in fake.objects
    assert recorded(fake) == {"Namespace shops"}
    assert deploy(fake).kept == ["Namespace shops"]
    del fake.objects[other]
    run = deploy(fake, prune="data")
    assert (run.in_words(), run.kept) == (["remove Namespace shops"], [])
    assert web_deploy.RECORD_PATH not in fake.objects


def test_what_stays_is_said_with_what_would_remove_it() -> None:
    assert kept_in_words(["a"], "services") == (
        "kept although no longer declared: object a; to remove: web apply --prune-data"
    )
    assert kept_in_words(["a"], "keep") == "kept although no longer declared: object a; to remove: web apply"
    assert kept_in_words(["Namespace shops"], "data") == (
        "kept although no longer declared: object Namespace shops; "
        "remove what others have there first, then: web apply --prune-data"
    )


def test_a_namespace_is_others_by_a_kind_without_its_groups_preferred_version() -> None:
    class Api:
        """A group with two kinds, of which one has no version v1."""

        def get(self, path: str) -> Json:
            """Return groups and resources."""
            versions = [{"groupVersion": f"net.example/{name}"} for name in ("v1", "v1alpha2")]
            if path == "/apis":
                return {"groups": [{"preferredVersion": versions[0], "versions": versions}]}
            kinds = {"net.example/v1": ["Gate"], "net.example/v1alpha2": ["Gate", "Route"]}
            names = kinds.get(path.removeprefix("/apis/"), [])
            verbs = ["get", "list"]
            return {
                "resources": [{"name": f"{k.lower()}s", "kind": k, "namespaced": True, "verbs": verbs} for k in names]
            }

        def items(self, path: str) -> list[Json]:
            """Return one route."""
            asked.append(path)
            return [{"metadata": {"name": "theirs"}}] if path.endswith("/routes") else []

    asked: list[str] = []
    run = web_deploy.Deploy.__new__(web_deploy.Deploy)
    run.api, run._gone = Api(), []  # type: ignore[assignment]
    assert run._others_in("shops") == ["Route shops/theirs"]
    assert asked == [
        "/apis/net.example/v1/namespaces/shops/gates",
        "/apis/net.example/v1alpha2/namespaces/shops/routes",
    ]


def test_data_that_was_declared_again_is_not_touched(fake: FakeKubeApi) -> None:
    deploy(fake, DATA)
    deploy(fake)
    run = deploy(fake, DATA)
    assert (run.in_words(), run.kept) == (["create ConfigMap shops/settings"], [])


def test_without_permission_to_remove_everything_stays_and_is_reported(fake: FakeKubeApi) -> None:
    deploy(fake, WEB, DATA)
    for dry_run in (True, False):
        run = deploy(fake, prune="keep", dry_run=dry_run)
        assert run.in_words() == []
        assert {"Service default/web", "Deployment default/web", "ConfigMap shops/settings", *KEPT} == set(run.kept)
    assert {DEPLOYMENT, SERVICE, CLAIM} <= set(fake.objects)
    assert "Deployment default/web" in deploy(fake, DATA, prune="keep").kept
    assert "remove Deployment default/web" in deploy(fake, DATA).in_words()


def test_a_service_of_another_kind_replaces_the_old_one_without_a_question(fake: FakeKubeApi) -> None:
    deploy(fake, WEB)
    run = deploy(fake, {**WEB, "kind": "ReplicationController"}, prune="keep", ask=True)
    assert run.in_words()[-1] == "remove Deployment default/web"
    assert DEPLOYMENT not in fake.objects


def test_an_unconfirmed_removal_names_what_would_be_removed_before_the_first_change(fake: FakeKubeApi) -> None:
    deploy(fake, WEB, DATA)
    fake.log.clear()
    with pytest.raises(web_deploy.NotAgreedError) as refused:
        deploy(fake, {**WEB, "image": "web:2"}, ask=True)
    assert refused.value.names == ["ConfigMap shops/settings"]
    with pytest.raises(web_deploy.NotAgreedError) as refused:
        deploy(fake, prune="data", ask=True)
    assert {"Service default/web", "Deployment default/web", "ConfigMap shops/settings", *KEPT} == set(
        refused.value.names
    )
    assert changing(fake) == []
    assert deploy(fake, {**WEB, "image": "web:2"}, DATA, ask=True).faults == []


@pytest.mark.parametrize(
    "service",
    [
        {"name": "registry", "namespace": "registry", "image": "evil:1"},
        {"name": "dashboard", "namespace": "dashboard", "image": "evil:1"},
        {"name": "web", "namespace": "kube-system", "image": "web:1"},
        {"name": "web", "namespace": "kube-flannel", "image": "web:1"},
        {
            "name": "files",
            "resources": [
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "registry"}},
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dashboard"}},
            ],
        },
    ],
)
def test_a_service_in_the_systems_place_is_refused_and_nothing_there_changes(fake: FakeKubeApi, service: Json) -> None:
    before = json.dumps(fake.objects, sort_keys=True)
    for dry_run in (True, False):
        run = deploy(fake, service, dry_run=dry_run)
        assert [fault.check for fault in run.faults] == ["reserved"]
        assert "reserved" in run.faults[0].message
    fake.objects.pop(web_deploy.RECORD_PATH, None)
    assert json.dumps(fake.objects, sort_keys=True) == before
    deploy(fake, service)
    deploy(fake, prune="data")
    fake.objects.pop(web_deploy.RECORD_PATH, None)
    assert json.dumps(fake.objects, sort_keys=True) == before


def test_an_addons_object_is_neither_adopted_nor_removed(fake: FakeKubeApi) -> None:
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/dashboard-viewer"
    fake.put(path, metadata={"labels": dict(FORMER)}, rules=[])
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "dashboard-viewer"},
        "rules": [{"verbs": ["*"]}],
    }
    (fault,) = deploy(fake, {"name": "files", "resources": [role]}).faults
    assert fault.check == "foreign"
    assert "kubectl label" not in fault.remedy
    deploy(fake, prune="data")
    assert fake.objects[path]["rules"] == []


def test_services_of_a_cluster_with_the_former_label_go_on_as_ours(fake: FakeKubeApi) -> None:
    deploy(fake, WEB, DATA)
    make_old(fake)
    assert deploy(fake, WEB, DATA, dry_run=True).faults == []
    run = deploy(fake, {**WEB, "image": "web:2"})
    assert run.faults == []
    assert run.in_words()[-1] == "remove ConfigMap shops/settings"
    for path in (DEPLOYMENT, SERVICE, CLAIM, "/api/v1/namespaces/shops"):
        assert fake.objects[path]["metadata"]["labels"].items() >= OWNER.items(), path
    assert deploy(fake, {**WEB, "image": "web:2"}).in_words() == []
    assert "remove PersistentVolumeClaim shops/data" in deploy(fake, prune="data").in_words()
    assert fake.objects["/api/v1/namespaces/registry"]["metadata"]["labels"] == FORMER


def test_a_first_run_with_the_new_label_that_failed_goes_on_where_it_stopped(fake: FakeKubeApi) -> None:
    deploy(fake, WEB)
    make_old(fake)
    fake.refuse[f"PATCH {DEPLOYMENT}"] = (422, "spec: Invalid value")
    assert len(deploy(fake, WEB).faults) == 1
    fake.refuse.clear()
    assert deploy(fake, WEB).faults == []
    assert fake.objects[DEPLOYMENT]["metadata"]["labels"].items() >= OWNER.items()


def test_a_record_of_former_times_that_names_an_addon_gives_no_right_to_it(fake: FakeKubeApi) -> None:
    deploy(fake, WEB)
    make_old(fake)
    record = fake.objects[web_deploy.RECORD_PATH]
    entries = json.loads(record["data"]["objects"])
    entries.append({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "registry", "name": "registry"})
    record["data"]["objects"] = json.dumps(entries)
    assert "remove Deployment registry/registry" not in deploy(fake).in_words()
    assert "/apis/apps/v1/namespaces/registry/deployments/registry" in fake.objects


def test_a_kind_that_the_api_does_not_know_is_a_fault_of_its_service_alone(fake: FakeKubeApi) -> None:
    values = {"address": "registry.example:5000", "username": "admin", "password": "x"}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    fake.put("/api/v1/namespaces/registry/secrets/registry-login", data=data)
    template = {"spec": {"containers": [{"name": "old", "image": "registry.example:5000/old:1"}]}}
    old = {
        "apiVersion": "extensions/v1beta1",
        "kind": "Deployment",
        "metadata": {"name": "old"},
        "spec": {"template": template},
    }
    for dry_run in (True, False):
        run = deploy(fake, {"name": "old", "resources": [old]}, WEB, dry_run=dry_run)
        (fault,) = run.faults
        assert fault.host == "default/old"
        assert fault.message == "Deployment old: the API server has no kind Deployment in extensions/v1beta1"
        assert "apps/v1" in fault.remedy
    assert DEPLOYMENT in fake.objects
