# SPDX-License-Identifier: Apache-2.0
"""What an upgrade would do, and why it must not begin: judged on objects as the API has them, asked of a real one."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.yunkube.kube.api import KubeError
from ansible.module_utils.yunkube.kube.health import kubelet_of
from ansible.module_utils.yunkube.upgrade import plan
from ansible.module_utils.yunkube.upgrade.plan import Options, Plan, Removed, Seen, faults, in_words, make
from kube_api_server import POD, ApiServer

Json = dict[str, t.Any]
OPTIONS = Options("1.37.2", "m1", ("m1", "m2"), ("m1", "m2", "N1", "n2"), {}, ("1.36.5", "1.37.2"))
# As kube-apiserver 1.37.2 shows it, of two APIs; the second has no end.
METRICS = """\
# TYPE apiserver_requested_deprecated_apis gauge
apiserver_requested_deprecated_apis{group="storage.k8s.io",removed_release="1.37",resource="csidrivers",\
subresource="",version="v1beta1"} 1
apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="x.k8s.io",removed_release="1.38",resource="xs",subresource="",version="v1"} 1
"""


def node(name: str, kubelet: str = "1.36.5", status: str = "True", **metadata: t.Any) -> Json:
    """Return a node."""
    ready = {"type": "Ready", "status": status, "reason": "KubeletReady", "message": "why"}
    info = {"kubeletVersion": f"v{kubelet}"}
    return {
        "metadata": {"name": name, **metadata},
        "spec": {"taints": [{"key": "x", "effect": "NoSchedule"}] if name.startswith("m") else []},
        "status": {"conditions": [ready], "nodeInfo": info},
    }


def static(part: str, where: str, release: str) -> Json:
    """Return a static pod of the control plane."""
    return {
        "metadata": {
            "name": f"{part}-{where}",
            "namespace": "kube-system",
            "labels": {"component": part},
            "annotations": {"kubernetes.io/config.mirror": "x"},
            "ownerReferences": [{"kind": "Node", "controller": True}],
        },
        "spec": {"nodeName": where, "containers": [{"name": part, "image": f"registry.k8s.io/{part}:v{release}"}]},
        "status": {"phase": "Running"},
    }


def pod(name: str, where: str = "n1", owner: str = "ReplicaSet", **spec: t.Any) -> Json:
    """Return a pod."""
    owners = [{"kind": owner, "controller": True}] if owner else []
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}, "ownerReferences": owners},
        "spec": {"nodeName": where, **spec},
        "status": {"phase": "Running"},
    }


def seen(release: str = "1.36.5", *more: Json, **changes: t.Any) -> Seen:
    """Return a healthy cluster of this release."""
    nodes = {name: node(name, release) for name in ("m1", "m2", "n1", "n2")}
    pods = [static(part, where, release) for where in ("m1", "m2") for part in plan.PARTS]
    return Seen(release, release, nodes, [*pods, *more], [], "")._replace(**changes)


def said(found: Seen, options: Options = OPTIONS) -> list[str]:
    """Return the faults as lines."""
    return [str(fault) for fault in faults(options, found, make(options, found))]


def test_everything_of_an_older_cluster_is_due_and_nothing_of_one_that_has_the_release() -> None:
    assert make(OPTIONS, seen()) == Plan(["m1", "m2"], ["m1", "m2", "N1", "n2"])
    assert make(OPTIONS, seen("1.37.2")) == Plan([], [])
    assert said(seen()) == said(seen("1.37.2")) == []


def test_what_a_cut_off_run_left_is_due() -> None:
    new = seen("1.37.2")
    assert make(OPTIONS, new._replace(proxy="1.36.5")) == Plan(["m1"], [])  # kubeadm did not come to its end
    assert make(OPTIONS, new._replace(version="1.36.5")) == Plan(["m1"], [])
    half = [static("kube-scheduler", "m2", "1.36.5") if one["metadata"]["name"] == "kube-scheduler-m2" else one
            for one in new.pods]  # fmt: skip
    assert make(OPTIONS, new._replace(pods=half)) == Plan(["m2"], [])
    marked = new.nodes | {"n2": node("n2", "1.37.2", annotations={plan.MARK: ""})}
    assert make(OPTIONS, new._replace(nodes=marked)) == Plan([], ["n2"])
    assert make(OPTIONS, new._replace(nodes=new.nodes | {"n1": node("n1")})) == Plan([], ["N1"])


def test_a_host_that_differs_from_the_bundle_is_due_at_the_same_release() -> None:
    options = OPTIONS._replace(drift={"N1": ["install containerd 2.3.8"], "n2": []})
    assert make(options, seen("1.37.2")) == Plan([], ["N1"])


def test_the_master_that_kubeadm_asks_first_goes_first() -> None:
    assert make(OPTIONS._replace(first="m2"), seen()).masters == ["m2", "m1"]


@pytest.mark.parametrize(
    ("runs", "wanted", "words"),
    [
        ("1.37.3", "1.37.2", ["1.37.2 is older than 1.37.3", "write 1.37.3"]),
        ("1.38.0", "1.37.2", ["never downgraded"]),
        ("1.35.1", "1.37.2", ["would be skipped", "1.35.1 -> 1.36.5 -> 1.37.2"]),
        ("1.34.1", "1.37.2", ["1.34.1 -> 1.35.x -> 1.36.5 -> 1.37.2", "lock of a release 1.35.x"]),
    ],
)
def test_a_release_that_cannot_be_reached_is_refused_with_the_way(runs: str, wanted: str, words: list[str]) -> None:
    (line, *_) = said(seen(runs), OPTIONS._replace(version=wanted))
    assert all(word in line for word in words), line


def test_the_first_step_of_the_way_is_a_command_where_it_has_a_lock() -> None:
    def commands(runs: str) -> tuple[str, ...]:
        found = seen(runs)
        return faults(OPTIONS, found, make(OPTIONS, found))[0].commands

    assert commands("1.35.1") == ("upgrade --to 1.36.5",)
    assert commands("1.34.1") == ()


def test_kubelets_outside_of_the_skew_are_refused() -> None:
    old = seen("1.37.0")._replace(nodes=seen("1.37.0").nodes | {"n1": node("n1", "1.33.9")})
    assert said(old)[0].startswith("n1: kubelet: its kubelet is 1.33.9")
    new = seen("1.37.0")._replace(nodes=seen("1.37.0").nodes | {"n1": node("n1", "1.37.3")})
    assert said(new) == ["n1: kubelet: its kubelet is 1.37.3, newer than 1.37.2; write 1.37.3 or newer"]


def test_all_nodes_must_be_ready_and_in_the_inventory() -> None:
    nodes = seen().nodes | {"n1": node("n1", status="False"), "n9": node("n9")}
    del nodes["m2"]
    lines = said(seen()._replace(nodes=nodes))
    assert [line.split(": ")[0] for line in lines] == ["n1", "n9", "m2"]
    assert "not ready" in lines[0]
    assert "not in the inventory" in lines[1]
    assert "is not a node of the cluster" in lines[2]
    # One that an upgrade cordoned and did not finish is what the next run is for.
    nodes = seen().nodes | {"n1": node("n1", status="False", annotations={plan.MARK: ""})}
    assert said(seen()._replace(nodes=nodes)) == []


def test_a_cluster_that_is_there_already_is_asked_for_nothing() -> None:
    nodes = seen("1.37.2").nodes | {"n1": node("n1", "1.37.2", status="False")}
    assert said(seen("1.37.2")._replace(nodes=nodes)) == []


def test_what_the_drain_would_lose_is_named_with_its_flag() -> None:
    cache = [{"name": "cache", "emptyDir": {}}]
    daemon = pod("log", owner="DaemonSet", volumes=cache)
    stays = pod("disk", volumes=[{"name": "d", "hostPath": {"path": "/srv"}}])
    lines = said(seen("1.36.5", pod("bare", owner=""), pod("web", volumes=cache), daemon, stays))
    assert len(lines) == 2
    assert "n1: drain: the drain would delete pod shop/bare" in lines[0]
    assert lines[0].endswith("--force")
    assert "emptyDir of pod shop/web" in lines[1]
    assert lines[1].endswith("--delete-emptydir-data")
    allowed = OPTIONS._replace(force=True, data=True)
    assert said(seen("1.36.5", pod("bare", owner=""), pod("web", volumes=cache)), allowed) == []
    many = said(seen("1.36.5", *(pod(f"p{number}", owner="") for number in range(9))))
    assert "9 pods" in many[0]


@pytest.mark.parametrize(
    ("spec", "refused"),
    [
        ({"maxUnavailable": 0}, True),
        ({"maxUnavailable": "0%"}, True),
        ({"minAvailable": "100%"}, True),
        ({"minAvailable": 2}, True),
        ({"minAvailable": 1}, False),
        ({"maxUnavailable": 1}, False),
    ],
)
def test_a_budget_that_never_lets_a_pod_go_is_named(spec: Json, refused: bool) -> None:
    budget = {
        "metadata": {"name": "keep", "namespace": "shop"},
        "spec": {**spec, "selector": {"matchLabels": {"app": "web"}}},
        "status": {"expectedPods": 2, "disruptionsAllowed": 0},
    }
    lines = said(seen("1.36.5", pod("web"), pod("web", "n2"), budgets=[budget]))
    assert [line.startswith("shop/keep: PodDisruptionBudget") for line in lines] == [True] * refused
    assert said(seen("1.36.5", pod("web"), budgets=[budget]), OPTIONS._replace(force=True)) == []
    assert said(seen("1.36.5", pod("other"), budgets=[budget])) == []


def test_only_apis_that_the_release_does_not_have_count() -> None:
    gone = Removed("storage.k8s.io", "v1beta1", "csidrivers", "1.37")
    assert plan.removed_apis(METRICS, "1.37.2") == [gone]
    assert plan.removed_apis(METRICS, "1.36.9") == []
    assert [one.release for one in plan.removed_apis(METRICS, "1.38.0")] == ["1.37", "1.38"]


def test_the_plan_is_in_the_order_in_which_it_is_carried_out() -> None:
    lines = in_words(OPTIONS, seen(), make(OPTIONS, seen()), "20%")
    assert [line.split()[0] for line in lines] == ["save", "upgrade", "drain", "drain"]
    assert "from 1.36.5 to 1.37.2, one master at a time: m1, m2" in lines[1]
    assert lines[3] == "drain and upgrade nodes, 20% at a time: N1, n2"
    assert in_words(OPTIONS, seen("1.37.2"), Plan([], []), "1") == ["all hosts run 1.37.2 as declared: nothing to do"]
    # The one node that takes pods.
    alone = seen()._replace(nodes={name: one for name, one in seen().nodes.items() if name != "n2"})
    assert "no other node takes them" in in_words(OPTIONS, alone, Plan([], ["N1"]), "1")[-1]


def test_a_real_api_is_read(server: ApiServer) -> None:
    with pytest.raises(KubeError):  # not a cluster of kubeadm's
        plan.see(server.api)
    server.put(
        plan.CONFIGMAP, data={"ClusterConfiguration": "kind: ClusterConfiguration\nkubernetesVersion: v1.36.5\n"}
    )
    container = {"name": "kube-proxy", "image": "registry.k8s.io/kube-proxy:v1.36.5"}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {**POD, "containers": [container]}}
    server.put(plan.PROXY, spec={"selector": {"matchLabels": {"a": "b"}}, "template": template})
    server.put("/api/v1/nodes/n1", status=node("n1")["status"])
    found = plan.see(server.api)
    assert (found.version, found.proxy) == ("1.36.5", "1.36.5")
    assert kubelet_of(found.nodes["n1"]) == "1.36.5"
    assert "apiserver_request_total" in found.metrics
    # Who wrote an object by which version stands in the object itself.
    server.put("/api/v1/namespaces/default/configmaps/by-v1", data={"a": "b"})
    (users,) = [one for one in plan.users_of(server.api, Removed("", "v1", "configmaps", "1.37")) if "by-v1" in one]
    assert users.startswith("default/by-v1 (")
    assert plan.users_of(server.api, Removed("gone.k8s.io", "v1", "things", "1.37")) == []
    gone = found._replace(
        metrics=METRICS.replace('"storage.k8s.io"', '""').replace("v1beta1", "v1").replace("csidrivers", "configmaps")
    )
    (fault,) = plan.removed_faults(server.api, gone, "1.37.2")
    assert "v1/configmaps is not served from 1.37 on" in fault.message
    assert "default/by-v1" in fault.message
    assert "--allow-removed-apis" in fault.remedy
