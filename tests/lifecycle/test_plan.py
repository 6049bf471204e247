# SPDX-License-Identifier: Apache-2.0
"""A plan lists what would be done to each host, and changes nothing: on bare, half-installed and live hosts.

The tests follow each other on the same two hosts.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from laboratory import ROOT, Lab, Result, differences

LAB = ("plan", "10.88.0", 1, 1)
HOSTS = ("master1", "node1")

# What the cluster itself keeps moving: whole objects, and the status that kubelets report now and then.
RESTLESS = {"Lease", "Event", "ComponentStatus"}
REPORTED = {"Node", "Pod"}


# Files that running programs write by themselves.
DATA = ("/var/lib/etcd/", "/var/lib/containerd/", "/var/log/", "/run/containerd/", "/var/lib/kubelet/")


@contextmanager
def unchanged(lab: Lab) -> Iterator[None]:
    """Fail when a host is not afterwards what it was before."""
    before = lab.fingerprints(HOSTS, *DATA)
    yield
    after = lab.fingerprints(HOSTS, *DATA)
    assert [line for host in HOSTS for line in differences(before[host], after[host])] == []


def plan_of(result: Result) -> dict[str, list[str]]:
    """Return what would be done to each host."""
    return {str(host): list(words) for host, words in result.summary["plan"].items()}


def versions(lab: Lab) -> dict[str, Any]:
    """Return what changes with every change of an object, by the object's kind and name."""
    kinds = lab.kubectl("api-resources", "--verbs=list", "--output=name").split()
    listed = json.loads(lab.kubectl("get", ",".join(kinds), "--all-namespaces", "--output=json"))["items"]
    found: dict[str, Any] = {}
    for item in listed:
        metadata = item["metadata"]
        name = f"{item['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
        if item["kind"] in REPORTED:
            starts = [entry["restartCount"] for entry in item["status"].get("containerStatuses") or []]
            found[name] = [metadata["uid"], metadata.get("labels"), metadata.get("annotations"), item["spec"], starts]
        elif item["kind"] not in RESTLESS:
            found[name] = metadata["resourceVersion"]
    return found


def settled(lab: Lab, seconds: float = 90) -> dict[str, Any]:
    """Return the versions once the cluster has come to rest."""
    deadline = time.monotonic() + seconds
    before = versions(lab)
    while True:
        time.sleep(6)
        now = versions(lab)
        if now == before:
            return now
        assert time.monotonic() < deadline, sorted(set(before.items()) ^ set(now.items()), key=str)
        before = now


def test_on_bare_hosts_everything_would_be_installed(lab: Lab) -> None:
    with unchanged(lab):
        result = lab.deploy("plan")
    assert result.code == 5, result.errors
    plan = plan_of(result)
    for host in HOSTS:
        text = "\n".join(plan[host])
        for words in (
            "install containerd 2.3.7, ", "runc 1.4.3", "6 CNI plugins", "install kubelet 1.37.2", "kubeadm 1.37.2",
            "packages: ", "write /etc/sysctl.d/99-kubernetes.conf", "start containerd", "enable kubelet",
        ):  # fmt: skip
            assert words in text, (host, words)
    assert "run kubeadm init 1.37.2" in plan["master1"]
    assert any(word.startswith("import 9 images: ") for word in plan["master1"])
    assert any(word.startswith("apply 7 objects: ") for word in plan["master1"])
    assert "join the cluster as a node" in plan["node1"]
    assert not (lab.state / "kubeconfig").exists()


def test_an_install_ends_half_way(lab: Lab) -> None:
    result = lab.deploy("up", "--limit", "node1")
    assert result.code == 3, result.errors
    lab.run("node1", "rm /usr/local/bin/kubelet && systemctl stop containerd && sysctl -qw net.ipv4.ip_forward=0")


def test_on_a_half_installed_host_only_the_rest_would_be_done(lab: Lab) -> None:
    with unchanged(lab):
        result = lab.deploy("plan")
    assert result.code == 5, result.errors
    rest = ["set net.ipv4.ip_forward to 1", "start containerd", "install kubelet 1.37.2"]
    assert [word for word in plan_of(result)["node1"] if "token" not in word] == [*rest, "join the cluster as a node"]
    assert "run kubeadm init 1.37.2" in plan_of(result)["master1"]


def test_on_a_live_cluster_nothing_would_be_done(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.deploy("up").code == 0
    started = time.monotonic()
    up = lab.deploy("up")
    took = time.monotonic() - started
    assert sum(up.changed.values()) == 0
    objects = settled(lab)
    with unchanged(lab):
        started = time.monotonic()
        result = lab.deploy("plan")
        with capsys.disabled():
            sys.stdout.write(f"\n{took:6.1f} s  up, {time.monotonic() - started:.1f} s plan, nothing to do ")
    assert result.code == 0, (result.errors, plan_of(result))
    assert plan_of(result) == {}
    assert versions(lab) == objects


def test_of_a_drift_exactly_that_would_be_corrected(lab: Lab) -> None:
    lab.run("node1", "echo '# mine' >> /etc/crictl.yaml")
    lab.kubectl("--namespace=kube-flannel", "delete", "configmap", "kube-flannel-cfg")
    objects = settled(lab)
    with unchanged(lab):
        result = lab.deploy("plan")
    assert result.code == 5, result.errors
    assert plan_of(result) == {
        "master1": ["apply object ConfigMap kube-flannel/kube-flannel-cfg"],
        "node1": ["write /etc/crictl.yaml"],
    }
    assert versions(lab) == objects
    assert lab.deploy("up").code == 0
    assert lab.deploy("plan").code == 0


@contextmanager
def another_id(lab: Lab) -> Iterator[str]:
    """Give the control machine the id of another cluster of the same name; yield the hosts' one."""
    file = lab.state / "id"
    ours = file.read_text()
    file.write_text("fedcba9876543210\n")
    try:
        yield ours.strip()
    finally:
        file.write_text(ours)


def test_no_verb_changes_a_host_of_another_cluster(lab: Lab) -> None:
    service = '[{"name": "shop", "image": "shop:1"}]'
    verbs = ("up", "up --limit node1", "add node1", "remove node1 --yes", "remove node1 --dead --yes",
             "web apply", "verify", "doctor --fix", "down --yes")  # fmt: skip
    objects = settled(lab)
    with another_id(lab) as ours, unchanged(lab):
        for verb in verbs:
            result = lab.deploy(verb, cluster_provider="existing", web_services=service)
            assert result.code in (2, 3), (verb, result.errors)
            for words in (f"plan (id {ours})", "plan (id fedcba9876543210)", "reattach"):
                assert words in result.errors, (verb, words, result.errors)
    assert versions(lab) == objects


def test_a_member_without_a_record_is_not_mistaken_for_ours(lab: Lab) -> None:
    lab.run("node1", "mv /var/lib/yunkube/before.json /root/ && rm /etc/crictl.yaml")
    try:
        with unchanged(lab):
            result = lab.deploy("up", cluster_provider="existing")
    finally:
        lab.run("node1", "mv /root/before.json /var/lib/yunkube/")
    assert result.code == 3, result.errors
    assert "node1: other cluster: is a member of a cluster (https://10.88.0.11:6443)" in result.faults


def test_the_cluster_knows_its_id_and_a_lost_state_directory_takes_it_again(lab: Lab, tmp_path: Path) -> None:
    ours = (lab.state / "id").read_text().strip()
    found = json.loads(lab.kubectl("--namespace=kube-system", "get", "configmap", "yunkube", "--output=json"))
    assert found["data"] == {"name": "plan", "id": ours}
    for id_of_api in ("0" * 16, ours):
        patch = json.dumps({"data": {"id": id_of_api}})
        lab.kubectl("--namespace=kube-system", "patch", "configmap", "yunkube", f"--patch={patch}")
        assert (lab.deploy("plan").code == 2) == (id_of_api != ours)
    (lab.state / "kubeconfig").rename(tmp_path / "kubeconfig")
    for name in ("id", "inventory"):
        (lab.state / name).unlink()
    refused = lab.deploy("up", cluster_provider="existing")
    assert refused.code == 3, refused.errors
    assert "reattach" in refused.errors
    assert lab.deploy("reattach", cluster_provider="existing").code == 0
    assert (lab.state / "id").read_text().strip() == ours
    assert lab.deploy("up").code == 0
    assert (lab.state / "kubeconfig").read_bytes() == (tmp_path / "kubeconfig").read_bytes()


def test_a_node_that_the_inventory_does_not_name_is_mentioned(lab: Lab) -> None:
    file = lab.inventory / "hosts.yml"
    former = file.read_text()
    hosts = yaml.safe_load(former)
    del hosts["all"]["children"]["nodes"]["hosts"]["node1"]
    file.write_text(yaml.safe_dump(hosts))
    try:
        result = lab.deploy("status", cluster_provider="existing")
    finally:
        file.write_text(former)
    assert "node1 is a node of the cluster and not in the inventory" in json.dumps(result.events)


@contextmanager
def setting(lab: Lab, text: str) -> Iterator[Path]:
    """Change the inventory for a while; yield the file."""
    file = lab.inventory / "group_vars/all/later.yml"  # loaded after the others
    file.write_text(f"---\n{text}")
    try:
        yield file
    finally:
        file.unlink()


def test_what_was_decided_at_the_first_run_is_refused_before_anything_changes(lab: Lab) -> None:
    flannel = (
        "--namespace=kube-flannel",
        "get",
        "configmap",
        "kube-flannel-cfg",
        "--output=jsonpath={.metadata.uid}{.data}",
    )
    before = lab.kubectl(*flannel)
    text = "cluster_pod_cidr: 10.200.0.0/16\ncluster_dns_domain: k8s.example\nmaster_certificate_names: [k8s.example]\n"
    with setting(lab, text + "cluster_cgroup_driver: systemd\n") as file, unchanged(lab):
        for verb in ("plan", "up", "up --limit node1"):
            result = lab.deploy(verb)
            assert result.code == 2, (verb, result.errors)
            known = f"{file}:2: cluster_pod_cidr: 10.200.0.0/16 is declared and the running cluster has 10.244.0.0/16; "
            assert known in result.faults, (verb, result.faults)
            for key in ("cluster_dns_domain", "master_certificate_names", "cluster_cgroup_driver"):
                assert f": {key}: " in result.faults, (verb, result.faults)
        program = Path(sys.executable).with_name("ansible-playbook")
        argv = [str(program), "-i", str(lab.inventory), "playbooks/addons.yml"]
        plain = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert plain.returncode == 2, plain.stdout
        assert "decided at the first run" in " ".join(plain.stdout.split())
    assert lab.kubectl(*flannel) == before
    with setting(lab, 'cluster_control_plane_endpoint: "m1.internal:6443"\n'):
        result = lab.deploy("up")
    assert result.code == 3, result.errors  # the host, which is in a cluster there, may be another cluster's
    assert "write `cluster_control_plane_endpoint: 10.88.0.11:6443`" in result.faults
    assert "reset" not in result.errors + result.faults


def test_a_kubelet_setting_and_a_kubeconfig_come_later_and_go_again(lab: Lab, tmp_path: Path) -> None:
    file = lab.inventory / "group_vars/all/lab.yml"
    former = file.read_text()
    kubeconfig = tmp_path / "shared/config"
    kubeconfig.parent.mkdir()
    kubeconfig.parent.chmod(0o1777)
    others = (
        "{kind: Config, current-context: prod, contexts: [{name: prod, context: {cluster: prod, user: a}}],"
        " clusters: [{name: prod, cluster: {server: 'https://prod.example'}}], users: [{name: a, user: {token: b}}]}\n"
    )
    kubeconfig.write_text(others)
    with setting(lab, f"master_kubeconfig: {kubeconfig}\nnode_patches: {{kubeletconfiguration: {{maxPods: 66}}}}\n"):
        file.write_text(former.replace("  failSwapOn: false\n", "  failSwapOn: false\n  maxPods: 77\n"))
        with unchanged(lab):
            plan = plan_of(lab.deploy("plan"))
        assert "restart kubelet with maxPods: the default -> 77" in plan["master1"]
        assert plan["node1"] == ["restart kubelet with maxPods: the default -> 66"]
        status = lab.deploy("status")
        assert (status.code, plan_of(status)["node1"]) == (5, plan["node1"])
        assert lab.deploy("up").code == 0
        pods = lab.kubectl("get", "nodes", "--output=jsonpath={.items[*].status.capacity.pods}")
        assert pods.split() == ["77", "66"]
        assert lab.deploy("plan").code == 0
        assert kubeconfig.parent.stat().st_mode & 0o7777 == 0o1777
        assert yaml.safe_load(kubeconfig.read_text())["current-context"] == "prod"
        merged = lab.kubectl("--kubeconfig", str(kubeconfig), "--context=kubernetes-admin@plan", "get", "nodes")
        assert "master1" in merged
        [kept] = kubeconfig.parent.glob("config.*")
        assert kept.read_text() == others
        file.write_text(former)
        assert lab.deploy("up").code == 0
        assert lab.deploy("down", "--yes").code == 0
    assert yaml.safe_load(kubeconfig.read_text())["clusters"] == yaml.safe_load(others)["clusters"]
    assert not (lab.state / "kubeconfig").exists()
