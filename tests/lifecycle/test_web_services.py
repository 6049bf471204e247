# SPDX-License-Identifier: Apache-2.0
"""Web services as a user declares them: deployed, changed under load, rolled back, removed; failures explained."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import demo_image
import load
import pytest
from laboratory import Lab, Result

LAB = ("web", "10.91.0", 1, 2)
UP_MAKES_HOSTS = True
RATE, AROUND = 50, 4  # requests a second, and for how many seconds before and after what is done under load
CANARY = "canary-6f1d0c"
IMAGE = demo_image.IMAGE
PORT = 31111
URL = f"http://{LAB[1]}.21:{PORT}/who"
KINDS = "deployments,replicasets,replicationcontrollers,pods,services,configmaps,secrets,namespaces,endpointslices"
Service = dict[str, Any]

SMALL: Service = {"cpu": "50m", "memory": "64Mi", "probe": {"path": "/healthz"}}
WEB: Service = {"name": "web", "image": f"{IMAGE}:1", "node_port": PORT, **SMALL}
RC: Service = {**WEB, "kind": "ReplicationController", "namespace": "shop"}


def bring_images(lab: Lab) -> None:
    """Push the demo as two versions of an image on every node."""
    demo_image.bring(lab.bundle / "bin/demo", [f"yunkube-{lab.name}-{node}" for node in ("node1", "node2")])


def run(lab: Lab, verb: str, *services: Service, seconds: int = 30) -> Result:
    """Run a verb with these services declared."""
    return lab.deploy(verb, web_services=json.dumps(services), web_service_timeout=str(seconds))


def apply(lab: Lab, *services: Service) -> Result:
    """Apply exactly these services."""
    result = run(lab, "web apply --yes --prune-data", *services, seconds=120)
    assert result.code == 0, result.errors
    return result


def refused(lab: Lab, *services: Service, seconds: int = 30) -> str:
    """Return why these services do not run."""
    result = run(lab, "web apply --yes --prune-data", *services, seconds=seconds)
    assert result.code == 3, result.errors
    return result.faults


def objects(lab: Lab) -> set[str]:
    """Return the names of everything in the cluster that a service could have left."""
    items = json.loads(lab.kubectl("get", KINDS, "--all-namespaces", "-o", "json"))["items"]
    return {f"{i['kind']} {i['metadata'].get('namespace', '')}/{i['metadata']['name']}" for i in items}


def versions(seen: load.Load) -> list[str]:
    """Return which versions answered, in the order of their first answers."""
    return list(dict.fromkeys(json.loads(answer)["version"] for answer in seen.answers))


def replicas(seen: load.Load) -> set[str]:
    """Return which pods answered."""
    return {json.loads(answer)["replica"] for answer in tuple(seen.answers)}


def answers(*wanted: str, field: str = "version", port: int = PORT) -> bool:
    """Say whether exactly these answer in the end: kube-proxy may for a while list an old pod, or not yet a new one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            asked = {json.loads(load.ask(f"http://{LAB[1]}.21:{port}/who", 2))[field] for _ in range(20)}
        except OSError as error:  # sent to a pod that has just gone
            asked = {str(error)}
        if asked == set(wanted):
            return True
        time.sleep(0.5)
    return False


def told(seen: load.Load, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Show the figures, and let none be lost."""
    with capsys.disabled():
        sys.stdout.write(f"\n  {what}: {seen}\n")
    assert seen.sent == seen.due > RATE * 2 * AROUND
    assert not seen.lost


@pytest.fixture(scope="module")
def empty(lab: Lab) -> set[str]:
    """Return what the cluster holds without any web service."""
    up = lab.deploy("up")
    assert up.code == 0, up.errors
    bring_images(lab)
    return objects(lab)


@pytest.mark.usefixtures("empty")
def test_a_service_is_planned_then_answers_on_every_host(lab: Lab) -> None:
    plan = run(lab, "plan", WEB)
    assert plan.code == 5, plan.errors
    words = [word for words in plan.summary["plan"].values() for word in words]
    assert words == ["create Service default/web", f"create Deployment default/web ({IMAGE}:1)"]
    apply(lab, WEB)
    for host in (11, 21, 22):
        assert json.loads(load.ask(f"http://{lab.network}.{host}:{PORT}/who"))["version"] == "1"
    assert answers("node1", "node2", field="node")


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    assert set(apply(lab, WEB).changed.values()) == {0}
    up = run(lab, "up", WEB)
    assert (up.code, set(up.changed.values())) == (0, {0}), up.errors
    assert run(lab, "plan", WEB).code == 0


def test_a_rolling_update_under_load_loses_no_request(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    newer = {**WEB, "image": f"{IMAGE}:2"}
    plan = run(lab, "plan", newer)
    assert f"update Deployment default/web from {IMAGE}:1 to {IMAGE}:2" in str(plan.summary["plan"])
    with load.around(URL, RATE, AROUND) as seen:
        apply(lab, newer)
    told(seen, "rolling update", capsys)
    assert versions(seen) == ["1", "2"]


def test_a_deleted_pod_under_load_loses_no_request(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    label = "app.kubernetes.io/name=web"
    pod = lab.kubectl("get", "pods", "-l", label, "-o", "jsonpath={.items[0].metadata.name}")
    with load.around(URL, RATE, AROUND) as seen:
        lab.kubectl("delete", "pod", pod)
        deadline = time.monotonic() + 30
        while len(replicas(seen)) < 3 and time.monotonic() < deadline:  # until the new one answers
            time.sleep(0.5)
    told(seen, "pod deleted", capsys)
    assert len(replicas(seen)) == 3


def test_it_goes_back_and_says_what_is_still_declared(lab: Lab) -> None:
    result = lab.deploy("web rollback", "web")
    assert result.code == 0, result.errors
    assert answers("1")
    assert f"set the image of web to {IMAGE}:1" in result.errors
    unknown = lab.deploy("web rollback", "wbe")
    assert unknown.code == 2
    assert "there are: default/web" in unknown.failures[0]["message"]
    assert "from" in str(run(lab, "plan", {**WEB, "image": f"{IMAGE}:2"}).summary["plan"])


def test_a_replication_controller_is_rolled_without_loss(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    apply(lab, RC)  # web leaves, and its node port is that of another service at once
    first = lab.deploy("web rollback", "web", "-n", "shop")
    assert first.code == 2, first.errors
    assert "never been changed" in first.failures[0]["message"]
    newer = {**RC, "image": f"{IMAGE}:2"}
    with load.around(URL, RATE, AROUND) as seen:
        apply(lab, newer)
    told(seen, "ReplicationController rolled", capsys)
    assert versions(seen) == ["1", "2"]
    assert set(apply(lab, newer).changed.values()) == {0}
    assert run(lab, "plan", newer).code == 0
    assert lab.deploy("web rollback", "web", "-n", "shop").code == 0
    assert answers("1")


def test_the_causes_of_all_failed_services_are_reported_at_once(lab: Lab) -> None:
    apply(lab, WEB)
    small = {**WEB, "replicas": 1, "node_port": None}
    small = {key: value for key, value in small.items() if value is not None}
    crash = {"env": {"PORT": "no-port"}}
    lab.kubectl("create", "service", "nodeport", "theirs", "--tcp=80", "--node-port=31119")
    said = refused(
        lab,
        WEB,
        {**small, "name": "image", "image": "localhost:1/nowhere/web:9"},
        {**small, "name": "port", "port": 9999, "env": {"PORT": "8080"}, "probe": {"startup_seconds": 5}},
        {**small, "name": "path", "probe": {"path": "/nothing", "startup_seconds": 5}},
        {**small, "name": "crash", **crash},
        {**small, "name": "big", "cpu": "500"},
        {**small, "name": "taken", "node_port": 31119},
        seconds=40,
    )
    lines = dict(line.split(": ", 1) for line in said.splitlines())
    assert set(lines) == {f"default/{name}" for name in ("image", "port", "path", "crash", "big", "taken")}
    assert "localhost:1/nowhere/web:9 cannot be pulled" in lines["default/image"]
    assert "connection refused" in lines["default/image"]
    assert "nothing listens on port 9999" in lines["default/port"]
    assert "GET /nothing on port 8080 was answered with 404" in lines["default/path"]
    assert "exits with code 1" in lines["default/crash"]
    assert "no-port" in lines["default/crash"]
    assert "no node has room" in lines["default/big"]
    assert "node_port 31119 is taken by Service default/theirs" in lines["default/taken"]
    lab.kubectl("delete", "service", "theirs")
    clash = run(lab, "web apply", WEB, {**small, "name": "taken", "node_port": PORT})
    assert (clash.code, f"node_port {PORT} is that of default/web" in clash.faults) == (2, True)
    apply(lab, WEB)


def test_an_exhausted_quota_is_reported(lab: Lab) -> None:
    lab.kubectl("create", "namespace", "narrow")
    lab.kubectl("create", "quota", "few", "-n", "narrow", "--hard=pods=1")
    said = refused(lab, WEB, {**SMALL, "name": "web", "namespace": "narrow", "image": f"{IMAGE}:1"}, seconds=12)
    assert "quota few has no room for a pod" in said
    apply(lab, WEB)
    assert "Namespace /narrow" in objects(lab)  # it was there before
    lab.kubectl("delete", "namespace", "narrow")


def test_what_others_made_is_not_touched(lab: Lab) -> None:
    lab.kubectl("create", "service", "clusterip", "mine", "--tcp=80")
    said = refused(lab, WEB, {**SMALL, "name": "mine", "image": f"{IMAGE}:1"})
    assert "Service default/mine exists and was not created by Yunkube" in said
    assert "kubectl label service/mine -n default" in said
    apply(lab, WEB)
    assert "Service default/mine" in objects(lab)
    lab.kubectl("delete", "service", "mine")


def test_plain_manifests_are_applied_and_removed_the_same_way(lab: Lab) -> None:
    template = {
        "metadata": {"labels": {"app": "plain"}},
        "spec": {"containers": [{"name": "web", "image": f"{IMAGE}:1"}]},
    }
    spec = {"replicas": 2, "selector": {"app": "plain"}, "template": template}
    controller = {"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "plain"}, "spec": spec}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "plain"},
        "spec": {"type": "NodePort", "selector": {"app": "plain"}, "ports": [{"port": 8080, "nodePort": 31112}]},
    }
    folder = lab.inventory / "manifests"
    folder.mkdir(exist_ok=True)
    (folder / "web-rc.yaml").write_text(json.dumps(controller))
    (folder / "web-svc.yaml").write_text(f"---\n{json.dumps(service)}\n---\n")
    plain = {"name": "plain", "manifests": ["manifests/web-rc.yaml", "manifests/web-svc.yaml"]}
    apply(lab, WEB, plain)
    assert answers("1", port=31112)
    template["spec"]["containers"][0]["image"] = f"{IMAGE}:2"  # type: ignore[index]
    (folder / "web-rc.yaml").write_text(json.dumps(controller))
    apply(lab, WEB, plain)
    assert answers("2", port=31112)
    missing = run(lab, "web apply", {**plain, "manifests": ["manifests/web-cr.yaml"]})
    assert missing.code == 2, missing.errors
    assert "web-cr.yaml: web_services[0].manifests: cannot be read" in missing.faults


def test_a_password_stays_in_the_cluster(lab: Lab) -> None:
    lab.kubectl("create", "namespace", "registry")
    login = ["--from-literal=address=localhost:2", "--from-literal=username=admin", f"--from-literal=password={CANARY}"]
    lab.kubectl("create", "secret", "generic", "registry-login", "-n", "registry", *login)
    secretive = {"env": {"DB_PASSWORD": CANARY, "MODE": {"secret": "settings", "key": "mode"}}}
    wanted = {**SMALL, **secretive, "name": "web", "namespace": "pulls", "image": "localhost:2/web:1"}
    said = refused(lab, WEB, wanted, seconds=15)
    assert "localhost:2/web:1 cannot be pulled" in said
    secret = json.loads(lab.kubectl("get", "secret", "registry-pull", "-n", "pulls", "-o", "json"))
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    pod = json.loads(lab.kubectl("get", "deployment", "web", "-n", "pulls", "-o", "json"))["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry-pull"}]
    lab.kubectl("delete", "namespace", "registry")
    logs = [path for path in (lab.state / "logs").iterdir() if CANARY in path.read_text()]
    assert logs == []
    assert not lab.succeeds("master1", f"journalctl --no-pager | grep -q {CANARY}")


def test_a_removal_must_be_agreed_to_and_data_stays(lab: Lab) -> None:
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Mi"}},
        "storageClassName": "none",
    }
    objects_of = {"PersistentVolumeClaim": {"spec": claim}, "ConfigMap": {}}
    manifests = [{"apiVersion": "v1", "kind": k, "metadata": {"name": "kept"}, **v} for k, v in objects_of.items()]
    (lab.inventory / "manifests").mkdir(exist_ok=True)
    (lab.inventory / "manifests/data.yaml").write_text("---\n".join(json.dumps(one) + "\n" for one in manifests))
    apply(lab, WEB, {"name": "data", "namespace": "shop", "manifests": ["manifests/data.yaml"]})
    before = objects(lab)
    refused = run(lab, "web apply", WEB)
    assert refused.code == 2, refused.errors
    assert "ConfigMap shop/kept: no longer declared, and would be removed" in refused.faults
    assert "--yes" in refused.errors
    up = run(lab, "up", WEB)
    assert (up.code, set(up.changed.values())) == (0, {0}), up.errors
    assert "kept although no longer declared" in json.dumps(up.events)
    assert objects(lab) == before
    agreed = run(lab, "web apply --yes", WEB)
    assert agreed.code == 0, agreed.errors
    assert before - objects(lab) == {"ConfigMap shop/kept"}
    assert lab.kubectl("get", "pvc", "-n", "shop", "-o", "name") == "persistentvolumeclaim/kept\n"
    refused = run(lab, "web apply", WEB, {**SMALL, "name": "registry", "namespace": "registry", "image": f"{IMAGE}:1"})
    assert refused.code == 2, refused.errors
    assert "reserved" in refused.faults


def test_removal_leaves_no_object(lab: Lab, empty: set[str]) -> None:
    plan = run(lab, "plan")
    assert plan.code == 0, plan.errors
    assert "kept although no longer declared" in json.dumps(plan.events)
    assert "Deployment default/web" in plan.summary["kept"]
    apply(lab)
    assert objects(lab) - empty == set()
    assert lab.kubectl("get", "pvc", "-n", "shop", "-o", "name", "--ignore-not-found") == ""
    assert set(apply(lab).changed.values()) == {0}
