# SPDX-License-Identifier: Apache-2.0
"""Objects that `up` declares beside what a real API server, controllers and people make of them."""

from __future__ import annotations

import copy
import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.doctor import more_repairs, repairs
from ansible.module_utils.yunkube.doctor.collect_objects import differing
from ansible.module_utils.yunkube.doctor.repair_work import Work
from kube_api_server import ApiServer

RBAC = "rbac.authorization.k8s.io"
BINDING = {
    "apiVersion": f"{RBAC}/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "net"},
    "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "net"},
    "subjects": [{"kind": "ServiceAccount", "name": "net", "namespace": "default"}],
}
CONTAINER = {
    "name": "main",
    "image": "net:1",
    "args": ["--one"],
    "env": [{"name": "A", "value": "1"}],
    "volumeMounts": [{"name": "run", "mountPath": "/run/net"}],
}
DAEMONS = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "net", "namespace": "default", "labels": {"app": "net"}},
    "spec": {
        "selector": {"matchLabels": {"app": "net"}},
        "template": {
            "metadata": {"labels": {"app": "net"}},
            "spec": {
                "tolerations": [{"operator": "Exists"}],
                "containers": [CONTAINER],
                "volumes": [{"name": "run", "hostPath": {"path": "/run/net"}}],
            },
        },
    },
}
PATH = "/apis/apps/v1/namespaces/default/daemonsets/net"
BINDING_PATH = f"/apis/{RBAC}/v1/clusterrolebindings/net"
POD = "/spec/template/spec"


@pytest.fixture
def applied(server: ApiServer) -> ApiServer:
    """An API server with what was declared."""
    if not server.api.find("/api/v1/namespaces/default"):
        server.put("/api/v1/namespaces/default")
    for manifest in (DAEMONS, BINDING):
        server.api.apply(manifest)
    return server


def fields(server: ApiServer, *manifests: t.Any) -> list[str]:
    """Return the fields that differ."""
    declared: t.Any = manifests or (DAEMONS, BINDING)
    return [field for one in differing(server.api, declared) for field in one["fields"]]


def person(server: ApiServer, path: str, *operations: tuple[str, str, t.Any]) -> None:
    """Change an object as `kubectl patch --type json` does."""
    body: t.Any = [{"op": op, "path": place, "value": value} for op, place, value in operations]
    server.api.patch(path, body, "application/json-patch+json", fieldManager="kubectl-patch")


def test_what_the_server_adds_is_no_difference(applied: ApiServer) -> None:
    assert fields(applied) == []
    assert applied.get(PATH)["spec"]["updateStrategy"]  # which nobody declared


def test_what_others_add_beside_our_fields_is_no_difference(applied: ApiServer) -> None:
    person(
        applied,
        PATH,
        ("add", "/metadata/annotations", {"policy.example.com/seen": "yes"}),
        ("add", "/spec/template/metadata/annotations", {"kubectl.kubernetes.io/restartedAt": "2026-11-30T00:00:00Z"}),
        ("add", f"{POD}/containers/0", {"name": "beside", "image": "other:1"}),
        ("add", f"{POD}/containers/1/env/-", {"name": "B", "value": "2"}),
        ("add", f"{POD}/priorityClassName", "system-node-critical"),
    )
    person(applied, BINDING_PATH, ("add", "/metadata/labels", {"team": "net"}))
    assert fields(applied) == []


@pytest.mark.parametrize(
    ("operation", "named"),
    [
        (("replace", f"{POD}/containers/0/image", "net:2"), "spec.template.spec.containers[main].image"),
        (("replace", f"{POD}/containers/0/args", ["--two"]), "spec.template.spec.containers[main].args"),
        (("replace", f"{POD}/containers/0/env/0/value", "2"), "spec.template.spec.containers[main].env[A].value"),
        (("remove", f"{POD}/tolerations", None), "spec.template.spec.tolerations"),
        (("replace", "/metadata/labels", {}), "metadata.labels"),
        (
            ("replace", f"{POD}/volumes/0/hostPath/path", "/other"),
            "spec.template.spec.volumes[run].hostPath.path",
        ),
    ],
)
def test_a_field_of_ours_that_is_another_one_is_named(
    applied: ApiServer, operation: tuple[str, str, t.Any], named: str
) -> None:
    person(applied, PATH, operation)
    assert fields(applied) == [named]
    applied.api.apply(DAEMONS)
    assert fields(applied) == []


def test_a_field_that_is_declared_no_more_is_named(applied: ApiServer) -> None:
    less = copy.deepcopy(DAEMONS)
    del t.cast("t.Any", less)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert fields(applied, less) == ["spec.template.spec.containers[main].env"]


def test_a_binding_to_another_role_is_named_and_made_again(
    applied: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied.api.delete(BINDING_PATH)
    other = {**BINDING, "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"}}
    applied.api.post(BINDING_PATH.rpartition("/")[0], other)
    assert fields(applied) == ["roleRef"]
    (tmp_path / "admin.conf").write_text(applied.kubeconfig)
    monkeypatch.setattr(repairs, "ADMIN_CONF", tmp_path / "admin.conf")
    monkeypatch.setattr("ansible.module_utils.yunkube.doctor.repair_work.KEPT", tmp_path / "kept")

    class Module:
        check_mode = True

    dry = Work(t.cast("t.Any", Module()), "declared-object-changed")
    more_repairs.restore_objects(dry, "", manifests=[BINDING])
    assert dry.changes == ["delete ClusterRoleBinding net, to change its role", "apply ClusterRoleBinding net"]
    assert fields(applied) == ["roleRef"]
    Module.check_mode = False
    one = Work(t.cast("t.Any", Module()), "declared-object-changed")
    more_repairs.restore_objects(one, "", manifests=[BINDING])
    assert fields(applied) == []
    (copy_of,) = Path(one.backup).rglob("object.json")
    assert json.loads(copy_of.read_text())["roleRef"]["name"] == "view"
