"""A cluster is taken off hosts that stay, and nothing of it is left; what was there before is there after.

node1 is occupied: it has what podman, nerdctl and an etcd leave, and files of its own where the cluster writes.
"""

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
# Real where it runs (a process in namespaces of its own, an open database, a listener), as they leave it elsewhere.
OCCUPIED = r"""
set -e
for chain in HOSTPORT-SETMARK HOSTPORT-MASQ HOSTPORT-DNAT DN-0123456789abcdef 0123456789abcdef01234567; do
  iptables -t nat -N CNI-$chain
done
iptables -t nat -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment 'dnat name: "podman" id: "1"' \
  -m multiport --dports 8088 -j CNI-DN-0123456789abcdef
iptables -t nat -A CNI-DN-0123456789abcdef -p tcp --dport 8088 -j DNAT --to-destination 10.88.0.5:80
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
iptables -t nat -A POSTROUTING -m comment --comment 'CNI portfwd requiring masquerade' -j CNI-HOSTPORT-MASQ
iptables -t nat -A POSTROUTING -s 10.88.0.5/32 -m comment --comment 'name: "podman" id: "1"' \
  -j CNI-0123456789abcdef01234567
iptables -N CNI-FORWARD
iptables -A FORWARD -j CNI-FORWARD
ip link add cni-podman0 type bridge
ip netns add cni-6f2a
mkdir -p /etc/cni/net.d /etc/containerd /opt/cni/bin /opt/containerd/a/b /var/lib/cni/networks/podman
mkdir -p /var/lib/etcd/default/member/snap /var/lib/kubelet/own /usr/libexec/kubernetes/own /var/lib/yunkube/registry
echo 10.88.0.5 > /var/lib/cni/networks/podman/10.88.0.5
echo '{"name": "podman"}' > /etc/cni/net.d/87-podman.conflist
for file in /opt/cni/bin/own /opt/cni/bin/bridge /opt/containerd/a/b/c /var/lib/kubelet/own/x \
  /usr/libexec/kubernetes/own/x /var/lib/etcd/default/member/snap/db /etc/crictl.yaml /etc/default/kubelet \
  /etc/containerd/config.toml /usr/local/bin/crictl /usr/local/bin/kubectl /usr/local/sbin/runc; do
  echo "own $file" > $file
  chmod 640 $file
done
echo '# own' > /etc/sysctl.d/99-kubernetes.conf
ln -s kubectl /usr/local/bin/ctr
chmod 750 /usr/local/bin/kubectl
printf '[Service]\nExecStart=/bin/sleep 1d\n[Install]\nWantedBy=multi-user.target\n' \
  > /etc/systemd/system/containerd.service
systemctl -q enable containerd.service
mount -t tmpfs -o size=1m tmpfs /var/lib/yunkube/registry
echo share > /var/lib/yunkube/registry/share
systemd-run -q --unit own-etcd --working-directory /var/lib/etcd/default/member/snap \
  python3 -c 'import time; f = open("db"); time.sleep(1e6)'
systemd-run -q --unit own-web --working-directory /opt/containerd python3 -m http.server 8088
systemd-run -q --unit own-pods --description own-pods unshare --pid --mount --fork --mount-proc bash -c 'exec -a \
  /usr/local/bin/containerd-shim-runc-v2 python3 -c "import time; time.sleep(1e6)" \
  -namespace k8s.io -id 1 -address /run/containerd/containerd.sock'
"""
OWN_UNITS = ("own-etcd", "own-web", "own-pods")


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
    lab.run("node1", f"dpkg --install /root/*.deb && rm /root/*.deb\n{FOREIGN}\n{OCCUPIED}")
    lab.run("node2", "ping -c 3 -i 0.2 10.86.0.21")
    return {host: lab.fingerprint(host) for host in HOSTS}


def occupants(lab: Lab) -> list[str]:
    """Return what of node1's own shows in no fingerprint: chains of container networks, processes, an answer."""
    script = f"""iptables-save | grep CNI- | sed 's/\\[.*//'
for unit in {" ".join(OWN_UNITS)}; do systemctl show --property=MainPID,ActiveState $unit; done
pgrep --full --count 'containerd-shim-runc-v2 -c import'
python3 -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:8088/a/b/c").read())'
ls /run/netns"""
    return lab.run("node1", script).splitlines()


@pytest.fixture(scope="module")
def occupied(lab: Lab, before: dict[str, Json]) -> list[str]:
    """What node1 had beside its fingerprint."""
    assert "file /usr/local/bin/kubectl" not in before["node1"]
    found = occupants(lab)
    assert sum("CNI-" in line for line in found) >= 12
    assert found.count("ActiveState=active") == len(OWN_UNITS)
    return found


def test_an_occupied_host_is_refused_for_every_reason_at_once_and_stays(lab: Lab, before: dict[str, Json]) -> None:
    lab.run("master1", "mkdir -p /run/containerd /var/lib/etcd/default/member")
    listen = "import socket, time; s = socket.socket(socket.{}); s.bind({}); s.listen(); time.sleep(1e6)"
    for unit, family, address in (
        ("engine", "AF_UNIX", "'/run/containerd/containerd.sock'"),
        ("api", "AF_INET", "('', 6443)"),
    ):
        lab.run("master1", f'systemd-run -q --unit own-{unit} python3 -c "{listen.format(family, address)}"')
    result = deploy(lab, "up")
    assert result.code == 3, result.errors
    for what in ("a containerd of its own", "an etcd of its own, in /var/lib/etcd", "port 6443 is taken by python3"):
        assert what in result.faults
    lab.run("master1", "systemctl stop own-engine own-api; rm -r /run/containerd /var/lib/etcd/default")
    for host in HOSTS:
        assert differences(before[host], lab.fingerprint(host)) == [], host


def test_a_cluster_comes_up(lab: Lab, before: dict[str, Json], occupied: list[str]) -> None:
    assert set(before) == set(HOSTS)
    assert occupied
    assert counted(lab) == [3, 3]
    result = deploy(lab, "up")
    assert result.code == 0, result.errors
    assert "own" not in lab.run(
        "node1", "head -qc 9 /usr/local/bin/crictl /usr/local/bin/ctr /etc/containerd/config.toml"
    )


def test_a_host_keeps_a_small_record_for_root_alone(lab: Lab) -> None:
    for host in HOSTS:
        mode, owner, size = lab.run(host, "stat -c '%a %U %s' /var/lib/yunkube/before.json").split()
        assert (mode, owner) == ("600", "root")
        assert int(size) < 200_000


def test_a_cluster_of_another_name_is_refused_and_stays(lab: Lab) -> None:
    tags = "/var/lib/yunkube/registry/docker/registry/v2/repositories/shop/_manifests/tags"
    lab.run("node2", f"mkdir -p {tags}/1 {tags}/2; head -c 1000000 /dev/zero > {tags}/../../../../blob")
    result = down(lab, cluster_name="other", cluster_state_dir=str(lab.state))
    assert result.code == 3, result.errors
    for host in HOSTS:
        assert f"{host}: other cluster: belongs to the cluster teardown (id " in result.faults
        assert lab.succeeds(host, "systemctl is-active kubelet")
    assert "node2: registry: holds the registry's images: 2 images (1.0 MB)" in result.faults


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


def test_a_host_that_does_not_answer_stops_it(lab: Lab) -> None:
    hosts = lab.inventory / "hosts.yml"
    text = hosts.read_text()
    hosts.write_text(text.replace('"10.86.0.22"', '"10.86.0.22", "ansible_port": 1'))
    try:
        result = down(lab, "--force")
    finally:
        hosts.write_text(text)
    assert result.code == 4, result.errors
    for host in HOSTS:
        assert lab.succeeds(host, "systemctl is-active kubelet")
    assert (lab.state / "kubeconfig").exists()


def test_what_is_left_is_told_and_fails_the_run(lab: Lab) -> None:
    lab.run("node1", "echo x > /etc/left-over; ip link add left0 type bridge")
    assert "registry" in down(lab).faults
    result = down(lab, "--force")
    assert result.code == 3, result.errors
    assert (lab.state / "kubeconfig").exists()
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


def test_nothing_is_left_of_it(lab: Lab, before: dict[str, Json], occupied: list[str]) -> None:
    assert not (lab.state / "kubeconfig").exists()
    assert occupants(lab) == occupied
    for host in HOSTS:
        assert differences(before[host], lab.fingerprint(host)) == [], host


def test_a_second_down_has_nothing_to_do(lab: Lab) -> None:
    result = down(lab)
    assert result.code == 0, result.errors
    assert set(result.changed.values()) == {0}


def test_up_works_again_on_the_same_hosts_and_down_with_a_full_disk(
    lab: Lab, before: dict[str, Json], occupied: list[str]
) -> None:
    result = deploy(lab, "up")
    assert result.code == 0, result.errors
    lab.run("node1", "mount -t tmpfs -o size=4k tmpfs /tmp && head -c 1M /dev/zero > /tmp/full || true")
    try:
        result = down(lab, "--dead", "node2")
    finally:
        lab.run("node1", "umount /tmp")
    assert result.code == 0, result.errors
    assert lab.succeeds("node2", "systemctl is-active kubelet")
    result = down(lab)
    assert result.code == 0, result.errors
    for host in HOSTS:
        assert differences(before[host], lab.fingerprint(host)) == [], host
    assert occupants(lab) == occupied
