# SPDX-License-Identifier: Apache-2.0
"""What a drain refuses, what kubectl does for it at a real API, and what is said when pods do not leave."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import kube_api_server
import pytest
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.kube import drain as module
from ansible.module_utils.yunkube.kube import probe as kube_probe
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError, parse_kubeconfig
from ansible.module_utils.yunkube.kube.drain import Drain, DrainError, local_data, local_volumes, refusals, to_evict
from ansible.module_utils.yunkube.teardown import paths
from fake_kube_api import FakeKubeApi
from kube_api_server import ApiServer

Pod = dict[str, t.Any]
REPLICATED = {"ownerReferences": [{"kind": "ReplicaSet", "controller": True}], "labels": {"app": "web"}}
POD = "/api/v1/namespaces/default/pods/web"
NODE = "/api/v1/nodes/node1"
BUDGET = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web-budget"
CACHE: list[Pod] = [{"name": "cache", "emptyDir": {}}]

# What kubectl 1.37.2 says, on a cluster.
REFUSES = """\
error: unable to drain node "node1" due to error: [cannot delete Pods that declare no controller (use --force to \
override): default/bare, cannot delete Pods with local storage (use --delete-emptydir-data to override): default/a, \
default/b], continuing command...
There are pending nodes to be drained:
 node1
cannot delete Pods that declare no controller (use --force to override): default/bare
cannot delete Pods with local storage (use --delete-emptydir-data to override): default/a, default/b
"""
LATE = """\
Warning: ignoring DaemonSet-managed Pods: kube-flannel/kube-flannel-ds-s2gmf
error when evicting pods/"web" -n "default" (will retry after 5s): Cannot evict pod as it would violate the pod's \
disruption budget.
There are pending pods in node "node1" when an error occurred: error when evicting pods/"web" -n "default": global \
timeout reached: 3s
pod/web
error: unable to drain node "node1" due to error: error when evicting pods/"web" -n "default": global timeout reached: \
3s, continuing command...
"""


class Kubectl:
    """kubectl that answers from a list, and is fine after it."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        """Exit so and say so on stderr, one call after the other."""
        self.answers = list(answers)
        self.ran: list[list[str]] = []

    def __call__(self, argv: list[str]) -> tuple[int, str, str]:
        """Answer."""
        self.ran.append(argv)
        code, said = self.answers.pop(0) if self.answers else (0, "")
        return code, "", said


class RealKubectl:
    """The bundle's kubectl, and what it was called with."""

    def __init__(self) -> None:
        """Find it, built where it is not."""
        self.ran: list[list[str]] = []
        self._program = kube_api_server.programs("kubectl")["kubectl"]

    def __call__(self, argv: list[str]) -> tuple[int, str, str]:
        """Run it."""
        self.ran.append(argv)
        done = subprocess.run([self._program, *argv], capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def server(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ApiServer:
    """An API with a node on which nothing runs yet."""
    (tmp_path / "admin.conf").write_text(server.kubeconfig)
    monkeypatch.setattr(module, "ADMIN_CONF", str(tmp_path / "admin.conf"))
    server.put(NODE, spec={})
    return server


@pytest.fixture
def kubectl() -> RealKubectl:
    return RealKubectl()


def start(server: ApiServer, name: str = "web", owner: str = "ReplicaSet", volumes: t.Sequence[Pod] = ()) -> None:
    """Run a healthy pod on node1, of a controller or without one."""
    labels, owners = {"app": name}, []
    if owner:
        template = {"metadata": {"labels": labels}, "spec": kube_api_server.POD}
        spec = {"selector": {"matchLabels": labels}, "template": template}
        made = server.put(f"/apis/apps/v1/namespaces/default/{owner.lower()}s/{name}", spec=spec)
        of = {"apiVersion": "apps/v1", "kind": owner, "name": name, "uid": made["metadata"]["uid"]}
        owners = [{**of, "controller": True}]
    # The API lets go a pod that is not ready, whatever its budget.
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    server.put(
        f"/api/v1/namespaces/default/pods/{name}",
        metadata={"labels": labels, "ownerReferences": owners},
        spec={"nodeName": "node1", "volumes": list(volumes)},
        status=ready,
    )


def keep(server: ApiServer) -> None:
    """Keep the pod by a budget that allows no disruption."""
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    counts = {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    server.put(BUDGET, spec=spec, status={"observedGeneration": 1, **counts})


def drain(server: ApiServer, kubectl: module.Run, *, force: bool = False, data: bool = False) -> Drain:
    """Return the drain of node1."""
    return Drain(server.api, kubectl, server.api.items("/api/v1/nodes"), force=force, data=data, seconds=1)


def pod(name: str = "web", **spec: t.Any) -> Pod:
    """Return a pod."""
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def test_static_pods_daemonsets_probes_and_what_has_ended_stay() -> None:
    pods: list[Pod] = [
        {"metadata": {"name": "a", "annotations": {"kubernetes.io/config.mirror": "x"}}},
        {"metadata": {"name": "b", "ownerReferences": [{"kind": "DaemonSet", "controller": True}]}},
        {"metadata": {"name": "c"}, "status": {"phase": "Succeeded"}},
        {"metadata": {"name": "d", **REPLICATED}, "status": {"phase": "Running"}},
        {"metadata": kube_probe.pod_manifest("x", "node1", "probe")["metadata"]},
    ]
    assert [one["metadata"]["name"] for one in to_evict(pods)] == ["d"]


def test_what_a_pod_keeps_on_its_host_is_named() -> None:
    volumes = [
        {"name": "cache", "emptyDir": {}},
        {"name": "host", "hostPath": {"path": "/srv/data"}},
        {"name": "images", "hostPath": {"path": str(host_state.FOLDER / paths.REGISTRY)}},  # asked for by themselves
        {"name": "config", "configMap": {"name": "x"}},
        {"name": "disk", "persistentVolumeClaim": {"claimName": "db"}},
        {"name": "far", "persistentVolumeClaim": {"claimName": "nfs"}},
        {"name": "own", "ephemeral": {}},
    ]
    claims = {("default", "db"): "pv1", ("default", "web-own"): "pv2", ("other", "nfs"): "pv3"}
    found = local_data(pod(volumes=volumes), claims)
    assert found == ["emptyDir cache", "hostPath /srv/data", "PersistentVolume pv1", "PersistentVolume pv2"]


def test_a_volume_that_the_pod_calls_scratch_is_no_data() -> None:
    scratch = pod(volumes=[{"name": "tmp", "emptyDir": {}}, {"name": "cache", "emptyDir": {}}])
    scratch["metadata"]["annotations"] = {module.SCRATCH: "tmp"}
    assert local_data(scratch, {}) == ["emptyDir cache"]


def test_volumes_of_this_node_alone_are_distinguished_from_others() -> None:
    def volume(name: str, hosts: list[str], **spec: t.Any) -> Pod:
        match = {"key": module.HOSTNAME, "operator": "In", "values": hosts}
        affinity = (
            {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [match]}]}}} if hosts else {}
        )
        return {"metadata": {"name": name}, "spec": {"claimRef": {"namespace": "d", "name": name}, **affinity, **spec}}

    volumes = [
        volume("here", ["node1"], local={"path": "/srv"}),
        volume("there", ["node2"], local={"path": "/srv"}),
        volume("anywhere", [], hostPath={"path": "/srv"}),
        volume("far", [], nfs={"server": "nas"}),
        {"metadata": {"name": "free"}, "spec": {"local": {"path": "/srv"}}},
    ]
    node = {"metadata": {"name": "node1", "labels": {module.HOSTNAME: "node1"}}}
    assert local_volumes(volumes, node) == {("d", "here"): "here", ("d", "anywhere"): "anywhere"}


def test_what_kubectl_refuses_is_read_once() -> None:
    assert refusals(REFUSES) == [
        ("Pods that declare no controller", "default/bare", "--force"),
        ("Pods with local storage", "default/a, default/b", "--delete-emptydir-data"),
    ]


def test_all_that_would_be_lost_is_reported_with_its_flag_and_nothing_is_changed(
    server: ApiServer, kubectl: RealKubectl
) -> None:
    start(server, volumes=CACHE)
    start(server, "bare", "")
    before = server.etcd.keys()
    found = drain(server, kubectl).faults()
    assert [(one.host, one.check) for one in found] == [("node1", "local data"), ("node1", "drain")]
    assert "pod default/web (emptyDir cache)" in found[0].message
    assert "--delete-emptydir-data" in found[0].remedy
    assert "default/bare" in found[1].message
    assert found[1].remedy.endswith("--force")
    assert server.etcd.keys() == before


def test_with_the_flags_nothing_is_a_fault(server: ApiServer, kubectl: RealKubectl) -> None:
    start(server, "bare", "", volumes=CACHE)
    assert drain(server, kubectl, data=True, force=True).faults() == []


def test_kubectl_keeps_its_cache_where_a_removal_finds_it(
    server: ApiServer, kubectl: RealKubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "KUBECTL_CACHE", str(tmp_path / "cache"))
    start(server)
    drain(server, kubectl).run(["node1"])
    assert (tmp_path / "cache").is_dir()
    assert not (tmp_path / "home").exists()


def test_what_kubectl_cannot_do_at_all_is_an_error(server: ApiServer, kubectl: RealKubectl) -> None:
    draining = drain(server, kubectl)
    server.api.delete(NODE)
    with pytest.raises(DrainError, match=r"node.*not found"):
        draining.faults()


def test_pods_leave_and_the_node_stays_cordoned(server: ApiServer, kubectl: RealKubectl) -> None:
    start(server, volumes=CACHE)
    probe = kube_probe.pod_manifest("x", "node1", "probe")["metadata"]["labels"]
    server.put("/api/v1/namespaces/default/pods/probe", metadata={"labels": probe}, spec={"nodeName": "node1"})
    start(server, "agent", "DaemonSet")
    drain(server, kubectl, data=True).run(["node1"])
    assert server.names("/api/v1/pods") == ["agent", "probe"]
    assert server.get(NODE)["spec"]["unschedulable"] is True
    assert module.MARK in server.get(NODE)["metadata"]["annotations"]
    assert not {"--force", "--disable-eviction"} & set(kubectl.ran[0])


def test_a_budget_is_named_and_the_node_accepts_pods_again(server: ApiServer, kubectl: RealKubectl) -> None:
    start(server)
    keep(server)
    with pytest.raises(DrainError, match=r"default/web \(kept by the PodDisruptionBudget web-budget\).*--force"):
        drain(server, kubectl).run(["node1"])
    assert server.names("/api/v1/pods") == ["web"]
    assert not server.get(NODE)["spec"].get("unschedulable")
    assert module.MARK not in server.get(NODE)["metadata"].get("annotations", {})


def test_a_node_that_was_cordoned_before_stays_cordoned(server: ApiServer) -> None:
    server.put(NODE, spec={"unschedulable": True})
    with pytest.raises(DrainError, match="something else"):
        drain(server, Kubectl((1, "something else"))).run(["node1"])
    assert server.get(NODE)["spec"]["unschedulable"] is True


def test_with_force_what_a_budget_keeps_is_deleted_when_time_is_up(server: ApiServer, kubectl: RealKubectl) -> None:
    start(server)
    keep(server)
    drain(server, kubectl, force=True).run(["node1"])
    assert server.names("/api/v1/pods") == []
    assert server.get(NODE)["spec"]["unschedulable"] is True


def test_a_pod_that_does_not_end_at_all_says_that_its_node_may_hang(server: ApiServer) -> None:
    start(server)
    kubectl = Kubectl((1, LATE), (1, LATE))
    with pytest.raises(DrainError, match="default/web; the node may hang"):
        drain(server, kubectl, force=True).run(["node1"])
    assert {"--disable-eviction", f"--timeout={module.END:g}s"} < set(kubectl.ran[1])


def test_an_api_that_ends_meanwhile_leaves_no_node_cordoned(fake: FakeKubeApi) -> None:
    fake.put(NODE, spec={})
    fake.put(POD, metadata=dict(REPLICATED), spec={"nodeName": "node1"}, status={"phase": "Running"})
    fake.refuse[f"GET {POD}"] = (503, "starting")
    with KubeApi(parse_kubeconfig(fake.kubeconfig)) as api:
        draining = Drain(api, Kubectl((1, LATE)), api.items("/api/v1/nodes"), force=False, data=False, seconds=1)
        with pytest.raises(KubeError):
            draining.run(["node1"])
    assert not fake.objects[NODE]["spec"].get("unschedulable")
