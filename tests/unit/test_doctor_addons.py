# SPDX-License-Identifier: Apache-2.0
"""CoreDNS and kube-proxy beside what the bundle's kubeadm declares, on a real API server."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.doctor import addons, collect_objects, more_repairs, repairs
from ansible.module_utils.yunkube.doctor.facts import ClusterFacts, Json
from ansible.module_utils.yunkube.doctor.repair_work import Work
from ansible.module_utils.yunkube.kube.api import KubeError
from kube_api_server import ApiServer, programs

CONFIGURATION = """apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.37.2
networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16, dnsDomain: cluster.local}
"""
SERVER = "https://10.92.0.11:6443"
SYSTEM = "/api/v1/namespaces/kube-system"
APPS = "/apis/apps/v1/namespaces/kube-system"
PROXY, DNS, SERVICE = f"{APPS}/daemonsets/kube-proxy", f"{APPS}/deployments/coredns", f"{SYSTEM}/services/kube-dns"
CONTAINER = "/spec/template/spec/containers/0"


@pytest.fixture
def kubeadm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle's kubeadm, where a host's would be."""
    monkeypatch.setattr(addons, "SEARCH", str(programs("kubeadm")["kubeadm"].parent))
    monkeypatch.setattr(addons, "SECONDS", 60.0)


@pytest.fixture
def printed(kubeadm: None) -> dict[str, Json]:
    """What kubeadm declares of a small cluster."""
    del kubeadm
    found = addons.printed(CONFIGURATION, addons.Declaration(SERVER, {"conntrack": {"maxPerCore": 0}}))
    assert found.problem == ""
    return found.objects


@pytest.fixture
def cluster(server: ApiServer, printed: dict[str, Json]) -> ApiServer:
    """An API server with these objects, as kubeadm made them."""
    for space in ("kube-system", "default"):
        if not server.api.find(f"/api/v1/namespaces/{space}"):
            server.put(f"/api/v1/namespaces/{space}")
    for manifest in printed.values():
        path = server.api.path_of(manifest)
        query = {"fieldManager": "kubeadm", "force": "true"}
        server.api.patch(path, manifest["text"], "application/apply-patch+yaml", **query)
    return server


def differs(cluster: ApiServer, printed: dict[str, Json]) -> dict[str, list[str]]:
    """Return what is named as changed: of each object, how its fields differ."""
    facts = ClusterFacts()
    collect_objects.compare(facts, cluster.api, (), lambda: addons.Printed(printed))
    return {one["name"]: one["said"] for one in facts.changed}


def person(cluster: ApiServer, path: str, *operations: tuple[str, str, t.Any]) -> None:
    """Change an object as `kubectl patch --type json` does."""
    body: t.Any = [{"op": op, "path": place, "value": value} for op, place, value in operations]
    cluster.api.patch(path, body, "application/json-patch+json", fieldManager="kubectl-patch")


def test_kubeadm_says_of_every_object_how_it_is_declared(printed: dict[str, Json]) -> None:
    objects = {name for objects in collect_objects.ADDONS.values() for name in objects}
    assert {*printed} == objects | {"DaemonSet kube-system/kube-proxy", "Deployment kube-system/coredns"}
    assert {*collect_objects.COMPARED} <= {*printed}
    proxy = printed["ConfigMap kube-system/kube-proxy"]["text"]
    assert "maxPerCore: 0" in proxy
    assert f"server: {SERVER}" in proxy


@pytest.mark.usefixtures("kubeadm")
def test_a_configuration_that_kubeadm_does_not_take_declares_nothing_and_why_is_said() -> None:
    found = addons.printed("kind: Nonsense\n", addons.Declaration(SERVER))
    assert found.objects == {}
    assert "Nonsense" in found.problem


def test_a_kubeadm_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(addons, "SEARCH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = addons.printed(CONFIGURATION, addons.Declaration(SERVER))
    assert found == ({}, "kubeadm cannot be run: No such file or directory")


@pytest.mark.usefixtures("kubeadm")
def test_a_named_endpoint_needs_no_default_route() -> None:
    """Kubeadm looks for an address of its own where it is given none, and takes one only of a default route."""
    init = addons._init(addons.Declaration("https://kube.example:6443", address="10.92.0.11"), "")
    assert init["localAPIEndpoint"] == {"advertiseAddress": "10.92.0.11"}
    named = f"{CONFIGURATION}controlPlaneEndpoint: kube.example:6443\n"
    found = addons.printed(named, addons.Declaration("https://kube.example:6443", address="10.92.0.11"))
    assert "server: https://kube.example:6443" in found.objects["ConfigMap kube-system/kube-proxy"]["text"]
    assert "localAPIEndpoint" not in addons._init(addons.Declaration("https://kube.example:6443"), "")


@pytest.mark.usefixtures("kubeadm")
@pytest.mark.parametrize("form", ["{0}:\n  disabled: true\n", "{0}: {{disabled: true}}\n"])
@pytest.mark.parametrize(("addon", "name"), [("coredns", "dns"), ("kube-proxy", "proxy")])
def test_an_addon_that_the_cluster_has_not_is_not_declared(form: str, addon: str, name: str) -> None:
    text = CONFIGURATION + form.format(name)
    assert addons.disabled(text) == [addon]
    found = addons.printed(text, addons.Declaration(SERVER))
    assert found.problem == ""
    assert not [one for one in found.objects if one in collect_objects.ADDONS[addon]]
    other = f"{CONFIGURATION}{name}:\n  imageTag: v1\netcd:\n  disabled: true\n"
    assert addons.disabled(other) == []
    assert addons.disabled(CONFIGURATION + form.format(name).replace("true", "false")) == []


@pytest.mark.usefixtures("kubeadm")
def test_patches_of_a_host_are_part_of_what_is_declared() -> None:
    container = {"name": "coredns", "readinessProbe": {"periodSeconds": 2}}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    found = addons.printed(CONFIGURATION, addons.Declaration(SERVER, {}, [{"corednsdeployment": patch, "etcd": {}}]))
    assert "periodSeconds: 2" in found.objects["Deployment kube-system/coredns"]["text"]


def test_what_kubeadm_made_is_as_declared(cluster: ApiServer, printed: dict[str, Json]) -> None:
    assert differs(cluster, printed) == {}
    assert cluster.get(PROXY)["spec"]["updateStrategy"]["rollingUpdate"]  # which nobody declared


def test_what_people_set_beside_is_no_difference(cluster: ApiServer, printed: dict[str, Json]) -> None:
    person(cluster, DNS, ("replace", "/spec/replicas", 5), ("add", "/spec/template/spec/hostNetwork", False))
    person(cluster, f"{SYSTEM}/configmaps/coredns", ("replace", "/data/Corefile", ". {\n  whoami\n}\n"))
    person(cluster, SERVICE, ("add", "/metadata/labels/team", "net"), ("add", "/spec/internalTrafficPolicy", "Local"))
    again = {"kubectl.kubernetes.io/restartedAt": "2026-11-30T00:00:00Z"}
    person(cluster, PROXY, ("add", "/spec/template/metadata/annotations", again))
    assert differs(cluster, printed) == {}


@pytest.mark.parametrize(
    ("path", "operation", "said"),
    [
        (PROXY, ("replace", f"{CONTAINER}/image", "x:1"), "image is x:1, declared is .*:v1.37.2"),
        (PROXY, ("replace", f"{CONTAINER}/command/1", "--no"), "command is .*--no.*, declared is .*--config="),
        (PROXY, ("remove", "/spec/template/spec/tolerations", None), "tolerations is nothing, declared is "),
        (PROXY, ("add", "/spec/template/spec/hostNetwork", False), "hostNetwork is nothing, declared is true"),
        (DNS, ("replace", f"{CONTAINER}/args", ["-conf", "/x"]), r"args is \[\"-conf\", \"/x\"\], declared is "),
        (SERVICE, ("replace", "/spec/selector", {"k8s-app": "dns"}), "selector is .*: .dns.}, declared is .*kube-dns"),
        (SERVICE, ("remove", "/spec/selector", None), "spec.selector is nothing, declared is "),
        (SERVICE, ("replace", "/spec/ports/0/targetPort", 54), r"ports\[.*UDP\].targetPort is 54, declared is 53"),
    ],
)  # fmt: skip
def test_a_field_that_differs_is_named_with_both_values(
    cluster: ApiServer, printed: dict[str, Json], path: str, operation: tuple[str, str, t.Any], said: str
) -> None:
    person(cluster, path, operation)
    (lines,) = differs(cluster, printed).values()
    assert any(re.search(said, line) for line in lines), lines


@pytest.mark.parametrize(
    "operations",
    [
        [("replace", "/metadata/annotations/prometheus.io~1scrape", "false")],
        [("replace", "/spec/ports/0/targetPort", "dns"), ("replace", "/spec/ports/1/targetPort", "dns-tcp")],
        [("remove", "/spec/ports/2", None)],
        [("replace", "/metadata/labels/kubernetes.io~1name", "DNS")],
    ],
)
def test_of_the_service_what_does_not_make_it_fail_is_not_named(
    cluster: ApiServer, printed: dict[str, Json], operations: list[tuple[str, str, t.Any]]
) -> None:
    assert cluster.get(SERVICE)["spec"]["ports"][2]["name"] == "metrics"
    person(cluster, SERVICE, *operations)
    assert differs(cluster, printed) == {}


def test_of_a_text_the_line_that_differs_is_named(cluster: ApiServer, printed: dict[str, Json]) -> None:
    path = f"{SYSTEM}/configmaps/kube-proxy"
    text = cluster.get(path)["data"]["config.conf"]
    person(cluster, path, ("replace", "/data/config.conf", text.replace("mode: iptables", "mode: ipvx")))
    expected = "data.config.conf has mode: ipvx, declared is mode: iptables"
    assert differs(cluster, printed) == {"ConfigMap kube-system/kube-proxy": [expected]}


@pytest.fixture
def work(cluster: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A repair."""
    (tmp_path / "admin.conf").write_text(cluster.kubeconfig)
    monkeypatch.setattr(repairs, "ADMIN_CONF", tmp_path / "admin.conf")
    monkeypatch.setattr("ansible.module_utils.yunkube.doctor.repair_work.KEPT", tmp_path / "kept")
    monkeypatch.setattr(more_repairs, "_revive", lambda *_: None)  # here nobody starts pods

    class Module:
        check_mode = False

    return Work(t.cast("t.Any", Module()), "addon-object-changed")


def test_a_changed_object_is_applied_again(cluster: ApiServer, printed: dict[str, Json], work: Work) -> None:
    person(cluster, PROXY, ("replace", f"{CONTAINER}/image", "x:1"))
    person(cluster, DNS, ("replace", "/spec/replicas", 5), ("replace", f"{CONTAINER}/args", ["-oops"]))
    changed = [printed[name] for name in differs(cluster, printed)]
    more_repairs.restore_objects(work, "", manifests=changed)
    assert differs(cluster, printed) == {}
    assert cluster.get(DNS)["spec"]["replicas"] == 5  # a person's own
    assert len(work.changes) == 2


def test_a_deployment_that_was_deleted_comes_back_with_all_its_pods(
    cluster: ApiServer, printed: dict[str, Json], work: Work
) -> None:
    cluster.api.delete(DNS)
    more_repairs.restore_objects(work, "", manifests=[printed["Deployment kube-system/coredns"]])
    assert cluster.get(DNS)["spec"]["replicas"] == 2
    assert differs(cluster, printed) == {}
    person(cluster, DNS, ("replace", "/spec/replicas", 4))
    assert differs(cluster, printed) == {}
    person(cluster, DNS, ("replace", f"{CONTAINER}/args", ["-oops"]))
    more_repairs.restore_objects(work, "", manifests=[printed["Deployment kube-system/coredns"]])
    assert cluster.get(DNS)["spec"]["replicas"] == 4


def test_a_deployment_with_another_selector_is_made_again_with_as_many_pods(
    cluster: ApiServer, printed: dict[str, Json], work: Work
) -> None:
    other = cluster.get(DNS)
    cluster.api.delete(DNS)
    labels = {"k8s-app": "dns"}
    other["spec"] |= {"selector": {"matchLabels": labels}, "replicas": 3}
    other["spec"]["template"]["metadata"]["labels"] = labels
    cluster.api.post(DNS.rpartition("/")[0], {"metadata": {"name": "coredns"}, "spec": other["spec"]})
    (lines,) = differs(cluster, printed).values()
    assert any("spec.selector" in line and "the API does not change it" in line for line in lines), lines
    more_repairs.restore_objects(work, "", manifests=[printed["Deployment kube-system/coredns"]])
    found = cluster.get(DNS)["spec"]
    assert (found["selector"]["matchLabels"], found["replicas"]) == ({"k8s-app": "kube-dns"}, 3)


def test_what_is_invalid_beside_what_is_declared_is_not_made_again(
    cluster: ApiServer, printed: dict[str, Json], work: Work
) -> None:
    """A limit below the declared request is refused as well, and is a matter of a person."""
    uid = cluster.get(DNS)["metadata"]["uid"]
    low = {"limits": {"memory": "20Mi"}, "requests": {"memory": "10Mi", "cpu": "100m"}}
    manifest = printed["Deployment kube-system/coredns"]
    text = re.sub(r"limits:\n( +)memory: .*", r"limits:\n\1cpu: 1", manifest["text"])
    person(cluster, DNS, ("replace", f"{CONTAINER}/resources", low))
    assert differs(cluster, {**printed, "Deployment kube-system/coredns": {**manifest, "text": text}}) == {}
    with pytest.raises(KubeError, match="must be less than or equal to memory limit"):
        more_repairs.restore_objects(work, "", manifests=[{**manifest, "text": text}])
    assert cluster.get(DNS)["metadata"]["uid"] == uid


def test_a_service_with_another_address_is_made_again(cluster: ApiServer, printed: dict[str, Json], work: Work) -> None:
    cluster.api.delete(SERVICE)
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}]
    cluster.api.post(SERVICE.rpartition("/")[0], {"metadata": {"name": "kube-dns"}, "spec": {"ports": ports}})
    (lines,) = differs(cluster, printed).values()
    assert any('declared is ["10.96.0.10"]; the API does not change it' in line for line in lines), lines
    more_repairs.restore_objects(work, "", manifests=[printed["Service kube-system/kube-dns"]])
    assert cluster.get(SERVICE)["spec"]["clusterIP"] == "10.96.0.10"
    assert differs(cluster, printed) == {}


def test_a_binding_to_another_role_is_made_again(cluster: ApiServer, printed: dict[str, Json], work: Work) -> None:
    name = "ClusterRoleBinding kubeadm:node-proxier"
    path = collect_objects.ADDONS["kube-proxy"][name]
    found = cluster.get(path)
    cluster.api.delete(path)
    role = {**found["roleRef"], "name": "view"}
    other = {"metadata": {"name": found["metadata"]["name"]}, "roleRef": role, "subjects": found["subjects"]}
    cluster.api.post(path.rpartition("/")[0], other)
    more_repairs.restore_objects(work, "", manifests=[printed[name]])
    assert collect_objects.wrong_with(name, cluster.get(path)) == ""
    assert work.backup
