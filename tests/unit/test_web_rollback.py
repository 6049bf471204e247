# SPDX-License-Identifier: Apache-2.0
"""Going back: to which template, with what kept, and what is said when there is none."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, parse_kubeconfig
from ansible.module_utils.yunkube.web import deploy as web_deploy
from ansible.module_utils.yunkube.web import rollback as web_rollback
from ansible.module_utils.yunkube.web import rollout as web_rollout
from ansible.module_utils.yunkube.web.service import OPTIONS
from fake_controllers import Controllers
from fake_kube_api import FakeKubeApi

DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/web"
REVISION = "deployment.kubernetes.io/revision"
WEB: Json = {name: option.get("default") for name, option in OPTIONS.items()} | {"name": "web"}


@pytest.fixture
def fake(fake: FakeKubeApi, monkeypatch: pytest.MonkeyPatch) -> FakeKubeApi:
    monkeypatch.setattr(web_rollout, "PAUSE", 0.0)
    for name in ("default", "kube-system"):
        fake.put(f"/api/v1/namespaces/{name}")
    return fake


@pytest.fixture
def controllers(fake: FakeKubeApi) -> Controllers:
    return Controllers(fake)


@pytest.fixture
def api(fake: FakeKubeApi) -> t.Iterator[KubeApi]:
    with KubeApi(parse_kubeconfig(fake.kubeconfig)) as api:
        yield api


def deploy(api: KubeApi, image: str, kind: str = "Deployment") -> None:
    """Apply the service with this image."""
    run = web_deploy.Deploy(api, [{**WEB, "image": image, "kind": kind}], "registry/none", dry_run=False)
    run.run(3)
    assert run.faults == []


def replica_set(fake: FakeKubeApi, revision: int, image: str) -> None:
    """Write what a Deployment keeps of one of its revisions."""
    uid = fake.objects[DEPLOYMENT]["metadata"]["uid"]
    metadata: Json = {"annotations": {REVISION: str(revision)}, "ownerReferences": [{"uid": uid}]}
    labels = {"app.kubernetes.io/name": "web", "pod-template-hash": f"h{revision}"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}}
    fake.put(
        f"/apis/apps/v1/namespaces/default/replicasets/web-{revision}", metadata=metadata, spec={"template": template}
    )
    fake.objects[DEPLOYMENT]["metadata"].setdefault("annotations", {})[REVISION] = str(revision)


def go_back(api: KubeApi, *, dry_run: bool = False) -> Json:
    """Go back once; return the manifest."""
    path, found = web_rollback.find(api, "default", "web")
    manifest, faults = web_rollback.roll_back(api, path, found, 3, dry_run=dry_run)
    assert faults == ()
    return manifest


def image_of(found: Json) -> str:
    """Return the image of a workload's pods."""
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


@pytest.mark.usefixtures("controllers")
def test_a_deployment_goes_to_the_revision_before_and_keeps_its_number_of_pods(fake: FakeKubeApi, api: KubeApi) -> None:
    deploy(api, "web:3")
    for number in (1, 2, 3):
        replica_set(fake, number, f"web:{number}")
    fake.objects[DEPLOYMENT]["spec"]["replicas"] = 5
    assert image_of(go_back(api, dry_run=True)) == "web:2"
    assert image_of(fake.objects[DEPLOYMENT]) == "web:3"
    manifest = go_back(api)
    assert image_of(fake.objects[DEPLOYMENT]) == "web:2"
    assert manifest["spec"]["replicas"] == 5
    assert manifest["spec"]["template"]["metadata"]["labels"] == {"app.kubernetes.io/name": "web"}
    assert manifest["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "yunkube-web-services"


def test_a_controller_goes_to_the_template_before_and_again_to_the_newer_one(
    fake: FakeKubeApi, api: KubeApi, controllers: Controllers
) -> None:
    deploy(api, "web:1", "ReplicationController")
    deploy(api, "web:2", "ReplicationController")
    controllers.fewest = 99
    for image in ("web:1", "web:2"):
        assert image_of(go_back(api)) == image
        assert {image_of({"spec": {"template": pod}}) for pod in controllers.pods(fake)} == {image}
    assert controllers.fewest == 2


@pytest.mark.usefixtures("controllers")
def test_what_was_rolled_back_is_a_change_to_the_next_run(api: KubeApi) -> None:
    deploy(api, "web:1", "ReplicationController")
    deploy(api, "web:2", "ReplicationController")
    go_back(api)
    declared = [{**WEB, "image": "web:2", "kind": "ReplicationController"}]
    run = web_deploy.Deploy(api, declared, "registry/none", dry_run=True)
    run.run(3)
    assert run.in_words() == ["update ReplicationController default/web from web:1 to web:2"]


@pytest.mark.usefixtures("controllers")
@pytest.mark.parametrize("kind", ["Deployment", "ReplicationController"])
def test_where_nothing_was_before_it_says_so(api: KubeApi, kind: str) -> None:
    deploy(api, "web:1", kind)
    with pytest.raises(web_rollback.NothingBefore, match=r"default/web .*nothing to go back to"):
        go_back(api)


@pytest.mark.usefixtures("controllers")
def test_an_unknown_name_is_answered_with_those_that_there_are(fake: FakeKubeApi, api: KubeApi) -> None:
    deploy(api, "web:1")
    fake.put("/apis/apps/v1/namespaces/default/deployments/theirs", spec={})
    with pytest.raises(web_rollback.NothingBefore, match="no web service default/theirs; there are: default/web"):
        web_rollback.find(api, "default", "theirs")
