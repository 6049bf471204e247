# SPDX-License-Identifier: Apache-2.0
"""Labels and taints of nodes follow the inventory, and those of others stay."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.yunkube.kube import node_marks
from ansible.module_utils.yunkube.kube.api import CONTROL_PLANE, KubeApi, KubeError, parse_kubeconfig
from kube_api_server import ApiServer

NODE = "/api/v1/nodes/node1"
WEB = {"key": "dedicated", "value": "web", "effect": "NoSchedule"}
MASTER = {"key": CONTROL_PLANE, "effect": "NoSchedule"}
OTHERS = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "timeAdded": "2026-11-29T00:00:00Z"}


@pytest.fixture
def api(server: ApiServer) -> t.Iterator[KubeApi]:
    """An API with a node that somebody labelled and cordoned."""
    server.put(NODE, metadata={"labels": {"theirs": "a", "zone": "x"}}, spec={"taints": [OTHERS]})
    with KubeApi(parse_kubeconfig(server.kubeconfig)) as api:
        yield api


def bring(
    api: KubeApi, labels: dict[str, str], taints: list[dict[str, str]], *, check_mode: bool = False
) -> tuple[list[str], dict[str, str], list[t.Any]]:
    """Return what was done to node1, its labels and its taints."""
    done = node_marks.mark(api, "node1", {"labels": labels, "taints": taints}, check_mode=check_mode)
    node = api.get(NODE)
    return done, node["metadata"]["labels"], node["spec"].get("taints", [])


def test_what_is_declared_comes_and_goes_and_what_is_of_others_stays(api: KubeApi) -> None:
    before = api.get(NODE)
    planned = bring(api, {"zone": "b"}, [WEB], check_mode=True)[0]
    assert api.get(NODE) == before
    done, labels, taints = bring(api, {"zone": "b"}, [WEB])
    assert done == planned == ["node1: label zone=b", "node1: taint dedicated=web:NoSchedule"]
    assert labels == {"theirs": "a", "zone": "b"}
    assert taints == [OTHERS, WEB]
    assert bring(api, {"zone": "b"}, [WEB])[0] == []
    done, labels, taints = bring(api, {}, [])
    assert done == ["node1: remove label zone", "node1: remove taint dedicated:NoSchedule"]
    assert (labels, taints) == ({"theirs": "a"}, [OTHERS])
    assert node_marks.ANNOTATION not in api.get(NODE)["metadata"].get("annotations", {})
    assert bring(api, {}, [])[0] == []


def test_a_taint_with_another_value_is_replaced_and_one_with_another_effect_is_another(api: KubeApi) -> None:
    bring(api, {}, [WEB])
    done, _, taints = bring(api, {}, [{**WEB, "value": "db"}])
    assert (done, taints) == (["node1: taint dedicated=db:NoSchedule"], [OTHERS, {**WEB, "value": "db"}])
    done, _, taints = bring(api, {}, [{**WEB, "effect": "NoExecute"}])
    assert done == ["node1: taint dedicated=web:NoExecute", "node1: remove taint dedicated:NoSchedule"]
    assert taints == [OTHERS, {**WEB, "effect": "NoExecute"}]


def test_a_masters_own_taint_goes_and_comes_back(api: KubeApi) -> None:
    api.patch(NODE, {"metadata": {"labels": {CONTROL_PLANE: ""}}, "spec": {"taints": [MASTER]}})
    assert bring(api, {}, [MASTER]) == ([], {"theirs": "a", "zone": "x", CONTROL_PLANE: ""}, [MASTER])
    assert bring(api, {}, [])[::2] == ([f"node1: remove taint {CONTROL_PLANE}:NoSchedule"], [])
    assert bring(api, {}, [MASTER])[::2] == ([f"node1: taint {CONTROL_PLANE}:NoSchedule"], [MASTER])


def test_what_a_node_has_already_is_recorded_as_declared(api: KubeApi) -> None:
    assert bring(api, {"zone": "x"}, [])[0] == ["node1: record its declared labels and taints"]
    assert bring(api, {}, [])[0] == ["node1: remove label zone"]


def test_a_damaged_annotation_is_ignored(api: KubeApi) -> None:
    for text in ("{", "[]", '{"labels": 1}', '{"labels": [1]}'):
        api.patch(NODE, {"metadata": {"annotations": {node_marks.ANNOTATION: text}}})
        _, labels, taints = bring(api, {}, [])
        assert (labels, taints) == ({"theirs": "a", "zone": "x"}, [OTHERS])


def test_what_another_writes_at_the_same_time_is_kept(api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    compare = node_marks.change
    times: list[int] = []

    def slowly(*arguments: t.Any) -> node_marks.Change:
        if not times:
            api.patch(NODE, {"spec": {"taints": [OTHERS, {**MASTER, "key": "new"}]}})
        times.append(1)
        return compare(*arguments)

    monkeypatch.setattr(node_marks, "change", slowly)
    _, _, taints = bring(api, {}, [WEB])
    assert taints == [OTHERS, {**MASTER, "key": "new"}, WEB]
    assert len(times) == 2


def test_a_host_that_has_not_joined_is_planned_and_never_done(api: KubeApi) -> None:
    declared = {"labels": {"zone": "b"}, "taints": [WEB]}
    assert node_marks.mark(api, "node2", declared, check_mode=True) == ["node2: label zone=b"]  # kubeadm sets taints
    with pytest.raises(KubeError, match="node2"):
        node_marks.mark(api, "node2", declared, check_mode=False)


def test_a_master_as_kubeadm_makes_it_has_nothing_to_do() -> None:
    assert node_marks.joining({}, [MASTER]) == node_marks.Change([], {})
    assert node_marks.joining({}, []) == node_marks.Change([], {})
