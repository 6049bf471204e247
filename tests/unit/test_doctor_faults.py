# SPDX-License-Identifier: Apache-2.0
"""Every fault of the table is found first in facts of a real cluster that are changed as the fault changes them."""

from __future__ import annotations

import itertools
import json
import shlex
from dataclasses import replace

import pytest
from ansible.module_utils.yunkube.control.commands import command
from ansible.module_utils.yunkube.doctor.diagnose import as_lines, diagnose
from ansible.module_utils.yunkube.doctor.facts import ClusterFacts, Facts, HostFacts, as_json, from_json
from ansible.module_utils.yunkube.doctor.next_repair import Options, next_repair
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.table import BY_ID, TABLE
from cause_changes import CHANGES, declared
from deployer.arguments import parse
from doctor_pairs import HIDDEN, independent, named
from doctor_record import break_pod, healthy, master, node, not_ready


def test_a_healthy_cluster_has_no_fault() -> None:
    assert diagnose(healthy()) == []


def test_facts_go_through_json() -> None:
    facts = healthy()
    assert from_json(HostFacts, json.loads(json.dumps(as_json(node(facts))))) == node(facts)
    assert from_json(ClusterFacts, json.loads(json.dumps(as_json(facts.cluster)))) == facts.cluster


def test_every_entry_but_symptoms_has_a_change_of_facts() -> None:
    assert set(CHANGES) == {fault.id for fault in TABLE if not fault.symptom}
    assert len(CHANGES) >= 30


@pytest.mark.parametrize("fault", CHANGES)
def test_a_fault_is_the_first_finding(fault: str) -> None:
    facts = healthy()
    CHANGES[fault](facts)
    found = diagnose(facts)
    assert found[0].id == fault, "\n".join(as_lines(found))
    assert found[0].evidence
    assert "{" not in found[0].remedy
    others = [one.id for one in found[1:] if one.id != fault]  # of both hosts, where it is on both
    assert others == [], "\n".join(as_lines(found))


def test_consequences_are_reported_as_a_chain() -> None:
    facts = healthy()
    CHANGES["kube-proxy-down"](facts)
    (found,) = diagnose(facts)
    assert found.implied[:3] == ["flannel-not-ready", "subnet-env-missing", "pod-not-ready"]
    assert set(found.implied[3:]) == {"pod-not-ready"}
    assert found.chain[1].startswith("subnet-env-missing (/run/flannel/subnet.env of node1): ")


def test_any_two_faults_at_once_are_both_named() -> None:
    missed = set()
    for pair in itertools.permutations(CHANGES, 2):
        if not independent(*pair):
            continue
        facts = healthy()
        for fault in pair:
            CHANGES[fault](facts)
        missed |= {(other, one) for one, other in (pair, pair[::-1]) if one not in named(facts)}
    assert missed == {(hider, one) for hider, hidden in HIDDEN.items() for one in hidden}


@pytest.mark.parametrize(
    ("source", "count"), [("", 1), ("10.92.0.0/24", 1), ("!10.92.0.0/24", 0), ("192.0.2.0/24", 0), ("!192.0.2.0/24", 1)]
)
def test_a_rule_for_other_sources_alone_is_no_fault(source: str, count: int) -> None:
    facts = healthy()
    node(facts).drops = [{"protocol": "tcp", "port": 10250, "rule": "-A INPUT", "undo": "x", "source": source}]
    assert len(diagnose(facts)) == count


def test_nodes_alone_say_nothing_of_the_api() -> None:
    facts = Facts([node(healthy())], ClusterFacts(), healthy().now)
    assert diagnose(facts) == []


@pytest.mark.parametrize(
    "of_host", ["containerd-stopped", "kubelet-config-broken", "control-plane-certificate-expired"]
)
def test_a_host_is_repaired_before_what_needs_its_pods(of_host: str) -> None:
    facts = healthy()
    CHANGES["dns-scaled-to-zero"](facts)
    dns = diagnose(facts)
    facts = healthy()
    CHANGES[of_host](facts)
    assert next_repair([*dns, *diagnose(facts)], Options(fix=True), {}, 0).next["id"] == of_host


def test_a_break_that_is_not_in_the_table_is_unknown() -> None:
    facts = healthy()
    break_pod(facts, "kube-flannel", "node1", "CrashLoopBackOff", "never seen before")
    not_ready(facts)
    (found,) = diagnose(facts)
    assert (found.id, found.host, found.safe) == ("unknown", "node1", False)
    assert any("never seen before" in line for line in found.evidence)


def test_a_silent_api_without_a_reason_is_unknown() -> None:
    facts = healthy()
    facts.cluster = ClusterFacts("master1", detail="HTTP status 500")
    assert [one.id for one in diagnose(facts)] == ["unknown"]


@pytest.mark.parametrize(("reason", "problem"), [("ContainerCreating", "container x waits"), ("", "not ready")])
def test_a_pod_that_just_starts_is_no_fault(reason: str, problem: str) -> None:
    facts = healthy()
    break_pod(facts, "kube-flannel", "node1", reason, problem=problem, age=5.0, unready=5.0)
    assert diagnose(facts) == []


def test_entries_explain_what_stands_after_them() -> None:
    order = [rule.id for rule in TABLE]
    assert len(order) == len(set(order))
    for number, rule in enumerate(TABLE):
        assert set(rule.before) <= set(order[number + 1 :]), rule.id


@pytest.mark.parametrize("rule", [rule for rule in BY_ID.values() if rule.call], ids=lambda rule: rule.id)
def test_a_command_of_a_remedy_is_one_of_deploy_py_and_names_the_inventory(rule: Rule) -> None:
    hit = Hit("node1", ["it is so"], target="kube-system/coredns-1")
    rule = replace(rule, proof=lambda _: [hit], symptom=False)
    (found,) = diagnose(healthy(), [rule], lambda words: command(words, "inventory/mine"))
    verb = rule.call.partition(" ")[0]
    assert f"./scripts/deploy.py {verb} -i inventory/mine" in found.remedy
    assert "{" not in found.remedy
    _, *words = shlex.split(
        command(rule.call.format(host="node1", target="x", namespace="y", name="z"), "inventory/mine")
    )
    assert parse(words).verb == verb


@pytest.mark.parametrize("rule", [rule for rule in TABLE if "kubeadm " in rule.remedy], ids=lambda rule: rule.id)
def test_kubeadm_by_hand_gets_the_clusters_configuration(rule: Rule) -> None:
    if "kubeadm upgrade" not in rule.remedy:  # which has no defaults to fall back to
        assert "--config cluster.yaml" in rule.remedy
    assert "docs/kubeadm.md" in rule.remedy


def test_every_entry_can_be_rendered() -> None:
    for rule in BY_ID.values():
        assert rule.title[0].isupper() or rule.title.startswith(("/", "containerd", "etcd", "flannel", "kube"))
        assert rule.remedy
        assert "deploy.py" not in rule.remedy, f"{rule.id}: name the command as `call`, which knows the inventory"
        assert ("{command}" in rule.remedy) == bool(rule.call), rule.id
        assert rule.looks
        assert not rule.safe or rule.repair


def test_a_namespace_that_is_just_being_deleted_is_no_fault() -> None:
    facts = healthy()
    waits = ["Some resources are remaining: pods. has 3 resource instances"]
    facts.cluster.stuck_namespaces = [{"name": "shop", "seconds": 40.0, "waits": waits}]
    assert diagnose(facts) == []
    facts.cluster.stuck_namespaces[0]["waits"].append("Some content in the namespace has finalizers remaining: x")
    assert [one.id for one in diagnose(facts)] == ["namespace-stuck"]


def test_what_is_beside_flannels_network_on_purpose_is_no_fault() -> None:
    facts = healthy()
    CHANGES["pod-network-overlaps"](facts)
    assert [one.id for one in diagnose(facts)] == ["pod-network-overlaps"]
    for wide in ("10.0.0.0/8", "0.0.0.0/1"):
        facts = healthy()
        node(facts).routes.append({"dst": wide, "dev": "tun0", "flags": []})
        assert diagnose(facts) == []
    facts = healthy()
    CHANGES["cni-config-foreign"](facts)
    first = next(iter(node(facts).cni.values()))
    first["plugins"] = ["loopback", "multus"]
    assert "cni-config-foreign" not in [one.id for one in diagnose(facts)]


def test_another_version_of_flannel_is_not_applied_by_a_repair() -> None:
    facts = healthy()
    CHANGES["declared-object-changed"](facts)
    (found,) = diagnose(facts)
    assert found.repair
    facts.cluster.declared[0]["fields"] = ["spec.template.spec.containers[kube-flannel].image"]
    (found,) = diagnose(facts)
    assert not found.repair


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("DaemonSet kube-system/kube-proxy", "kube-proxy-down"),
        ("ConfigMap kube-system/kube-proxy", "kube-proxy-down"),
        ("Deployment kube-system/coredns", "nameserver-missing"),
    ],
)
def test_what_people_may_change_is_named_only_where_it_does_not_work(name: str, broken: str) -> None:
    facts = healthy()
    facts.cluster.changed = [declared(name, there=True)]
    assert diagnose(facts) == []
    CHANGES[broken](facts)
    found = [one for one in diagnose(facts) if one.id == "addon-object-changed"]
    assert [(one.target, one.repair) for one in found] == [(name, {})]  # kubeadm has not said what it declares
    facts.cluster.printed[name] = facts.cluster.changed[0]["manifest"]
    found = [one for one in diagnose(facts) if one.id == "addon-object-changed"]
    assert [one.safe for one in found] == [True]


@pytest.mark.parametrize(
    ("service", "seconds", "severities"),
    [
        ("kube-system/metrics-server", 10.0, []),
        ("kube-system/metrics-server", 40.0, ["error"]),
        ("shop/adapter", 40.0, ["warning"]),
    ],
)
def test_a_part_of_the_api_has_time_to_start(service: str, seconds: float, severities: list[str]) -> None:
    facts = healthy()
    CHANGES["api-service-unavailable"](facts)
    facts.cluster.api_services[0] |= {"service": service, "seconds": seconds}
    assert [one.severity for one in diagnose(facts)] == severities


def test_a_kubelet_that_is_served_where_it_reports_is_no_fault() -> None:
    facts = healthy()
    master(facts).servers = {"/etc/kubernetes/admin.conf": node(facts).server}
    node(facts).server = "https://kubernetes.default:6443"  # a name that this host alone uses
    assert diagnose(facts) == []
    node(facts).probes["api"] = "https://kubernetes.default:6443: Connection refused"
    assert [one.id for one in diagnose(facts)] == ["kubelet-conf-elsewhere"]


@pytest.mark.parametrize(("seconds", "found"), [(2.0, {"clock-skew"}), (45.0, set())])
def test_a_clock_that_was_read_while_another_host_was_still_looking_is_no_fault(
    seconds: float, found: set[str]
) -> None:
    facts = healthy()
    node(facts).now -= 50
    master(facts).seconds = seconds
    assert named(facts) == found
