# SPDX-License-Identifier: Apache-2.0
"""Web services at a real API server: its defaults, refusals and deletions are handled."""

from __future__ import annotations

import copy
import typing as t

import api_controllers
import pytest
from ansible.module_utils.yunkube.kube.api import Json
from ansible.module_utils.yunkube.web import deploy as web_deploy
from ansible.module_utils.yunkube.web import rollout as web_rollout
from ansible.module_utils.yunkube.web.service import OPTIONS
from kube_api_server import ApiServer

WEB: Json = {"name": "web", "image": "web:1", "node_port": 31111}
SHOP: Json = {"name": "shop", "image": "shop:1", "namespace": "shops"}
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/web"
SERVICE = "/api/v1/namespaces/default/services/web"
NAMES = {"kind": "Order", "plural": "orders"}
DEFINITION: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "orders.shop.example"},
    "spec": {
        "group": "shop.example",
        "names": NAMES,
        "scope": "Namespaced",
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}


@pytest.fixture
def server(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[ApiServer]:
    """An API with controllers."""
    monkeypatch.setattr(web_rollout, "PAUSE", 0.05)
    with api_controllers.running(server):
        yield server


def deploy(server: ApiServer, *services: Json, dry_run: bool = False) -> web_deploy.Deploy:
    """Apply exactly these services."""
    defaults = {name: option.get("default") for name, option in OPTIONS.items()}
    declared = [defaults | copy.deepcopy(one) for one in services]
    run = web_deploy.Deploy(server.api, declared, "registry/registry-login", dry_run=dry_run, prune="data")
    run.run(60)
    return run


def words(server: ApiServer, *services: Json, dry_run: bool = False) -> list[str]:
    """Apply exactly these services; return what that took."""
    run = deploy(server, *services, dry_run=dry_run)
    assert run.faults == []
    return run.in_words()


def test_what_the_api_fills_in_is_no_change(server: ApiServer) -> None:
    before = server.etcd.keys()
    planned = words(server, WEB, SHOP, dry_run=True)
    assert server.etcd.keys() == before
    assert words(server, WEB, SHOP) == planned
    assert words(server, WEB, SHOP, dry_run=True) == []
    assert words(server, WEB, SHOP) == []


def test_what_changes_is_named_and_what_others_set_stays(server: ApiServer) -> None:
    words(server, WEB)
    server.api.patch(DEPLOYMENT, {"metadata": {"annotations": {"theirs": "1"}}})
    expected = ["update Deployment default/web from web:1 to web:2"]
    for dry_run in (True, False):
        assert words(server, WEB | {"image": "web:2"}, dry_run=dry_run) == expected
    assert server.get(DEPLOYMENT)["metadata"]["annotations"]["theirs"] == "1"


def test_what_is_not_declared_any_more_is_removed_with_its_namespace(server: ApiServer) -> None:
    words(server, WEB, SHOP)
    gone = ["Service default/web", "Service shops/shop", "Deployment default/web", "Deployment shops/shop"]
    expected = [f"remove {name}" for name in [*gone, "Namespace shops"]]
    assert words(server, dry_run=True) == expected
    assert words(server) == expected
    assert "shops" not in server.names("/api/v1/namespaces")
    assert words(server) == []


def test_a_taken_node_port_names_its_holder(server: ApiServer) -> None:
    spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 31111}]}
    server.put("/api/v1/namespaces/other/services/first", spec=spec)
    for dry_run in (True, False):
        (fault,) = deploy(server, WEB, dry_run=dry_run).faults
        assert fault.message == "node_port 31111 is taken by Service other/first"


def test_a_node_port_may_pass_from_a_removed_service_to_a_new_one(server: ApiServer) -> None:
    words(server, WEB)
    following = WEB | {"name": "next"}
    planned = words(server, following, dry_run=True)
    assert {"remove Service default/web", "create Service default/next"} <= set(planned)
    assert set(words(server, following)) == set(planned)
    (port,) = server.get("/api/v1/namespaces/default/services/next")["spec"]["ports"]
    assert port["nodePort"] == 31111


def test_what_the_api_finds_invalid_is_reported_in_its_words_and_others_go_on(server: ApiServer) -> None:
    bad = {"name": "bad", "resources": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "Not_A_Name"}}]}
    run = deploy(server, bad, SHOP)
    (fault,) = run.faults
    assert (fault.host, fault.check) == ("default/bad", "manifest")
    assert "metadata.name: Invalid value" in fault.message
    assert server.names("/apis/apps/v1/namespaces/shops/deployments") == ["shop"]


def test_an_object_of_others_is_neither_changed_nor_removed(server: ApiServer) -> None:
    theirs = server.put(SERVICE, spec={"ports": [{"port": 80}]})
    (fault,) = deploy(server, WEB).faults
    assert (fault.host, fault.check) == ("default/web", "foreign")
    words(server)
    assert server.get(SERVICE) == theirs


def test_an_object_goes_where_its_definition_is_of_the_same_run(server: ApiServer) -> None:
    order = {"apiVersion": "shop.example/v1", "kind": "Order", "metadata": {"name": "first"}}
    shop = {"name": "shop", "namespace": "shops", "resources": [order]}
    kinds = {"name": "kinds", "resources": [DEFINITION]}
    for dry_run in (True, False):
        assert "create Order shops/first" in words(server, shop, kinds, dry_run=dry_run)
    assert server.names("/apis/shop.example/v1/namespaces/shops/orders") == ["first"]
    assert words(server, shop, kinds) == []
