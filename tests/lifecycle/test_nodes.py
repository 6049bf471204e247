# SPDX-License-Identifier: Apache-2.0
"""Hosts join a cluster and leave it, without effect on the others."""

from __future__ import annotations

import json

from laboratory import Lab, differences, docker

LAB = ("members", "10.90.0", 1, 1)
UP_MAKES_HOSTS = True
STARTS = "systemctl show --property=ExecMainStartTimestampMonotonic containerd kubelet"

IMAGES = "/var/lib/yunkube/registry/docker/registry/v2/repositories"


def web(node: str, image: str) -> str:
    """Return a Deployment of one pod on a node with data there, and a budget that keeps it."""
    labels = {"app": "web"}
    meta = {"name": "web", "namespace": "default"}
    pod = {
        "nodeSelector": {"kubernetes.io/hostname": node},
        "containers": [{"name": "web", "image": image, "args": ["serve"]}],
        "volumes": [{"name": "cache", "emptyDir": {}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    deployment = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    budget = {"minAvailable": 1, "selector": {"matchLabels": labels}}
    objects = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": deployment},
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": budget},
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def nodes(lab: Lab) -> dict[str, bool]:
    """Return the nodes, and whether each takes pods."""
    items = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    return {item["metadata"]["name"]: not item["spec"].get("unschedulable", False) for item in items}


def machine_id(lab: Lab, node: str) -> str:
    """Return the machine-id with which a node registered."""
    return lab.kubectl("get", "node", node, "--output=jsonpath={.status.nodeInfo.machineID}")


WORKER = "node-role.kubernetes.io/worker"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
MARKS = f"""
node_labels: {{zone: "b", {WORKER}: ""}}
node_taints: [{{key: dedicated, value: web, effect: NoSchedule}}]
"""


def mark(lab: Lab, host: str, text: str) -> None:
    """Write what is declared of one host."""
    (lab.inventory / "host_vars").mkdir(exist_ok=True)
    (lab.inventory / f"host_vars/{host}.yml").write_text(text)


def marks(lab: Lab, node: str) -> tuple[set[str], list[str]]:
    """Return those of our labels that a node has, and its taints but for those of Kubernetes' own for a while."""
    found = json.loads(lab.kubectl("get", "node", node, "-o", "json"))
    taints = [f"{taint['key']}:{taint['effect']}" for taint in found["spec"].get("taints", [])]
    lasting = [taint for taint in taints if not taint.startswith("node.kubernetes.io/")]
    return {"zone", WORKER} & set(found["metadata"]["labels"]), lasting


def test_a_host_is_added_and_the_others_do_not_notice(lab: Lab) -> None:
    mark(lab, "master1", "node_taints: []\n")
    assert lab.deploy("up").code == 0
    assert marks(lab, "master1") == (set(), [])
    mark(lab, "node2", MARKS)
    before = {host: lab.run(host, STARTS) for host in ("master1", "node1")}
    lab.declare(1, 2)
    result = lab.deploy("add", "node2")
    assert result.code == 0, result.errors
    assert {event["host"] for event in result.events if event["type"] == "result"} <= {"localhost", "node2"}
    assert all(row["ok"] for row in result.summary["table"])
    assert {host: lab.run(host, STARTS) for host in before} == before
    assert nodes(lab) == {"master1": True, "node1": True, "node2": True}
    assert marks(lab, "node2") == ({"zone", WORKER}, ["dedicated:NoSchedule"])


def test_what_cannot_be_added_is_reported_in_a_line_with_2(lab: Lab) -> None:
    again = lab.deploy("add", "node2")
    assert again.code == 2, again.errors
    assert "node2: member: is already a node of members" in again.errors
    unknown = lab.deploy("add", "node22")
    assert unknown.code == 2
    assert "node22 is not in" in unknown.errors
    assert "did you mean node2?" in unknown.errors


def test_up_has_nothing_to_do_after_it(lab: Lab) -> None:
    result = lab.deploy("up")
    assert result.code == 0, result.errors
    assert set(result.changed.values()) == {0}


def test_labels_and_taints_that_are_declared_no_longer_go(lab: Lab) -> None:
    for host in ("master1", "node2"):
        mark(lab, host, "---\n")
    lab.kubectl("label", "node", "node2", "theirs=a")
    status = lab.deploy("status")
    assert f"taint {CONTROL_PLANE}:NoSchedule" in status.summary["plan"]["master1"]
    result = lab.deploy("up")
    assert result.code == 0, result.errors
    assert sum(result.changed.values()) == 1
    assert marks(lab, "master1") == (set(), [f"{CONTROL_PLANE}:NoSchedule"])
    assert marks(lab, "node2") == (set(), [])
    assert "theirs" in lab.kubectl("get", "node", "node2", "--show-labels")
    assert set(lab.deploy("plan").changed.values()) == {0}


def test_data_on_a_host_keeps_it_in_the_cluster(lab: Lab) -> None:
    files = json.loads((lab.bundle / "manifest.json").read_text())["files"]
    image = next(entry["reference"] for entry in files if entry["name"].endswith("yunkube/probe"))
    lab.kubectl("apply", "-f", "-", stdin=web("node2", image))
    lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    lab.run("node2", f"mkdir -p {IMAGES}/shop/_manifests/tags/1; echo layer > {IMAGES}/layer")
    result = lab.deploy("remove", "node2", "--yes")
    lab.run("node2", "rm -r /var/lib/yunkube/registry")
    assert result.code == 3, result.errors
    assert "(emptyDir cache)" in result.faults
    assert "--delete-emptydir-data" in result.faults
    assert "add --force" in result.faults  # all that it takes in one run
    assert nodes(lab)["node2"]


def test_a_budget_keeps_a_host_in_the_cluster(lab: Lab) -> None:
    result = lab.deploy("remove", "node2", "--yes", "--drain-timeout", "3", "--delete-emptydir-data")
    assert result.code == 3, result.errors
    assert "default/web" in result.errors
    assert "PodDisruptionBudget web" in result.errors
    assert "--force" in result.errors
    assert nodes(lab)["node2"]
    lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def test_hosts_that_must_stay_are_reported_at_once_with_2(lab: Lab) -> None:
    result = lab.deploy("remove", "master1", "node9", "--yes")
    assert result.code == 2, result.errors
    assert "is the last master" in result.faults
    assert "is not a node of members" in result.faults
    assert set(nodes(lab)) == {"master1", "node1", "node2"}


def test_with_force_it_leaves_also_after_a_restart(lab: Lab) -> None:
    docker("restart", "--time", "1", "yunkube-members-node2")  # Docker's resolver in it gets other ports
    result = lab.deploy("remove", "node2", "--yes", "--force", "--drain-timeout", "3", "--delete-emptydir-data")
    assert result.code == 0, result.errors
    assert "Take node2 out of" in result.errors
    assert set(nodes(lab)) == {"master1", "node1"}
    assert lab.containers() == {"yunkube-members-master1", "yunkube-members-node1"}
    lab.kubectl("delete", "deployment/web", "poddisruptionbudget/web")
    lab.declare(1, 1)
    up = lab.deploy("up")
    assert set(up.changed.values()) == {0}, up.errors


def test_a_host_that_cannot_reach_the_api_is_refused_before_anything_changes_on_it(lab: Lab) -> None:
    lab.declare(1, 2)
    lab.make_hosts()
    rule = f"INPUT --protocol tcp --source {lab.network}.22 --dport 6443 --jump DROP"
    before = lab.fingerprint("node2")
    lab.run("master1", f"iptables --insert {rule}")
    result = lab.deploy("add", "node2")
    lab.run("master1", f"iptables --delete {rule}")
    assert result.code == 3, result.errors
    assert f"the cluster's API: {lab.network}.11:6443 does not answer within 5 s" in result.faults
    assert "security group" in result.faults
    assert differences(before, lab.fingerprint("node2")) == []
    assert set(result.changed.values()) == {0}


def test_an_add_that_was_killed_goes_on_where_the_control_plane_reaches_the_host(lab: Lab) -> None:
    lab.kill_when(lambda: lab.succeeds("node2", "pgrep --full '[i]mages import'"), verb=("add", "node2"))
    rule = "INPUT --protocol tcp --dport 10250 --jump DROP"
    lab.run("node2", f"iptables --insert {rule}")
    blocked = lab.deploy("add", "node2")
    lab.run("node2", f"iptables --delete {rule}")
    assert blocked.code == 3, blocked.errors
    assert f"node2 ({lab.network}.22:10250) does not answer within 5 s" in blocked.errors
    assert "node2" not in nodes(lab)
    result = lab.deploy("add", "node2")
    assert result.code == 0, result.errors
    assert nodes(lab)["node2"]


def test_another_machine_takes_the_place_of_a_host_also_where_a_run_was_killed(lab: Lab) -> None:
    lab.run("node2", "cp -p /etc/machine-id /root; rm /etc/machine-id; systemd-machine-id-setup")
    running = lab.deploy("replace", "node2", "--yes")
    lab.run("node2", "cp -p /root/machine-id /etc")
    assert running.code == 3, running.errors
    assert f"its node is Ready on another machine, at {lab.network}.22" in running.faults
    assert set(running.changed.values()) == {0}
    assert nodes(lab) == {"master1": True, "node1": True, "node2": True}
    former = machine_id(lab, "node2")
    lab.kill_when(lambda: "node2" not in nodes(lab), verb=("replace", "node2", "--yes"))
    result = lab.deploy("replace", "node2", "--yes")
    assert result.code == 0, result.errors
    assert nodes(lab) == {"master1": True, "node1": True, "node2": True}
    assert machine_id(lab, "node2") not in ("", former)
    up = lab.deploy("up")
    assert (up.code, set(up.changed.values())) == (0, {0}), up.errors


def test_a_dead_host_is_removed_only_as_such(lab: Lab) -> None:
    alive = lab.deploy("remove", "node2", "--yes", "--dead")
    assert alive.code == 2, alive.errors
    assert "without --dead" in alive.faults
    docker("stop", "--time", "1", "yunkube-members-node2")
    plain = lab.deploy("remove", "node1", "node2", "--yes")
    assert plain.code == 4, plain.errors
    assert "--dead" in plain.errors
    assert "node2" in nodes(lab)
    dead = lab.deploy("remove", "node2", "--yes", "--dead")
    assert dead.code == 0, dead.errors
    assert "Left on node2" in dead.errors
    assert set(nodes(lab)) == {"master1", "node1"}
