# SPDX-License-Identifier: Apache-2.0
"""Which hosts may join."""

from __future__ import annotations

from ansible.module_utils.yunkube.kube.admission import elsewhere, members, twins, unanswered
from ansible.module_utils.yunkube.kube.api import KubeError

NODES = [
    {
        "metadata": {"name": "node1"},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"machineID": "aa", "systemUUID": "ABC"},
        },
    },
    {"metadata": {"name": "node2"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
]


def test_a_ready_node_is_there_already_and_half_a_join_goes_on() -> None:
    faults = members(["Node1", "node2", "node3"], NODES, "ours")
    assert [fault.host for fault in faults] == ["Node1"]
    assert "is already a node of ours" in faults[0].message
    assert "`up`" in faults[0].remedy


def test_a_cluster_that_does_not_answer_is_not_called_missing() -> None:
    absent = unanswered(KubeError("admin.conf does not exist", reason="NoMaster"), "ours")
    assert absent["msg"].startswith("there is no cluster ours")
    for error in (KubeError("x does not answer: timed out"), KubeError("nodes is forbidden", 403)):
        silent = unanswered(error, "ours")
        assert "there is no cluster" not in silent["msg"]
        assert silent["commands"] == ["doctor"]


def test_an_identity_of_another_node_is_refused_and_ones_own_is_not() -> None:
    same = {"machine_id": "aa", "product_uuid": "abc", "hostname": "x"}
    assert [fault.check for fault in twins({"node3": same}, NODES)] == ["machine_id", "product_uuid"]
    assert twins({"node1": same}, NODES) == []
    assert twins({"node3": {"machine_id": "", "product_uuid": "", "hostname": ""}}, NODES) == []


def test_a_host_is_not_replaced_while_its_node_is_ready_on_another_machine() -> None:
    (fault,) = elsewhere({"Node1": {"machine_id": "bb"}}, NODES)
    assert (fault.host, fault.check) == ("Node1", "former machine")
    assert "with machine-id aa" in fault.message
    assert fault.commands == ("remove Node1",)


def test_the_same_machine_one_that_is_down_and_a_new_name_may_come() -> None:
    assert elsewhere({"node1": {"machine_id": "aa"}, "node2": {"machine_id": "bb"}, "node3": {}}, NODES) == []
