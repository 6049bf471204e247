"""A cluster is taken off hosts that stay, and nothing of it is left; what was there before is there after."""

from __future__ import annotations

import json
import re

import pytest
from laboratory import Json, Lab, Result, differences, docker

LAB = ("teardown", "10.86.0", 1, 2)
SETTINGS = "dashboard_provider: kube_web_view\ncluster_registry_host: node2\n"  # all that a cluster may have
HOSTS = ("master1", "node1", "node2")
FOREIGN = """
nft add table inet foreign
nft add chain inet foreign in '{ type filter hook input priority 10; }'
nft add rule inet foreign in icmp type echo-request counter
iptables -N FOREIGN
iptables -A FOREIGN -p icmp -j ACCEPT
iptables -I INPUT -p icmp -j FOREIGN
"""


def deploy(lab: Lab, verb: str, *options: str, **variables: str) -> Result:
    """Run a verb on hosts that are there, whoever made them."""
    return lab.deploy(verb, *options, "-e", "cluster_provider=existing", seconds=240, **variables)


def down(lab: Lab, *options: str, **variables: str) -> Result:
    """Take the cluster off."""
    return deploy(lab, "down", "--yes", *options, **variables)


def counted(lab: Lab) -> list[int]:
    """Return what the foreign rules of node1 counted."""
    text = lab.run("node1", "nft list table inet foreign; iptables -nvxL FOREIGN")
    found = re.findall(r"(?m)packets (\d+)|^ +(\d+) .*ACCEPT", text)
    return [int(nft or iptables) for nft, iptables in found]


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, Json]:
    """What the hosts were; node1 has a packet filter of its own."""
    manifest = json.loads((lab.bundle / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry.get("distribution") == "debian12":
            docker("cp", f"{lab.bundle}/files/{entry['sha256']}", f"yunkube-teardown-node1:/root/{entry['name']}")
    lab.run("node1", f"dpkg --install /root/*.deb && rm /root/*.deb\n{FOREIGN}")
    lab.run("node2", "ping -c 3 -i 0.2 10.86.0.21")
    return {host: lab.fingerprint(host) for host in HOSTS}


def test_a_cluster_comes_up(lab: Lab, before: dict[str, Json]) -> None:
    assert set(before) == set(HOSTS)
    assert counted(lab) == [3, 3]
    result = deploy(lab, "up")
    assert result.code == 0, result.errors


def test_a_host_keeps_a_small_record_for_root_alone(lab: Lab) -> None:
    for host in HOSTS:
        mode, owner, size = lab.run(host, "stat -c '%a %U %s' /var/lib/yunkube/before.json").split()
        assert (mode, owner) == ("600", "root")
        assert int(size) < 200_000


def test_a_cluster_of_another_name_is_refused_and_stays(lab: Lab) -> None:
    result = down(lab, cluster_name="other", cluster_state_dir=str(lab.state))
    assert result.code == 3, result.errors
    for host in HOSTS:
        assert f"{host}: other cluster: belongs to the cluster teardown (id " in result.faults
        assert lab.succeeds(host, "systemctl is-active kubelet")


def test_a_cluster_without_a_record_is_refused_on_every_host(lab: Lab) -> None:
    lab.run("node2", "mv /var/lib/yunkube/before.json /root/")
    try:
        result = down(lab)
    finally:
        lab.run("node2", "mv /root/before.json /var/lib/yunkube/")
    assert result.code == 3, result.errors
    assert "node2: other cluster: is a member of a cluster that Yunkube did not make" in result.faults
    assert "--adopt" in result.faults
    for host in HOSTS:
        assert lab.succeeds(host, "systemctl is-active kubelet")


def test_what_is_left_is_told_and_fails_the_run(lab: Lab) -> None:
    lab.run("node1", "echo x > /etc/left-over; ip link add left0 type bridge")
    result = down(lab)
    assert result.code == 3, result.errors
    assert {failure["host"] for failure in result.failures} == {"node1"}
    assert result.faults.splitlines() == [
        f"audit: {line}; undo it, or accept it by a pattern in teardown_accept; then run the same again"
        for line in ("link left0 is left", "file /etc/left-over is left")
    ]


def test_what_is_accepted_passes(lab: Lab) -> None:
    lab.run("node1", "ip link del left0")
    result = down(lab, "-e", 'teardown_accept=["file /etc/left-over *"]')
    assert result.code == 0, result.errors
    lab.run("node1", "rm /etc/left-over")


def test_foreign_rules_are_there_with_what_they_counted(lab: Lab) -> None:
    assert min(counted(lab)) >= 3


def test_nothing_is_left_of_it(lab: Lab, before: dict[str, Json]) -> None:
    for host in HOSTS:
        assert differences(before[host], lab.fingerprint(host)) == [], host


def test_a_second_down_has_nothing_to_do(lab: Lab) -> None:
    result = down(lab)
    assert result.code == 0, result.errors
    assert set(result.changed.values()) == {0}


def test_up_works_again_on_the_same_hosts_and_down_with_a_full_disk(lab: Lab, before: dict[str, Json]) -> None:
    result = deploy(lab, "up")
    assert result.code == 0, result.errors
    lab.run("node1", "mount -t tmpfs -o size=4k tmpfs /tmp && head -c 1M /dev/zero > /tmp/full || true")
    try:
        result = down(lab)
    finally:
        lab.run("node1", "umount /tmp")
    assert result.code == 0, result.errors
    for host in HOSTS:
        assert differences(before[host], lab.fingerprint(host)) == [], host
