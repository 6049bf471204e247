# SPDX-License-Identifier: Apache-2.0
"""Web services against an API: applied, recorded, rolled, removed; and what is not ours stays."""

from __future__ import annotations

import base64
import json
import tempfile
import threading
import typing as t
from pathlib import Path

import pytest
import real_module
import web_services
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, parse_kubeconfig
from ansible.module_utils.yunkube.kube.objects import as_diff
from ansible.module_utils.yunkube.web import deploy as web_deploy
from ansible.module_utils.yunkube.web import rollout as web_rollout
from ansible.module_utils.yunkube.web.service import OPTIONS
from fake_controllers import Controllers
from fake_kube_api import FakeKubeApi

WEB: Json = {"name": "web", "image": "web:1", "node_port": 31111}
SHOP: Json = {"name": "shop", "image": "shop:1", "namespace": "shops"}
RC: Json = {**WEB, "kind": "ReplicationController"}
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/web"
SERVICE = "/api/v1/namespaces/default/services/web"


@pytest.fixture
def fake(fake: FakeKubeApi, monkeypatch: pytest.MonkeyPatch) -> FakeKubeApi:
    monkeypatch.setattr(web_rollout, "PAUSE", 0.0)
    monkeypatch.setattr(web_rollout, "PATIENCE", 0.1)
    for name in ("default", "kube-system", "registry"):
        fake.put(f"/api/v1/namespaces/{name}")
    return fake


@pytest.fixture
def controllers(fake: FakeKubeApi) -> Controllers:
    return Controllers(fake)


def filled(service: Json) -> Json:
    """Return a declaration as the module gets it, with what it does not say."""
    return {name: option.get("default") for name, option in OPTIONS.items()} | service


def deploy(fake: FakeKubeApi, *services: Json, dry_run: bool = False, timeout: float = 3) -> web_deploy.Deploy:
    """Apply exactly these services."""
    with KubeApi(parse_kubeconfig(fake.kubeconfig)) as api:
        declared = [filled(one) for one in services]
        run = web_deploy.Deploy(api, declared, "registry/registry-login", dry_run=dry_run, prune="data")
        run.run(timeout)
    return run


def words(fake: FakeKubeApi, *services: Json, dry_run: bool = False) -> list[str]:
    """Apply exactly these services; return what that took."""
    run = deploy(fake, *services, dry_run=dry_run)
    assert run.faults == []
    return run.in_words()


def changing(fake: FakeKubeApi) -> list[str]:
    """Return the requests that changed something."""
    return [line for line in fake.log if not line.startswith("GET") and "dryRun" not in line]


@pytest.mark.usefixtures("controllers")
def test_a_service_is_made_once(fake: FakeKubeApi) -> None:
    expected = ["create Service default/web", "create Deployment default/web (web:1)"]
    assert words(fake, WEB, dry_run=True) == expected
    assert changing(fake) == []
    assert words(fake, WEB) == expected
    assert words(fake, WEB) == []
    assert words(fake, WEB, dry_run=True) == []


@pytest.mark.usefixtures("controllers")
def test_what_changes_is_named(fake: FakeKubeApi) -> None:
    words(fake, WEB)
    newer = {**WEB, "image": "web:2"}
    expected = ["update Deployment default/web from web:1 to web:2"]
    assert words(fake, newer, dry_run=True) == expected
    assert words(fake, newer) == expected
    assert words(fake, {**newer, "node_port": 31112}) == ["change Service default/web"]


@pytest.mark.usefixtures("controllers")
def test_what_is_not_declared_any_more_is_removed_service_first(fake: FakeKubeApi) -> None:
    before = set(fake.objects)
    words(fake, WEB, SHOP)
    gone = ["Service default/web", "Service shops/shop", "Deployment default/web", "Deployment shops/shop"]
    expected = [f"remove {name}" for name in [*gone, "Namespace shops"]]
    assert words(fake, dry_run=True) == expected
    assert SERVICE in fake.objects
    assert words(fake) == expected
    assert set(fake.objects) == before
    assert words(fake) == []


@pytest.mark.usefixtures("controllers")
def test_a_namespace_that_others_use_stays(fake: FakeKubeApi) -> None:
    words(fake, SHOP)
    fake.put("/api/v1/namespaces/shops/configmaps/kube-root-ca.crt")
    mine = fake.put("/api/v1/namespaces/shops/configmaps/mine")
    for dry_run in (True, False):
        assert words(fake, dry_run=dry_run) == ["remove Service shops/shop", "remove Deployment shops/shop"]
    assert mine in fake.objects.values()


@pytest.mark.usefixtures("controllers")
def test_a_namespace_that_was_there_is_neither_ours_nor_removed(fake: FakeKubeApi) -> None:
    fake.put("/api/v1/namespaces/shops")
    assert "create Namespace shops" not in words(fake, SHOP)
    words(fake)
    assert "/api/v1/namespaces/shops" in fake.objects


@pytest.mark.usefixtures("controllers")
def test_an_object_of_others_is_neither_changed_nor_removed(fake: FakeKubeApi) -> None:
    theirs = dict(fake.put(SERVICE, spec={"ports": []}))
    run = deploy(fake, WEB)
    (fault,) = run.faults
    assert (fault.host, fault.check) == ("default/web", "foreign")
    assert "kubectl label service/web -n default app.kubernetes.io/managed-by=yunkube-web-services" in fault.remedy
    assert DEPLOYMENT not in fake.objects
    words(fake)
    assert fake.objects[SERVICE] == theirs


@pytest.mark.usefixtures("controllers")
def test_what_was_handed_over_is_ours_and_what_was_taken_away_is_not(fake: FakeKubeApi) -> None:
    fake.put(SERVICE, metadata={"labels": {"app.kubernetes.io/managed-by": "yunkube-web-services"}}, spec={"ports": []})
    words(fake, WEB)
    fake.objects[DEPLOYMENT]["metadata"]["labels"].pop("app.kubernetes.io/managed-by")
    assert words(fake) == ["remove Service default/web"]
    assert DEPLOYMENT in fake.objects


@pytest.mark.usefixtures("controllers")
def test_a_run_that_was_cut_short_leaves_nothing_unknown(fake: FakeKubeApi) -> None:
    fake.refuse[f"PATCH {DEPLOYMENT}"] = (500, "etcd has no leader")
    assert [fault.check for fault in deploy(fake, WEB).faults] == ["manifest"]
    record = json.loads(fake.objects[web_deploy.RECORD_PATH]["data"]["objects"])
    assert [entry["kind"] for entry in record] == ["Service", "Deployment"]
    assert words(fake) == ["remove Service default/web"]
    assert web_deploy.RECORD_PATH not in fake.objects


@pytest.mark.usefixtures("controllers")
def test_what_is_still_leaving_is_made_again_when_it_is_gone(fake: FakeKubeApi) -> None:
    words(fake, WEB)
    fake.objects[DEPLOYMENT]["metadata"]["deletionTimestamp"] = "2026-11-25T00:00:00Z"
    timer = threading.Timer(0.2, fake.objects.pop, [DEPLOYMENT])
    timer.start()
    assert words(fake, WEB) == ["create Deployment default/web (web:1)"]
    timer.join()
    assert "deletionTimestamp" not in fake.objects[DEPLOYMENT]["metadata"]


@pytest.mark.usefixtures("controllers")
def test_one_service_that_fails_does_not_keep_the_others(fake: FakeKubeApi) -> None:
    fake.refuse[f"PATCH {DEPLOYMENT}"] = (422, "spec: Invalid value")
    run = deploy(fake, WEB, SHOP)
    assert [fault.host for fault in run.faults] == ["default/web"]
    assert "/apis/apps/v1/namespaces/shops/deployments/shop" in fake.objects


@pytest.mark.usefixtures("controllers")
def test_a_node_port_may_pass_from_a_removed_service_to_a_new_one(fake: FakeKubeApi) -> None:
    words(fake, WEB)
    said = "spec.ports[0].nodePort: Invalid value: 31111: provided port is already allocated"
    fake.refuse["PATCH /api/v1/namespaces/default/services/next"] = (422, said)
    planned = words(fake, {**WEB, "name": "next"}, dry_run=True)
    assert "remove Service default/web" in planned
    assert "create Service default/next" in planned
    fake.refuse.clear()
    fake.log.clear()
    words(fake, {**WEB, "name": "next"})
    requests = [line.partition("?")[0] for line in changing(fake)]
    made = requests.index("PATCH /api/v1/namespaces/default/services/next")
    assert requests.index(f"DELETE {SERVICE}") < made < requests.index(f"DELETE {DEPLOYMENT}")


@pytest.mark.usefixtures("controllers")
def test_a_login_comes_from_its_secret_and_shows_nowhere(fake: FakeKubeApi) -> None:
    canary = "canary-77"
    values = {"address": "registry.example:5000", "username": "admin", "password": canary}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    fake.put("/api/v1/namespaces/registry/secrets/registry-login", data=data)
    service = {**SHOP, "image": "registry.example:5000/shop:1"}
    for dry_run in (True, False):
        run = deploy(fake, service, dry_run=dry_run)
        assert "create Secret shops/registry-pull" in run.in_words()
        shown = json.dumps([as_diff(run.changes), run.in_words()])
        assert canary not in shown
        assert base64.b64encode(f"admin:{canary}".encode()).decode() not in shown
        assert "(hidden)" in shown
    pod = fake.objects["/apis/apps/v1/namespaces/shops/deployments/shop"]["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry-pull"}]
    assert words(fake, service) == []
    words(fake)
    assert "/api/v1/namespaces/shops/secrets/registry-pull" not in fake.objects


@pytest.mark.usefixtures("controllers")
def test_files_manifests_stand_in_the_services_namespace_unless_they_say_another(fake: FakeKubeApi) -> None:
    resources: list[Json] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "namespace": "default"}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "c"}},
    ]
    before = set(fake.objects)
    made = words(fake, {"name": "files", "namespace": "shops", "resources": resources})
    names = ["Namespace shops", "ConfigMap shops/a", "ConfigMap default/b", "ClusterRole c"]
    assert made == [f"create {name}" for name in names]
    words(fake)
    assert set(fake.objects) == before


def test_a_replication_controller_is_rolled_with_as_many_pods_as_before(
    fake: FakeKubeApi, controllers: Controllers
) -> None:
    words(fake, RC)
    controllers.fewest, controllers.most = 99, 0
    assert words(fake, {**RC, "image": "web:2"}, dry_run=True) == [
        "update ReplicationController default/web from web:1 to web:2"
    ]
    words(fake, {**RC, "image": "web:2"})
    images = {pod["spec"]["containers"][0]["image"] for pod in controllers.pods(fake)}
    assert (images, len(controllers.pods(fake))) == ({"web:2"}, 2)
    assert (controllers.fewest, controllers.most) == (2, 3)
    assert words(fake, {**RC, "image": "web:2"}) == []


def test_a_roll_that_was_cut_short_goes_on(fake: FakeKubeApi, controllers: Controllers) -> None:
    words(fake, RC)
    newer = {**RC, "image": "web:2"}
    deploy(fake, newer, timeout=-1)  # applied, and not followed any further
    old = [pod for pod in controllers.pods(fake) if pod["spec"]["containers"][0]["image"] == "web:1"]
    assert old
    assert words(fake, newer, dry_run=True) != []
    assert words(fake, newer) != []
    assert {pod["spec"]["containers"][0]["image"] for pod in controllers.pods(fake)} == {"web:2"}
    assert words(fake, newer) == []


def test_a_bad_version_leaves_the_old_pods_and_a_good_one_replaces_it(
    fake: FakeKubeApi, controllers: Controllers
) -> None:
    words(fake, RC)
    controllers.bad.add("web:bad")
    (fault,) = deploy(fake, {**RC, "image": "web:bad"}, timeout=0.5).faults
    assert (fault.host, fault.check) == ("default/web", "rollout")
    images = [pod["spec"]["containers"][0]["image"] for pod in controllers.pods(fake)]
    assert images.count("web:1") == 2
    words(fake, {**RC, "image": "web:3"})
    assert {pod["spec"]["containers"][0]["image"] for pod in controllers.pods(fake)} == {"web:3"}


def run_module(fake: FakeKubeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **params: t.Any) -> Json:
    """Run the module's main with these parameters and return its result."""
    config = tmp_path / "admin.conf"
    config.write_text(fake.kubeconfig)
    result: Json = {}

    class Ended(Exception):  # noqa: N818 - no error, the module's way to end
        pass

    def init(self: t.Any, **_settings: t.Any) -> None:
        defaults = {"registry_secret": "registry/registry-login", "timeout": 1, "prune": "keep", "ask": False}
        defaults |= {"cluster": "", "cluster_id": None}
        self.params = {"kubeconfig": str(config), **defaults, **params}
        self.check_mode = params.pop("check", False)
        self._diff = True

    def end(failed: bool) -> t.Callable[..., None]:
        def call(_self: t.Any, **said: t.Any) -> None:
            result.update(said, failed=failed)
            raise Ended

        return call

    # Each call is a process of its own elsewhere, and its end frees the host's lock.
    monkeypatch.setattr("ansible.module_utils.yunkube.host.run_lock.FOLDER", Path(tempfile.mkdtemp(dir=tmp_path)))
    monkeypatch.setattr(AnsibleModule, "__init__", init)
    monkeypatch.setattr(AnsibleModule, "exit_json", end(failed=False))
    monkeypatch.setattr(AnsibleModule, "fail_json", end(failed=True))
    with real_module.ending(monkeypatch), pytest.raises(Ended):
        web_services.main()
    return result


def test_the_module_fails_with_a_line_for_each_service(
    fake: FakeKubeApi, controllers: Controllers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    controllers.bad |= {"web:1", "shop:1"}
    result = run_module(fake, monkeypatch, tmp_path, services=[filled(WEB), filled(SHOP)])
    assert result["failed"]
    assert [fault["host"] for fault in result["faults"]] == ["default/web", "shops/shop"]
    assert result["msg"].count("\n") == 1
    assert "0 of 2 pods are ready" in result["msg"]


def test_before_there_is_a_cluster_everything_would_be_made(
    fake: FakeKubeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing = str(tmp_path / "none.conf")
    plan = {"services": [filled(WEB)], "kubeconfig": missing}
    result = run_module(fake, monkeypatch, tmp_path, **plan, check=True)
    assert result["changes"] == ["create Service default/web", "create Deployment default/web"]
    assert run_module(fake, monkeypatch, tmp_path, **plan)["failed"]


@pytest.mark.usefixtures("controllers")
def test_the_module_asks_before_it_removes_and_warns_of_what_stays(
    fake: FakeKubeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words(fake, WEB)
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: warnings.append(text))
    refused = run_module(fake, monkeypatch, tmp_path, services=[], prune="services", ask=True)
    assert (refused["failed"], refused["kind"]) == (True, "removals")
    assert [fault["host"] for fault in refused["faults"]] == ["Service default/web", "Deployment default/web"]
    kept = run_module(fake, monkeypatch, tmp_path, services=[])
    assert (kept["failed"], kept["changed"]) == (False, False)
    assert kept["kept"] == ["Service default/web", "Deployment default/web"]
    names = "2 objects: Service default/web, Deployment default/web"
    assert warnings == [f"kept although no longer declared: {names}; to remove: web apply"]
