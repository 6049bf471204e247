"""What a drain refuses, how it calls kubectl, and what it says when pods do not leave."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.kube import drain as module
from ansible.module_utils.yunkube.kube import probe as kube_probe
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError, parse_kubeconfig
from ansible.module_utils.yunkube.kube.drain import Drain, DrainError, local_data, local_volumes, refusals, to_evict
from ansible.module_utils.yunkube.teardown import paths
from fake_kube_api import FakeKubeApi

Pod = dict[str, t.Any]
REPLICATED = {"ownerReferences": [{"kind": "ReplicaSet", "controller": True}], "labels": {"app": "web"}}
POD = "/api/v1/namespaces/default/pods/web"

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


@pytest.fixture
def fake(tmp_path: Path) -> t.Iterator[FakeKubeApi]:
    server = FakeKubeApi(tmp_path)
    server.put("/api/v1/nodes/node1", spec={})
    server.put(POD, metadata=dict(REPLICATED), spec={"nodeName": "node1"}, status={"phase": "Running"})
    yield server
    server.close()


@pytest.fixture
def api(fake: FakeKubeApi) -> t.Iterator[KubeApi]:
    with KubeApi(parse_kubeconfig(fake.kubeconfig)) as api:
        yield api


def drain(api: KubeApi, kubectl: Kubectl, *, force: bool = False, data: bool = False) -> Drain:
    """Return the drain of node1."""
    return Drain(api, kubectl, api.items("/api/v1/nodes"), force=force, data=data, seconds=3)


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


def test_volumes_of_this_node_alone_are_told_from_others() -> None:
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


def test_all_that_would_be_lost_is_told_with_its_flag_and_nothing_is_changed(fake: FakeKubeApi, api: KubeApi) -> None:
    spec = {"nodeName": "node1", "volumes": [{"name": "cache", "emptyDir": {}}]}
    fake.put(POD, metadata=dict(REPLICATED), spec=spec)
    kubectl = Kubectl((1, REFUSES))
    found = drain(api, kubectl).faults()
    assert [(one.host, one.check) for one in found] == [("node1", "local data"), *[("node1", "drain")] * 2]
    assert "pod default/web (emptyDir cache)" in found[0].message
    assert "--delete-emptydir-data" in found[0].remedy
    assert "default/bare" in found[1].message
    assert found[1].remedy.endswith("--force")
    assert "--dry-run=client" in kubectl.ran[0]
    assert not [line for line in fake.log if not line.startswith("GET")]


def test_with_the_flag_local_data_is_no_fault(fake: FakeKubeApi, api: KubeApi) -> None:
    fake.put(POD, metadata=dict(REPLICATED), spec={"nodeName": "node1", "volumes": [{"name": "c", "emptyDir": {}}]})
    assert drain(api, Kubectl(), data=True).faults() == []


def test_what_kubectl_cannot_do_at_all_is_an_error(api: KubeApi) -> None:
    with pytest.raises(DrainError, match="no such node"):
        drain(api, Kubectl((1, "no such node"))).faults()


def test_kubectl_drains_and_the_node_stays_cordoned(fake: FakeKubeApi, api: KubeApi) -> None:
    kubectl = Kubectl()
    drain(api, kubectl).run(["node1"])
    argv = kubectl.ran[0]
    assert argv[2:4] == ["drain", "node1"]
    assert {"--ignore-daemonsets", module.DATA_FLAG, "--timeout=3s"} < set(argv)
    assert not {"--force", "--disable-eviction"} & set(argv)
    assert fake.objects["/api/v1/nodes/node1"]["spec"]["unschedulable"] is True


def test_a_budget_is_named_and_the_node_takes_pods_again(fake: FakeKubeApi, api: KubeApi) -> None:
    budget = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web-budget"
    fake.put(budget, spec={"selector": {"matchLabels": {"app": "web"}}})
    with pytest.raises(DrainError, match=r"default/web \(kept by the PodDisruptionBudget web-budget\).*--force"):
        drain(api, Kubectl((1, LATE))).run(["node1"])
    assert not fake.objects["/api/v1/nodes/node1"]["spec"].get("unschedulable")


def test_a_node_that_somebody_cordoned_stays_so(fake: FakeKubeApi, api: KubeApi) -> None:
    fake.put("/api/v1/nodes/node1", spec={"unschedulable": True})
    with pytest.raises(DrainError, match="something else"):
        drain(api, Kubectl((1, "something else"))).run(["node1"])
    assert fake.objects["/api/v1/nodes/node1"]["spec"]["unschedulable"] is True


def test_with_force_what_a_budget_keeps_is_deleted_when_time_is_up(api: KubeApi) -> None:
    kubectl = Kubectl((1, LATE))
    drain(api, kubectl, force=True).run(["node1"])
    assert "--force" in kubectl.ran[0]
    assert {"--disable-eviction", f"--timeout={module.END}s"} < set(kubectl.ran[1])
    with pytest.raises(DrainError, match="default/web; the node may hang"):
        drain(api, Kubectl((1, LATE), (1, LATE)), force=True).run(["node1"])


def test_an_api_that_ends_meanwhile_leaves_no_node_cordoned(fake: FakeKubeApi, api: KubeApi) -> None:
    fake.refuse[f"GET {POD}"] = (503, "starting")
    with pytest.raises(KubeError):
        drain(api, Kubectl((1, LATE))).run(["node1"])
    assert not fake.objects["/api/v1/nodes/node1"]["spec"].get("unschedulable")
