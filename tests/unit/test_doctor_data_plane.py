# SPDX-License-Identifier: Apache-2.0
"""The data plane: what hosts try, how packets are followed through real rules, and what is no fault."""

from __future__ import annotations

import json
import socket
import threading
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.doctor import data_plane
from ansible.module_utils.yunkube.doctor.diagnose import as_lines, diagnose
from ansible.module_utils.yunkube.doctor.nft_filter import tables_of as nft_tables
from ansible.module_utils.yunkube.doctor.packet_trace import FORWARD, IN, Packet, dropped_by
from ansible.module_utils.yunkube.doctor.path_plan import plan
from ansible.module_utils.yunkube.doctor.rules.data_plane import unjudged
from ansible.module_utils.yunkube.doctor.saved_filter import read
from ansible.module_utils.yunkube.doctor.saved_filter import tables_of as saved_tables
from data_plane_changes import CHANGES, DROP_ALL, TIMEOUT, blocked, lose
from doctor_record import healthy, master, node

# As nft 1.0.6 lists a table with a set, a map of verdicts, ranges, marks, rates, jumps and policies.
NFT = json.loads((Path(__file__).parent / "data/doctor/nft_table.json").read_text())["nftables"]
OVERLAY = Packet("overlay-in", IN, "udp", "10.92.0.11", "10.92.0.22", 8472, iif="eth0")
POD = Packet("pods-in", FORWARD, "tcp", "10.244.0.2", "10.244.1.2", 53, iif="flannel.1", oif="cni0")
OTHERS = POD._replace(source="10.99.0.2")


@pytest.mark.parametrize(
    ("packet", "chain", "rule"),
    [
        (OVERLAY, "input", "handle 9"),
        (OVERLAY._replace(iif="lo"), "", ""),
        (OVERLAY._replace(port=8473), "", ""),
        (OVERLAY._replace(protocol="tcp"), "", ""),
        (OVERLAY._replace(protocol="tcp", source="10.92.0.21"), "input", "handle 10"),
        (OVERLAY._replace(protocol="tcp", source="192.0.2.9"), "input", "handle 10"),
        (OVERLAY._replace(state="established"), "", ""),
        (OVERLAY._replace(state="invalid"), "input", "handle 6"),
        (POD, "pods", "handle 17"),
        (POD.reply(), "", ""),
        (POD._replace(oif="eth0"), "", ""),
        (POD._replace(port=80), "forward", "policy drop"),
        (OTHERS, "forward", "policy drop"),
    ],
)
def test_a_packet_is_followed_through_rules_of_nft(packet: Packet, chain: str, rule: str) -> None:
    found = dropped_by(nft_tables(NFT), packet, data_plane.OWN)
    assert [(one["chain"], one["rule"]) for one in found] == ([(chain, rule)] if chain else [])


def test_a_rule_of_nft_is_named_with_what_deletes_it_and_what_it_counted() -> None:
    (found,) = dropped_by(nft_tables(NFT), OVERLAY, data_plane.OWN)
    assert (found["table"], found["undo"]) == ("inet user", "nft delete rule inet user input handle 9")
    assert found["packets"] == 0
    (policy,) = dropped_by(nft_tables(NFT), OTHERS, data_plane.OWN)
    assert policy["undo"] == "nft chain inet user forward '{ policy accept ; }'"


def test_behind_a_rule_that_cannot_be_judged_nothing_is_certain() -> None:
    certain = {packet: dropped_by(nft_tables(NFT), packet, data_plane.OWN)[0]["certain"] for packet in (OVERLAY, POD)}
    assert certain == {OVERLAY: True, POD: False}  # a mark might have let it pass


SAVED = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
:FLANNEL-FWD - [0:0]
:web - [0:0]
[7:420] -A FORWARD -m conntrack --ctstate NEW -m comment --comment "- x" -j KUBE-FORWARD
%s
[5:300] -A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
[9:540] -A FORWARD -i docker0 -j ACCEPT
-A FORWARD -j DROP
[0:0] -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
[0:0] -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
[5:300] -A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A web -p tcp -m multiport --dports 50:60,80 -j DROP
COMMIT
*nat
:POSTROUTING DROP [0:0]
COMMIT
"""


@pytest.mark.parametrize(
    ("rule", "dropping"),
    [
        ("", ""),
        ("[3:180] -A FORWARD -s 10.244.0.0/16 -j DROP", "-A FORWARD -s 10.244.0.0/16 -j DROP"),
        ("-A FORWARD ! -s 10.244.0.0/16 -j DROP", ""),
        ("-A FORWARD -i flannel+ -o cni0 -j REJECT --reject-with icmp-port-unreachable", "-A FORWARD -i flannel+"),
        ("-A FORWARD -i eth0 -j DROP", ""),
        ("-A FORWARD -p udp -j DROP", ""),
        ("-A FORWARD -j web", "-A web"),
        ("-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -g web", ""),
        ("-A FORWARD -m statistic --mode random --probability 0.5 -j DROP", ""),
        ("-A FORWARD -j LOG --log-prefix drop", ""),
    ],
)
def test_a_packet_is_followed_through_rules_of_iptables(rule: str, dropping: str) -> None:
    found = dropped_by(saved_tables(read(SAVED % rule), "iptables"), POD, data_plane.OWN)
    assert [one["rule"].startswith(dropping) and one["certain"] for one in found] == ([True] if dropping else [])


def test_a_rule_of_iptables_says_what_it_counted_and_what_deletes_it() -> None:
    (found,) = dropped_by(saved_tables(read(SAVED % "[3:180] -A FORWARD -j DROP"), "iptables"), POD, data_plane.OWN)
    assert (found["table"], found["chain"], found["packets"]) == ("iptables filter", "FORWARD", 3)
    assert found["undo"] == "iptables -D FORWARD -j DROP"
    raw = "*raw\n:PREROUTING DROP [0:0]\nCOMMIT\n"
    (found,) = dropped_by(saved_tables(read(raw), "iptables"), POD, data_plane.OWN)
    assert found["undo"] == "iptables -t raw -P PREROUTING ACCEPT"


def api_node(number: int, *, master: bool = False) -> dict[str, t.Any]:
    labels = {"node-role.kubernetes.io/control-plane": ""} if master else {}
    addresses = [{"type": "InternalIP", "address": f"10.92.0.{number}"}]
    return {
        "metadata": {"name": f"n{number:03}", "labels": labels},
        "spec": {"podCIDR": f"10.244.{number}.0/24"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": addresses},
    }


def api_pod(number: int, **more: t.Any) -> dict[str, t.Any]:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-29T10:00:00Z"}
    return {
        "metadata": {"namespace": "kube-system", "name": f"coredns-{number}", "labels": {"k8s-app": "kube-dns"}},
        "spec": {"nodeName": f"n{number:03}", "containers": [{"ports": [{"containerPort": 53}]}], **more},
        "status": {"podIP": f"10.244.{number}.2", "conditions": [ready]},
    }


SERVICES = [
    {"metadata": {"namespace": place, "name": name}, "spec": {"clusterIP": address, "ports": [{"port": port}]}}
    for place, name, address, port in (
        ("default", "kubernetes", "10.96.0.1", 443),
        ("kube-system", "kube-dns", "10.96.0.10", 53),
        ("shop", "web", "10.96.0.20", 80),
    )
]
NOW = 1795950000.0


def planned(nodes: int, pods: list[dict[str, t.Any]], *, vxlan: bool = True) -> dict[str, t.Any]:
    known = [api_node(number, master=number == 1) for number in range(1, nodes + 1)]
    return plan(known, pods, SERVICES, system=("kube-system",), vxlan=vxlan, now=NOW)


def test_every_host_is_tried_and_the_paths_grow_with_the_hosts() -> None:
    found = planned(100, [api_pod(1), api_pod(50)])
    assert set(found) == {f"n{number:03}" for number in range(1, 101)}
    overlay = [one["node"] for paths in found.values() for one in paths["targets"] if one["kind"] == "overlay"]
    assert set(overlay) == set(found)
    assert max(len(paths["targets"]) for paths in found.values()) <= 11
    assert all(one["node"] != name for name, paths in found.items() for one in paths["targets"] if one["kind"] == "pod")


def test_a_host_tries_overlay_pods_services_and_the_name_server() -> None:
    targets = planned(2, [api_pod(1), api_pod(2)])["n001"]["targets"]
    assert {(one["kind"], one["address"], one["port"]) for one in targets} == {
        ("overlay", "10.244.2.0", 10250),
        ("pod", "10.244.2.2", 53),
        ("dns-pod", "10.244.1.2", 53),
        ("dns-pod", "10.244.2.2", 53),
        ("api", "10.96.0.1", 443),
        ("api-host", "10.92.0.1", 6443),
        ("dns-tcp", "10.96.0.10", 53),
        ("dns-udp", "10.96.0.10", 53),
    }


@pytest.mark.parametrize("count", [0, 1])
def test_a_small_cluster_has_nobody_else_to_try(count: int) -> None:
    found = planned(count, [])
    assert [one["kind"] for paths in found.values() for one in paths["targets"] if one["node"] != "n001"] == [
        "api",
        "dns-tcp",
        "dns-udp",
    ] * count


def test_pods_that_come_go_or_have_no_network_are_not_tried() -> None:
    leaving, fresh = api_pod(1), api_pod(1)
    leaving["metadata"]["deletionTimestamp"] = "2026-11-29T10:00:00Z"
    fresh["status"]["conditions"][0]["lastTransitionTime"] = "2026-11-29T11:39:50Z"
    for pod in (leaving, fresh, api_pod(1, hostNetwork=True)):
        assert planned(2, [pod])["n001"]["me"] == {}


@pytest.fixture
def name_server() -> t.Iterator[int]:
    """Answer each query on loopback, but the first, which is lost; yield the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            server.recv(512)
            query, client = server.recvfrom(512)
            server.sendto(query[:2] + b"\x81\x80" + query[4:], client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


def test_a_lost_query_is_sent_once_more(name_server: int) -> None:
    assert data_plane.ask("127.0.0.1", name_server, "kubernetes.default.svc.cluster.local") == "ok"


def test_a_name_server_that_says_nothing_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_plane, "SECONDS", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        address, port = silent.getsockname()
        assert data_plane.ask(address, port, "x") == TIMEOUT


def test_a_refusal_proves_the_path() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    (found,) = data_plane.attempt([{"kind": "pod", "name": "x", "address": "127.0.0.1", "port": port}], "c")
    assert found["outcome"] == "ok"


def test_pods_of_a_host_are_those_whose_namespace_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "var/lib/cni/results"
    folder.mkdir(parents=True)
    for number, netns in ((2, tmp_path), (3, tmp_path / "gone")):
        named = [["K8S_POD_NAMESPACE", "kube-system"], ["K8S_POD_NAME", f"coredns-{number}"]]
        result = {"ips": [{"address": f"10.244.1.{number}/24"}]}
        cache = {"netns": str(netns), "cniArgs": named, "result": result}
        (folder / f"cbr0-{number}-eth0").write_text(json.dumps(cache))
    (folder / "cbr0-4-eth0").write_text("{")
    assert [(pod["name"], pod["address"]) for pod in data_plane.local_pods(tmp_path)] == [("coredns-2", "10.244.1.2")]


def test_without_a_plan_nothing_is_tried() -> None:
    assert data_plane.try_paths({}, "cluster.local", Path("/nowhere")) == ([], [])
    assert data_plane.blocked({}, {}, dict) == []


def test_a_host_whose_kube_proxy_has_just_started_is_named_as_not_judged() -> None:
    facts = healthy()
    assert unjudged(facts) == []
    CHANGES["services-unreachable"](facts)
    for one in node(facts).containers or []:
        if one["name"] == "kube-proxy":
            one["made"] = node(facts).now - 5
    assert diagnose(facts) == []
    assert unjudged(facts) == ["node1"]
    assert as_lines([], unjudged(facts)) == [
        "pods' network of node1: kube-proxy or flanneld started less than 30 s ago; run doctor again"
    ]


def test_a_rule_without_a_lost_packet_is_no_fault() -> None:
    facts = healthy()
    flows = ("overlay-in", "overlay-out", "pods-in", "pods-out", "host-out", "dns", "dns-in", "api")
    node(facts).blocked = [{**DROP_ALL, "flow": flow} for flow in flows]
    assert diagnose(facts) == []


def test_on_a_host_without_pods_the_packets_way_through_the_rules_is_the_proof() -> None:
    facts = healthy()
    node(facts).pod_addresses = []
    node(facts).blocked = [{**DROP_ALL, "flow": flow} for flow in ("pods-in", "pods-out", "dns")]
    assert [one.id for one in diagnose(facts)] == ["pod-packets-dropped"]
    node(facts).blocked = [{**DROP_ALL, "certain": False}]
    assert diagnose(facts) == []


def test_lost_packets_without_a_rule_are_unknown_and_say_what_was_tried() -> None:
    facts = healthy()
    lose(node(facts), ("pod", "dns-pod", "overlay"), "master1", "")
    (found,) = diagnose(facts)
    assert (found.id, found.severity, found.implied) == ("unknown", "error", ["pod-path-broken"])
    assert "node1 -> flannel's link of master1 (10.244.0.0:10250/tcp): Connection timed out" in found.evidence


def test_a_firewall_that_keeps_pods_from_kubelets_is_no_broken_path() -> None:
    facts = healthy()
    lose(node(facts), ("overlay",), "master1")  # its proof is the kubelet's port; pods reach pods
    assert diagnose(facts) == []


def test_a_known_fault_of_the_path_explains_what_was_lost() -> None:
    facts = healthy()
    lose(master(facts), ("pod", "dns-pod", "overlay"), "node1")
    del node(facts).links["flannel.1"]
    (found,) = diagnose(facts)
    assert (found.id, "pod-path-broken" in found.implied) == ("flannel-link-missing", True)


def test_a_pod_that_has_gone_since_and_a_flannel_that_just_started_are_no_fault() -> None:
    facts = healthy()
    lose(master(facts), ("pod", "dns-pod"), "node1")
    node(facts).pod_addresses = ["10.244.1.9"]
    assert diagnose(facts) == []
    node(facts).pod_addresses = None
    assert [one.id for one in diagnose(facts)] == ["unknown"]
    for one in node(facts).containers or []:
        if one["name"] == "kube-flannel":
            one["made"] = node(facts).now - 5
    assert diagnose(facts) == []


def test_the_rule_is_named_and_only_advised() -> None:
    facts = healthy()
    undo = "nft delete rule inet user input handle 4"
    node(facts).blocked = [blocked("overlay-in", "inet user", "input", "udp dport 8472 counter drop", undo)]
    lose(master(facts), ("overlay",), "node1")
    (found,) = diagnose(facts)
    assert (found.id, found.host, found.command, found.repair) == ("overlay-dropped", "node1", "", {})
    assert found.evidence[0] == "inet user, chain input: udp dport 8472 counter drop; packets dropped so far: 3"
    assert f"on node1: {undo}" in found.remedy
