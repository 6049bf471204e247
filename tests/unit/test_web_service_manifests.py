# SPDX-License-Identifier: Apache-2.0
"""From a declaration to manifests."""

from __future__ import annotations

import base64
import json
import typing as t

import pytest
from ansible.module_utils.yunkube.kube.api import Json
from ansible.module_utils.yunkube.web import service as web_service

SHOP: Json = {
    "name": "shop", "image": "shop:1", "namespace": "shops", "kind": "Deployment", "replicas": 2, "port": 8080,
    "node_port": 31111, "cpu": "500m", "memory": "600Mi", "pull_policy": "IfNotPresent", "env": {}, "env_from": [],
    "probe": {}, "resources": [],
}  # fmt: skip
LOGIN = web_service.Login("registry.example:5000", "admin", "hunter2")


def made(**changes: t.Any) -> tuple[Json, Json]:
    """Return the Service and the workload of a declaration."""
    service, workload = web_service.manifests_of({**SHOP, **changes})
    return service, workload


def container(**changes: t.Any) -> Json:
    """Return the container of a declaration."""
    found: Json = made(**changes)[1]["spec"]["template"]["spec"]["containers"][0]
    return found


def test_both_objects_have_its_name_its_namespace_and_our_label() -> None:
    for manifest in made():
        metadata = manifest["metadata"]
        assert (metadata["name"], metadata["namespace"]) == ("shop", "shops")
        assert metadata["labels"] == {
            "app.kubernetes.io/name": "shop",
            "app.kubernetes.io/managed-by": "yunkube-web-services",
        }


def test_with_a_node_port_every_host_answers_and_without_only_the_cluster() -> None:
    spec = made()[0]["spec"]
    assert (spec["type"], spec["ports"][0]["nodePort"]) == ("NodePort", 31111)
    spec = made(node_port=None)[0]["spec"]
    assert (spec["type"], "nodePort" in spec["ports"][0]) == ("ClusterIP", False)


def test_a_service_finds_the_pods_of_its_workload() -> None:
    service, workload = made()
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_an_update_takes_no_pod_before_another_answers() -> None:
    rolling = made()[1]["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxUnavailable": 0, "maxSurge": 1}


def test_a_pod_goes_on_answering_until_all_nodes_know_that_it_leaves() -> None:
    pod = made()[1]["spec"]["template"]["spec"]
    sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 3 <= sleep < pod["terminationGracePeriodSeconds"]


def test_pods_of_an_image_for_one_architecture_run_on_its_nodes() -> None:
    assert "nodeSelector" not in made()[1]["spec"]["template"]["spec"]
    pod = made(architecture="arm64")[1]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"kubernetes.io/arch": "arm64"}


def test_memory_is_a_limit_and_cpu_is_none() -> None:
    resources = container(cpu="250m", memory="1Gi")["resources"]
    assert resources == {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_ask_for_a_path_or_connect(probe: str) -> None:
    assert container(probe={"path": "/healthz"})[probe]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container()[probe]["tcpSocket"] == {"port": "http"}


def test_a_program_has_its_time_to_start() -> None:
    assert container()["startupProbe"]["failureThreshold"] == 60
    assert container(probe={"startup_seconds": 300})["startupProbe"]["failureThreshold"] == 300


def test_environment_variables_are_text() -> None:
    env = {entry["name"]: entry.get("value") for entry in container(env={"A": 1, "B": True, "C": None})["env"]}
    assert env == {"NODE_NAME": None, "A": "1", "B": "true", "C": ""}
    assert [entry["name"] for entry in container(env={"NODE_NAME": "x"})["env"]] == ["NODE_NAME"]


def test_environment_variables_may_be_keys_of_secrets_and_whole_ones() -> None:
    env = {"A": "1", "B": {"secret": "db", "key": "password"}, "C": {"config_map": "settings", "key": "mode"}}
    got = container(
        env=env, env_from=[{"secret": "db", "config_map": None}, {"secret": None, "config_map": "settings"}]
    )
    assert [entry for entry in got["env"] if entry["name"] != "NODE_NAME"] == [
        {"name": "A", "value": "1"},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}},
    ]
    assert got["envFrom"] == [{"secretRef": {"name": "db"}}, {"configMapRef": {"name": "settings"}}]
    assert "envFrom" not in container()


def test_a_pod_has_no_token_of_the_api() -> None:
    for kind in ("Deployment", "ReplicationController"):
        assert made(kind=kind)[1]["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_a_replication_controller_has_a_plain_selector() -> None:
    workload = made(kind="ReplicationController")[1]
    assert workload["apiVersion"] == "v1"
    assert workload["spec"]["selector"] == {"app.kubernetes.io/name": "shop"}
    assert "strategy" not in workload["spec"]


def test_a_stamp_changes_with_the_template_and_with_nothing_else() -> None:
    def stamp(**changes: t.Any) -> str:
        return web_service.stamp_of(web_service.stamped(made(kind="ReplicationController", **changes)[1]))

    assert stamp() == stamp(replicas=5) != ""
    assert stamp() != stamp(image="shop:2")
    deployment = made()[1]
    assert web_service.stamped(deployment) == deployment


def test_files_are_taken_as_they_are_with_our_label() -> None:
    manifest: Json = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"x": "y"}}}
    (got,) = web_service.manifests_of({**SHOP, "resources": [manifest]})
    assert got["metadata"]["labels"] == {"x": "y", "app.kubernetes.io/managed-by": "yunkube-web-services"}
    assert manifest["metadata"]["labels"] == {"x": "y"}


def test_only_pods_from_that_registry_use_its_login() -> None:
    ours = made(image="registry.example:5000/shop:1")[1]
    assert web_service.needs_login(web_service.with_login(ours, LOGIN))
    assert not web_service.needs_login(ours)
    for image in ("shop:1", "registry.example:50001/shop:1"):
        assert not web_service.needs_login(web_service.with_login(made(image=image)[1], LOGIN))


def test_a_pull_secret_is_one_that_a_kubelet_reads() -> None:
    secret = web_service.pull_secret(LOGIN, "shops")
    content = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))
    entry = content["auths"]["registry.example:5000"]
    assert base64.b64decode(entry["auth"]) == b"admin:hunter2"
    assert secret["type"] == "kubernetes.io/dockerconfigjson"


def test_a_login_is_read_from_its_secret_and_shows_no_password() -> None:
    values = {"address": "registry.example:5000", "username": "admin", "password": "hunter2"}
    login = web_service.login_of({"data": {key: base64.b64encode(v.encode()).decode() for key, v in values.items()}})
    assert login == LOGIN
    assert "hunter2" not in f"{login} {login!r}"
    assert web_service.login_of(None) is None
    assert web_service.login_of({"data": {}}) is None


def test_pods_pull_with_the_account_that_may_only_read() -> None:
    values = {"address": "r:5000", "username": "admin", "password": "hunter2"}
    reader = {"reader_username": "pull", "reader_password": "look"}
    for more, expected in (({"reads": "reader", **reader}, ("pull", "look")), (reader, ("admin", "hunter2"))):
        data = {key: base64.b64encode(value.encode()).decode() for key, value in (values | more).items()}
        login = web_service.login_of({"data": data})
        assert login is not None
        assert (login.username, login.password) == expected


def test_what_others_need_comes_first_and_services_go_first() -> None:
    manifests = [{"kind": kind} for kind in ("Deployment", "Service", "ConfigMap", "Namespace")]
    applied = [manifest["kind"] for manifest in web_service.in_order_of_applying(manifests)]
    assert applied == ["Namespace", "ConfigMap", "Service", "Deployment"]
    removed = [manifest["kind"] for manifest in web_service.in_order_of_removing(manifests)]
    assert removed == ["Service", "Deployment", "ConfigMap", "Namespace"]
