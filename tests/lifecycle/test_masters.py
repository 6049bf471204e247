# SPDX-License-Identifier: Apache-2.0
"""Masters come and go, and the cluster keeps its etcd: from one to three, and back to one."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from laboratory import Lab, docker

LAB = ("masters", "10.103.0", 1, 0)
UP_MAKES_HOSTS = True
ENDPOINT = "10.103.0.11:6443"
SNAPSHOTS = "/var/lib/yunkube/etcd-snapshots"
ETCDCTL = (
    "crictl --runtime-endpoint unix:///run/containerd/containerd.sock exec "
    "$(crictl --runtime-endpoint unix:///run/containerd/containerd.sock ps --quiet --name '^etcd$') "
    "etcdctl --cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt "
    "--key=/etc/kubernetes/pki/etcd/healthcheck-client.key"
)


def nodes(lab: Lab) -> dict[str, bool]:
    """Return the nodes, and whether each takes pods."""
    items = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    return {item["metadata"]["name"]: not item["spec"].get("unschedulable", False) for item in items}


def masters(lab: Lab) -> set[str]:
    """Return the nodes that are marked as masters."""
    selector = "--selector=node-role.kubernetes.io/control-plane"
    return set(lab.kubectl("get", "nodes", selector, "--output=jsonpath={.items[*].metadata.name}").split())


def members(lab: Lab) -> set[str]:
    """Return the members of etcd."""
    listed = json.loads(lab.run("master1", f"{ETCDCTL} member list --write-out=json"))["members"]
    return {member["name"] for member in listed}


def test_a_master_that_is_down_keeps_no_other_from_joining(lab: Lab) -> None:
    first = lab.deploy("up")
    assert first.code == 0, first.errors
    lab.declare(3, 0)
    lab.make_hosts()
    lab.run("master2", "systemctl stop ssh")
    result = lab.deploy("up")
    assert result.code == 3, result.errors  # the proof of the cluster misses master2
    assert "node master2: not in the cluster" in result.errors
    assert [failure["host"] for failure in result.failures if failure["unreachable"]] == ["master2"]
    assert {"master1", "master2", "master3"} <= set(result.summary["hosts"])
    assert set(nodes(lab)) == {"master1", "master3"}
    lab.run("master2", "systemctl start ssh")


def test_a_bare_master_makes_no_second_cluster(lab: Lab) -> None:
    bare: dict[str, Any] = {"cluster_control_plane_host": "master2", "cluster_control_plane_endpoint": ENDPOINT}
    known = lab.deploy("up", "--limit", "master2", **bare)
    assert known.code == 3, known.errors
    assert "this cluster was made before" in known.faults
    assert f"an API answers at {ENDPOINT}" in known.faults
    (lab.state / "kubeconfig").rename(lab.state / "kept")
    lost = lab.deploy("up", "--limit", "master2", **bare)
    assert not (lab.state / "kubeconfig").exists()
    (lab.state / "kept").rename(lab.state / "kubeconfig")
    assert lost.code == 3, lost.errors
    assert "the cluster is on master" in lost.faults
    assert f"cluster_control_plane_endpoint: {ENDPOINT}" in lost.faults
    assert not lab.succeeds("master2", "test -e /etc/kubernetes/admin.conf")


def test_it_joins_as_a_further_master_also_after_a_join_that_was_cut_short(lab: Lab) -> None:
    cut = "until [ -e /etc/kubernetes/kubelet.conf ]; do sleep 0.01; done; pkill -KILL -x kubeadm"
    lab.run("master2", f"systemd-run -q sh -c '{cut}'")
    result = lab.deploy("up")
    assert result.code == 3, result.errors
    assert set(nodes(lab)) == {"master1", "master3"}
    # Marking is what kubeadm does last: as if master3 had been cut short there.
    lab.kubectl("label", "node", "master3", "node-role.kubernetes.io/control-plane-")
    lab.kubectl("taint", "node", "master3", "node-role.kubernetes.io/control-plane-")
    result = lab.deploy("up")
    assert result.code == 0, result.errors
    assert masters(lab) == members(lab) == {"master1", "master2", "master3"}
    assert "control-plane" in lab.kubectl("get", "node", "master3", "--output=jsonpath={.spec.taints}")


def test_what_would_cost_etcd_its_quorum_is_refused(lab: Lab) -> None:
    docker("stop", "--timeout", "1", "yunkube-masters-master3")
    result = lab.deploy("remove", "master2", "--yes")
    assert result.code == 2, result.errors
    assert "without master2 etcd would have 2 members, 1 of them healthy" in result.faults
    assert "--dead" in result.faults
    assert nodes(lab) == {"master1": True, "master2": True, "master3": True}
    assert members(lab) == {"master1", "master2", "master3"}


@pytest.mark.skipif(not os.environ.get("YUNKUBE_FULL"), reason="makes a master twice: tests/run --full")
def test_a_dead_master_is_replaced_or_leaves_while_the_others_have_a_quorum(lab: Lab) -> None:
    alive = lab.deploy("remove", "master3", "--yes")
    assert alive.code == 4, alive.errors
    docker("rm", "--force", "--volumes", "yunkube-masters-master3")
    lab.kubectl("wait", "--for=condition=Ready=Unknown", "--timeout=90s", "node/master3")
    replaced = lab.deploy("replace", "master3", "--yes")
    assert replaced.code == 0, replaced.errors
    assert members(lab) == masters(lab) == {"master1", "master2", "master3"}
    docker("stop", "--timeout", "1", "yunkube-masters-master3")
    dead = lab.deploy("remove", "master3", "--yes", "--dead")
    assert dead.code == 0, dead.errors
    assert members(lab) == {"master1", "master2"}
    assert set(nodes(lab)) == {"master1", "master2"}
    docker("rm", "--force", "--volumes", "yunkube-masters-master3")
    lab.make_hosts()
    again = lab.deploy("up")
    assert again.code == 0, again.errors
    assert members(lab) == {"master1", "master2", "master3"}


def test_a_master_that_was_reinstalled_leaves_and_one_without_a_node_after_it(lab: Lab) -> None:
    docker("rm", "--force", "--volumes", "yunkube-masters-master3")
    lab.make_hosts()
    dead = lab.deploy("remove", "master3", "--yes", "--dead")
    assert "is not dead: it answers" in dead.faults
    bare = lab.deploy("remove", "master3", "--yes")
    assert bare.code == 0, bare.errors
    assert members(lab) == {"master1", "master2"}
    lab.kubectl("delete", "node", "master2")
    alive = lab.deploy("remove", "master2", "--yes")
    assert alive.code == 0, alive.errors
    assert members(lab) == {"master1"}
    assert nodes(lab) == {"master1": True}
    assert lab.containers() == {"yunkube-masters-master1"}
    folder, *files = lab.run("master1", f"stat --format %a {SNAPSHOTS} {SNAPSHOTS}/*").split()
    assert (folder, set(files)) == ("700", {"600"})
    assert len(files) == (4 if os.environ.get("YUNKUBE_FULL") else 2)  # one for each member that left etcd
    lab.declare(1, 0)
    up = lab.deploy("up")
    assert (up.code, set(up.changed.values())) == (0, {0}), up.errors


def test_the_last_master_stays(lab: Lab) -> None:
    result = lab.deploy("remove", "master1", "--yes")
    assert result.code == 2, result.errors
    assert "is the last master" in result.faults
    assert nodes(lab) == {"master1": True}
