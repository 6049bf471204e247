# SPDX-License-Identifier: Apache-2.0
"""What the record of a host holds, and how a difference is worded."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.yunkube.host import state as host_state

NFT: host_state.Json = {
    "nftables": [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "own", "handle": 4}},
        {
            "rule": {
                "family": "inet", "table": "own", "chain": "in", "handle": 7,
                "expr": [{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}},
                         {"counter": {"packets": 3, "bytes": 180}}, {"accept": None}],
            }
        },
    ]
}  # fmt: skip


def record(**about: Any) -> host_state.Json:
    """Return a record of a host that has next to nothing."""
    pairs: dict[str, Any] = {key: {} for key in ("packages", "units", "sysctls", "files")}
    lists: dict[str, Any] = {
        key: [] for key in ("failed", "mounts", "swaps", "links", "routes", "routes6", "rules", "firewall")
    }
    return {**pairs, **lists, **about}


def told(before: host_state.Json, after: host_state.Json, accept: tuple[str, ...] = ()) -> list[str]:
    """Return the differences."""
    return host_state.differences(before, after, ["kernel.*"], accept)


def test_a_host_that_is_as_it_was_has_no_difference() -> None:
    assert told(record(firewall=None), record()) == []
    assert told(record(firewall=["nft table ip x"]), record(firewall=None)) == []  # nobody to ask any more


def test_every_difference_is_a_line_of_its_own() -> None:
    before = record(packages={"a": "1", "b": "1"}, files={"/etc/x": "644 aa"}, links=["eth0"], sysctls={"net.a": "0"})
    after = record(packages={"a": "2", "c": "1"}, files={"/etc/x": "644 bb"}, links=["cni0"], sysctls={"net.a": "1"})
    after["failed"] = ["z.service"]
    assert told(before, after) == [
        "package c is left", "package b is gone", "package a was 1, is 2", "unit z.service failed",
        "sysctl net.a was 0, is 1", "link cni0 is left", "link eth0 is gone", "file /etc/x was 644 aa, is 644 bb",
    ]  # fmt: skip


def test_a_package_that_left_its_configuration_files_is_not_installed() -> None:
    before = record(packages={"a": "1"}, config_files={"b": "1"})
    assert told(before, record(packages={"a": "1"}, config_files={"b": "2"})) == []  # a newer one was there meanwhile
    assert told(before, record(packages={"a": "1"}, config_files={})) == []  # its files are compared one by one
    assert told(before, record(packages={"a": "1", "b": "1"}, config_files={})) == ["package b is left"]
    assert told(before, record(packages={}, config_files={"a": "1", "b": "1"})) == ["package a is gone"]
    new = record(packages={"a": "1"}, config_files={"b": "1", "c": "1"})
    assert told(before, new) == ["package c is left"]
    old = record(packages={"a": "1", "b": "1"})  # by an earlier release, which did not distinguish them
    assert told(old, record(packages={"a": "1"}, config_files={"b": "1"})) == []


def test_packages_are_told_from_configuration_files() -> None:
    listing = "installed a 1\nconfig-files b 2\nnot-installed c \nunpacked d 1:3 4\n"
    assert host_state.packages(lambda _argv: listing) == ({"a": "1", "d": "1:3 4"}, {"b": "2"})
    rpm = "installed a 1-1\n"
    assert host_state.packages(lambda argv: rpm if argv[0] == "rpm" else "") == ({"a": "1-1"}, {})


def resolver(port: int) -> list[str]:
    """Return the packet filter of a container on a network of Docker's, as its resolver has it after each start."""
    saved = f"""*nat
:PREROUTING ACCEPT [0:0]
:DOCKER_OUTPUT - [0:0]
:DOCKER_POSTROUTING - [0:0]
-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
-A POSTROUTING -d 127.0.0.11/32 -j DOCKER_POSTROUTING
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.11:{port}
-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p udp -m udp --sport {port} -j SNAT --to-source :53
COMMIT
"""
    chain = {"family": "ip", "table": "nat", "chain": "DOCKER_OUTPUT"}
    rule = {**chain, "expr": [{"match": {"right": 53}}, {"dnat": {"addr": "127.0.0.11", "port": port}}]}
    return host_state.legacy_lines(saved) + host_state.nft_lines([{"rule": rule}])


def test_a_host_in_docker_may_have_been_restarted() -> None:
    before, after = record(firewall=resolver(36275)), record(firewall=resolver(46113))
    assert told(before, after) == []
    assert told(record(), after) == []  # it was connected to a network of Docker's since
    after["firewall"].append("iptables nat -A DOCKER -j RETURN")
    assert told(before, after) == ["packet filter iptables nat -A DOCKER -j RETURN is left"]


def test_what_is_shared_or_accepted_is_not_reported() -> None:
    assert told(record(sysctls={"kernel.panic": "0"}), record(sysctls={"kernel.panic": "10"})) == []
    after = record(packages={"htop": "3"})
    assert told(record(), after, ("package htop *",)) == []
    assert told(record(), after, ("package top *",)) == ["package htop is left"]


@pytest.mark.parametrize("chain", ["CNI-DN-", "NETAVARK-", "DOCKER"])
def test_a_container_of_the_hosts_own_may_have_restarted_with_other_rules(chain: str) -> None:
    old, new, other = (f'nft rule ip nat {chain} {{"to": "10.88.0.{number}"}}' for number in (2, 3, 4))
    accepts = 'nft rule ip filter FORWARD {"expr": [{"accept": null}]}'
    assert told(record(firewall=[old]), record(firewall=[new, other])) == []
    assert told(record(), record(firewall=[new])) == [f"packet filter {new} is left"]  # there was no such program
    assert told(record(firewall=[old]), record(firewall=[old, accepts])) == [f"packet filter {accepts} is left"]


def test_a_container_of_the_hosts_own_may_have_another_network() -> None:
    before = record(mounts=["/data", "/run/netns", "/run/netns/netns-a"])
    after = record(mounts=["/data", "/run/netns", "/run/netns/netns-b"])
    assert told(before, after) == []
    after = record(mounts=["/run/netns", "/run/netns-own"])
    assert told(before, after) == ["mount /run/netns-own is left", "mount /data is gone"]
    after = record(mounts=before["mounts"], files={"/run/netns/cni-pod": "444"})
    assert told({**before, "trees": [["/run/netns", 1]]}, after) == ["file /run/netns/cni-pod is left"]


def test_rules_are_the_same_whatever_they_counted() -> None:
    first = host_state.nft_lines(NFT["nftables"])
    counted = json.loads(json.dumps(NFT).replace('"packets": 3, "bytes": 180', '"packets": 9, "bytes": 999'))
    assert first == host_state.nft_lines(counted["nftables"])
    assert len(first) == 2
    other = json.loads(json.dumps(NFT).replace('"tcp"', '"udp"'))
    assert first != host_state.nft_lines(other["nftables"])
    saved = "*filter\n:INPUT ACCEPT [1:2]\n:FORWARD DROP [0:0]\n-A INPUT -j OWN\nCOMMIT\n"
    assert host_state.legacy_lines(saved) == ["iptables filter :FORWARD DROP", "iptables filter -A INPUT -j OWN"]


def test_routes_are_those_to_other_machines() -> None:
    listed = [
        {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0", "protocol": "static"},
        {"type": "local", "dst": "10.0.0.2", "dev": "eth0", "table": "local"},
        {"dst": "fe80::/64", "dev": "eth0", "expires": 30},
    ]
    assert host_state.routes(json.dumps(listed)) == ["default gateway 10.0.0.1 dev eth0"]


def test_links_of_containers_come_and_go() -> None:
    listed = [
        {"ifname": "eth0"},
        {"ifname": "veth1", "master": "docker0", "linkinfo": {"info_kind": "veth"}},
        {"ifname": "veth2", "linkinfo": {"info_kind": "veth"}},
    ]
    assert host_state.links(json.dumps(listed)) == ["eth0", "veth2"]


def test_files_count_by_content_in_etc_and_by_name_elsewhere(tmp_path: Path) -> None:
    for name in ("etc/own/a", "opt/cni/bin/deep/b", "var/lib/kubelet/c", "etc/mtab"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "etc/link").symlink_to("own/a")
    found = host_state.files(tmp_path)
    assert set(found) == {
        "/etc/own", "/etc/own/a", "/etc/link", "/opt/cni", "/opt/cni/bin", "/opt/cni/bin/deep", "/var/lib/kubelet",
        "/var/lib/kubelet/c",
    }  # fmt: skip
    assert found["/etc/link"] == "-> own/a"
    (tmp_path / "etc/own/a").write_text("other")
    assert host_state.files(tmp_path)["/etc/own/a"] != found["/etc/own/a"]


def test_a_record_of_an_older_version_is_compared_as_far_as_it_goes() -> None:
    after = record(files={"/var/lib/etcd": "755/", "/var/lib/etcd/default": "755/"})
    assert told(record(files={"/var/lib/etcd": "755/"}), after) == []
    new = record(
        files={"/var/lib/etcd": "755/"}, trees=host_state.take(lambda _: "", "", root=Path("/nowhere"))["trees"]
    )
    assert told(new, after) == ["file /var/lib/etcd/default is left"]


def test_networks_of_the_hosts_own_containers_may_go() -> None:
    files = {"/run/netns": "755/", "/run/netns/cni-1": "644", "/var/lib/cni": "755/", "/var/lib/cni/networks": "755/"}
    before = record(files=files, trees=[["/run", 1], ["/run/netns", 1], ["/var/lib", 1], ["/var/lib/cni", 2]])
    assert told(before, record(files={"/run/netns": "755/", "/var/lib/cni": "755/"})) == []


@pytest.mark.parametrize(
    ("path", "is_recorded"),
    [
        ("/opt/cni", True),
        ("/opt", False),
        ("/usr/libexec/kubernetes", True),
        ("/usr/libexec/kubernetes/x", True),
        ("/var/lib/etcd/default/member", True),
        ("/var/lib/etcd/default/member/snap", False),
        ("/srv/x", False),
    ],
)
def test_a_folder_that_no_record_holds_is_not_removed(path: str, is_recorded: bool) -> None:
    assert host_state.is_recorded(Path(path)) == is_recorded


def test_the_record_is_for_root_alone_and_changes_are_noted_once(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    assert host_state.read_record(folder) is None
    host_state.write_record({"cluster": "ours"}, folder)
    assert host_state.read_record(folder) == {"cluster": "ours"}
    host_state.remember("packages", ["a", "b"], folder)
    host_state.remember("packages", ["b", "c"], folder)
    assert host_state.read_changes(folder)["packages"] == ["a", "b", "c"]
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
