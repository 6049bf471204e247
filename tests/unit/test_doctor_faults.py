# SPDX-License-Identifier: Apache-2.0
"""Every fault of the table is found first in facts of a real cluster that are changed as the fault changes them."""

from __future__ import annotations

import inspect
import itertools
import json
import shlex
from dataclasses import replace

import pytest
from ansible.module_utils.yunkube.control.commands import command
from ansible.module_utils.yunkube.doctor.collect_objects import ADDONS, COMPARED
from ansible.module_utils.yunkube.doctor.diagnose import as_lines, diagnose
from ansible.module_utils.yunkube.doctor.facts import ClusterFacts, Facts, HostFacts, as_json, from_json
from ansible.module_utils.yunkube.doctor.more_repairs import REPAIRS
from ansible.module_utils.yunkube.doctor.next_repair import Options, next_repair
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.table import BY_ID, TABLE
from cause_changes import CHANGES, declared
from deployer.arguments import parse
from doctor_pairs import HIDDEN, independent, named
from doctor_record import break_pod, container, healthy, master, node, not_ready


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
    for pair in itertools.combinations(CHANGES, 2):
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


PROXY, PROXY_CONFIG = "DaemonSet kube-system/kube-proxy", "ConfigMap kube-system/kube-proxy"
DNS = "Deployment kube-system/coredns"
TEMPLATE = "spec.template.spec"
OWN = f"{TEMPLATE}.containers[coredns]"
UNFIT = "0/2 nodes are available: 2 Insufficient memory"
NO_NODE = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector"
NO_FILE = 'exec: "/no-such": stat /no-such: no such file or directory'
NO_MODE = 'KubeProxyConfiguration.Mode: Invalid value: \\"ipvx\\": must be iptables, ipvs or nftables'


@pytest.mark.parametrize(
    ("name", "field", "is_", "pod", "last"),
    [
        (DNS, f"{OWN}.image", "no.such/dns:1", {"reason": "ErrImagePull", "images": ["no.such/dns:1"]}, ""),
        (DNS, f"{OWN}.resources.requests.memory", "900Gi", {"node": "", "unplaced": UNFIT}, ""),
        (DNS, f"{TEMPLATE}.nodeSelector.disk", "x", {"unplaced": NO_NODE}, ""),
        (DNS, f"{TEMPLATE}.tolerations", "[]", {"unplaced": "2 node(s) had untolerated taint(s)"}, ""),
        (DNS, f"{OWN}.command", '["/no-such"]', {"message": NO_FILE}, ""),
        (PROXY, f"{TEMPLATE}.containers[kube-proxy].args", '["--no-such"]', {}, "Error: unknown flag: --no-such"),
        (PROXY_CONFIG, "data.config.conf", "mode: ipvx", {}, NO_MODE),
    ],
)  # fmt: skip
def test_a_change_is_the_cause_where_a_pod_says_so(
    name: str, field: str, is_: str, pod: dict[str, object], last: str
) -> None:
    facts = healthy()
    facts.cluster.changed = [declared(name, there=True, field=field, is_=is_)]
    assert diagnose(facts) == []  # what people may change, and works
    addon = name.partition("/")[2]
    broken = next(one for one in facts.cluster.pods if one["name"].startswith(addon))
    where = next(host for host in facts.hosts if host.name == broken["node"])
    if name != DNS:
        where.probes["kube-proxy"] = "Connection refused"
    container(where, addon, pod=broken["name"], last=[last] if last else [])
    break_pod(facts, addon, broken["node"], "CrashLoopBackOff").update(pod)
    (found,) = diagnose(facts)
    assert (found.id, found.target, found.repair) == ("addon-object-changed", name, {})  # kubeadm does not say more
    facts.cluster.printed[name] = facts.cluster.changed[0]["manifest"]
    (found,) = diagnose(facts)
    assert found.safe
    facts.cluster.changed[0].update(fields=["spec.other"], said=["spec.other is 1, declared is 2"])
    assert "addon-object-changed" not in [one.id for one in diagnose(facts)]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (PROXY_CONFIG, 'can\'t use the nftables mode: kernel 4.19 is not supported, "nft" has no such option'),
        (PROXY_CONFIG, "Invalid value: 10.96.0.0/99"),
    ],
)
def test_a_mode_that_one_kernel_does_not_have_is_not_undone_on_all_hosts(name: str, said: str) -> None:
    facts = healthy()
    facts.cluster.changed = [declared(name, there=True, field="data.config.conf", is_="mode: nftables")]
    facts.cluster.printed[name] = facts.cluster.changed[0]["manifest"]
    CHANGES["kube-proxy-down"](facts)
    pod = next(one for one in facts.cluster.pods if one["name"].startswith("kube-proxy") and one["node"] == "node1")
    container(node(facts), "kube-proxy", pod=pod["name"], last=[said])
    found = {one.id: one.safe for one in diagnose(facts)}
    assert found == {"kube-proxy-differs": False}
    repair = next_repair(diagnose(facts), Options(fix=True), {}, 0).next
    assert repair == {}
    allowed = Options(fix=True, allow=("kube-proxy-differs",))
    assert next_repair(diagnose(facts), allowed, {}, 0).next["id"] == "kube-proxy-differs"


@pytest.mark.parametrize(
    "broken", ["subnet-env-missing", "nameserver-missing", "containerd-stopped", "cni-config-missing", "disk-full"]
)
def test_what_is_wrong_with_a_host_is_not_hidden_by_what_people_changed(broken: str) -> None:
    facts = healthy()
    CHANGES[broken](facts)
    alone = [(one.id, one.host) for one in diagnose(facts)]
    field = f"{OWN}.resources.limits.memory"
    facts.cluster.changed = [declared(DNS, there=True, field=field, is_="340Mi")]
    facts.cluster.printed[DNS] = facts.cluster.changed[0]["manifest"]
    assert [(one.id, one.host) for one in diagnose(facts)] == alone


@pytest.mark.parametrize("name", ["Service kube-system/kube-dns", "ClusterRole system:coredns"])
@pytest.mark.parametrize("broken", ["subnet-env-missing", "kube-proxy-down", "image-name-wrong"])
def test_an_object_of_dns_explains_nothing_but_dns(name: str, broken: str) -> None:
    facts = healthy()
    CHANGES[broken](facts)
    if name.startswith("Service"):
        facts.cluster.changed = [declared(name, there=True, field="spec.selector", is_="{}")]
    else:
        facts.cluster.missing = [{"name": name, "addon": "coredns", "problem": "is missing", "there": False}]
    assert broken in [one.id for one in diagnose(facts)]


@pytest.mark.parametrize(
    "one",
    [
        declared("ClusterRole flannel", there=True, field="metadata.labels.team", is_="x"),
        declared("Service dashboard/dashboard", there=False),
        declared("ConfigMap registry/registry", there=True, field="data.config", is_="x"),
        declared("ClusterRole flannel", there=False),
    ],
    ids=lambda one: one["name"],
)
def test_an_object_of_ours_explains_only_what_its_own_pods_do_not_do(one: dict[str, object]) -> None:
    facts = healthy()
    CHANGES["subnet-env-missing"](facts)
    facts.cluster.declared = [one]
    assert "subnet-env-missing" in [found.id for found in diagnose(facts)]


def every_manifest(facts: Facts) -> None:
    """Let kubeadm have said what it declares."""
    names = {*COMPARED, *(name for objects in ADDONS.values() for name in objects)}
    facts.cluster.printed = {name: declared(name, there=False)["manifest"] for name in names}


@pytest.mark.parametrize("fault", CHANGES)
def test_a_repair_takes_the_arguments_that_its_rule_gives(fault: str) -> None:
    facts = healthy()
    CHANGES[fault](facts)
    every_manifest(facts)
    hits = [(rule, hit) for rule in TABLE for hit in rule.proof(facts) if rule.repair in REPAIRS]
    for rule, hit in hits:
        if hit.arguments.get("undo") != "":
            inspect.signature(REPAIRS[rule.repair]).bind(None, hit.target, **hit.arguments)
    assert BY_ID[fault].repair not in REPAIRS or fault in {rule.id for rule, _ in hits}


def test_a_workload_is_restored_where_its_namespace_and_its_secrets_are() -> None:
    name = "Deployment dashboard/dashboard"
    facts = healthy()
    facts.cluster.addons = [name]
    facts.cluster.declared = [{**declared(name, there=False), "lacks": ["Secret dashboard/login"]}]
    (found,) = diagnose(facts)
    assert found.repair == {}
    assert any("Secret dashboard/login" in line and "no repair" in line for line in found.evidence)
    facts.cluster.declared[0]["lacks"] = []
    (found,) = diagnose(facts)
    assert found.safe
    role = "Role dashboard/dashboard"
    facts.cluster.declared += [declared("Namespace dashboard", there=False), declared(role, there=False)]
    assert {one.target: bool(one.repair) for one in diagnose(facts)} == {
        name: False,
        "Namespace dashboard": True,
        role: False,
    }


@pytest.mark.parametrize(("addon", "workload"), [("coredns", "coredns"), ("kube-proxy", "kube-proxy")])
def test_an_addon_that_the_cluster_is_not_to_have_is_not_missed(addon: str, workload: str) -> None:
    facts = healthy()
    facts.cluster.workloads[workload] = {"there": False, "problem": "not there", "replicas": 0, "selector": {}}
    facts.cluster.pods = [pod for pod in facts.cluster.pods if not pod["name"].startswith(addon)]
    for host in facts.hosts:
        host.containers = [one for one in host.containers or [] if one["name"] != addon]
        host.probes[addon] = "Connection refused"
    facts.cluster.dns_endpoints = 0 if addon == "coredns" else facts.cluster.dns_endpoints
    assert "cluster-workload-missing" in [one.id for one in diagnose(facts)]
    facts.cluster.disabled = [addon]
    assert diagnose(facts) == []


def test_that_kubeadm_says_nothing_is_a_notice_and_no_fault() -> None:
    assert as_lines([], not_printed="it has no address")[0].endswith("kubeadm declares: it has no address")


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
