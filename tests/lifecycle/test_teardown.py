# SPDX-License-Identifier: Apache-2.0
"""A cluster is taken off hosts that stay, and nothing of it is left; what was there before is there after.

node1 is occupied: it has what podman, nerdctl and an etcd leave, and files of its own where the cluster writes.
master1 has ufw and node2 firewalld, each with openings of the host's own; before that master1 has Docker.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import tarfile
import urllib.request
from pathlib import Path

import pytest
from host_packages import install
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
  /usr/libexec/kubernetes/own/x /var/lib/etcd/default/member/snap/db /etc/crictl.yaml /etc/default/containerd \
  /etc/default/kubelet /etc/containerd/config.toml /usr/local/bin/crictl /usr/local/bin/kubectl /usr/local/sbin/runc; do
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
DOCKER = """
docker import --change 'ENTRYPOINT ["/demo"]' /root/demo.tar demo
docker run --detach --publish 8088:8080 demo
"""
DOCKER_STORAGE = """mkdir -p /etc/docker; echo '{"storage-driver": "vfs"}' > /etc/docker/daemon.json"""
UFW = "ufw allow 22/tcp; ufw allow 8090/tcp comment mine; ufw --force enable"
# As on a host with several networks: that of the cluster is in a zone which is not the default one.
FIREWALLD = (
    "firewall-cmd --permanent --add-port=8090/tcp && firewall-cmd --permanent --zone=internal --add-interface=eth0 "
    "&& firewall-cmd --reload"
)
GOES_ON = ("-e", 'prepare_host_ignored_checks=["foreign"]')  # although node1 has a network of podman's
OWN_UNITS = ("own-etcd", "own-web", "own-pods")


def deploy(lab: Lab, verb: str, *options: str, **variables: str) -> Result:
    """Run a verb on hosts that are there, whoever made them."""
    return lab.deploy(verb, *options, "-e", "cluster_provider=existing", seconds=600, **variables)


def down(lab: Lab, *options: str, **variables: str) -> Result:
    """Take the cluster off."""
    return deploy(lab, "down", "--yes", *options, **variables)


def assert_unchanged(lab: Lab, before: dict[str, Json]) -> None:
    """Fail unless the hosts are what they were."""
    after = lab.fingerprints(before)
    assert {host: lines for host in before if (lines := differences(before[host], after[host]))} == {}


def put_demo(lab: Lab, host: str, folder: Path) -> None:
    """Run a program on a host that answers, as the whole file system of a container."""
    with tarfile.open(folder / "demo.tar", "w", dereference=True) as archive:
        archive.add(lab.bundle / "bin/demo", "demo")
    docker("cp", str(folder / "demo.tar"), f"yunkube-teardown-{host}:/root/")


def answer(address: str) -> str:
    """Return which container answers there, by the name that it has for itself."""
    with urllib.request.urlopen(f"http://{address}:8088/who", timeout=3) as response:
        return str(json.load(response)["replica"])


def typed(lab: Lab, answers: str, verb: str, *options: str) -> tuple[int, str]:
    """Run a verb on a terminal and answer its questions; return its code and what it said."""
    argv = [word for word in lab.argv(verb, cluster_provider="existing") if word != "--json"]
    leader, follower = pty.openpty()
    os.write(leader, answers.encode())
    try:
        done = subprocess.run(
            [*argv, *options], stdin=follower, capture_output=True, text=True, check=False, timeout=600
        )
    finally:
        os.close(leader)
        os.close(follower)
    return done.returncode, done.stdout + done.stderr


def counted(lab: Lab) -> list[int]:
    """Return what the foreign rules of node1 counted."""
    text = lab.run("node1", "nft list table inet foreign; iptables -nvxL FOREIGN")
    found = re.findall(r"(?m)packets (\d+)|^ +(\d+) .*ACCEPT", text)
    return [int(nft or iptables) for nft, iptables in found]


@pytest.fixture(scope="module")
def before(lab: Lab) -> dict[str, Json]:
    """What the hosts were: node1 has a packet filter of its own, the others have a firewall."""
    install(lab, "master1", "ufw")
    lab.run("master1", UFW)
    install(lab, "node2", "firewalld", "netbase")
    lab.run("node2", FIREWALLD)
    manifest = json.loads((lab.bundle / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry.get("distribution") == "debian12":
            docker("cp", f"{lab.bundle}/files/{entry['sha256']}", f"yunkube-teardown-node1:/root/{entry['name']}")
    lab.run("node1", f"dpkg --force-unsafe-io --install /root/*.deb && rm /root/*.deb\n{FOREIGN}\n{OCCUPIED}")
    lab.run("node2", "ping -c 3 -i 0.2 10.86.0.21")
    return lab.fingerprints(HOSTS)


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


def let_in(lab: Lab) -> list[str]:
    """Return what the hosts' firewalls let in, by now and after their next start."""
    asked = "firewall-cmd --list-all-zones; firewall-cmd --permanent --list-all-zones"
    return [*lab.run("master1", "ufw show added; ufw status").splitlines(), *lab.run("node2", asked).splitlines()]


@pytest.fixture(scope="module")
def own_openings(lab: Lab, before: dict[str, Json]) -> list[str]:
    """What they let in before."""
    assert set(before) == set(HOSTS)
    found = let_in(lab)
    assert "ufw allow 8090/tcp comment 'mine'" in found
    assert found.count("  ports: 8090/tcp") == 2
    return found


def test_a_host_with_docker_is_refused_for_every_reason_at_once_and_stays(lab: Lab, tmp_path: Path) -> None:
    lab.run("master1", DOCKER_STORAGE)
    install(lab, "master1", "docker.io")
    put_demo(lab, "master1", tmp_path)
    lab.run("master1", f"{DOCKER}mkdir -p /var/lib/etcd/default/member")
    for host, port in (("master1", 6443), ("node2", 5001)):
        listen = f"import socket, time; s = socket.socket(); s.bind(('', {port})); s.listen(); time.sleep(1e6)"
        lab.run(host, f'systemd-run -q --unit own-api python3 -c "{listen}"')
    before = lab.fingerprints(HOSTS)
    who = answer("10.86.0.11")
    result = deploy(lab, "up")
    assert result.code == 3, result.errors
    for what in (
        "a containerd of its own",
        "an etcd of its own, in /var/lib/etcd",
        "port 6443 is taken by python3",
        "5001, which",
    ):
        assert what in result.faults
    assert answer("10.86.0.11") == who
    assert_unchanged(lab, before)
    lab.run("node2", "systemctl stop own-api")
    docker("rm", "--force", "--volumes", "yunkube-teardown-master1")
    lab.make_hosts()


def test_a_cluster_comes_up(lab: Lab, occupied: list[str], own_openings: list[str]) -> None:
    assert occupied
    assert own_openings
    assert counted(lab) == [3, 3]
    refused = deploy(lab, "up")
    assert refused.code == 3, refused.errors
    assert "node1: foreign: has /etc/cni/net.d/87-podman.conflist, a network of another program" in refused.faults
    result = deploy(lab, "up", *GOES_ON)
    assert result.code == 0, result.errors
    overwritten = "/etc/containerd/config.toml /etc/default/containerd /usr/local/bin/crictl /usr/local/bin/ctr"
    assert "own" not in lab.run("node1", f"head -qc 9 {overwritten}")


def test_firewalls_let_the_cluster_in_and_keep_their_own_rules(lab: Lab, own_openings: list[str]) -> None:
    found = let_in(lab)
    assert [line for line in own_openings if line.startswith("ufw ") and line not in found] == []
    assert "ufw allow 6443/tcp comment 'Yunkube'" in found
    assert "ufw allow from 10.86.0.0/24 to any port 2379:2380 proto tcp comment 'Yunkube'" in found
    assert "ufw route allow to 10.244.0.0/16 comment 'Yunkube'" in found
    (ports,) = {line for line in found if line.startswith("  ports: 8090/tcp ")}
    assert {"5000/tcp", "30000-32767/udp"} < set(ports.split())
    kubelet = 'rule family="ipv4" source address="10.86.0.0/24" port port="10250" protocol="tcp" accept'
    for line in (ports, f"\t{kubelet}", "  sources: 10.244.0.0/16"):
        assert found.count(line) == 2, line


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
    assert "node2: other cluster: is a member of a cluster that Yunkube did not create" in result.faults
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


def test_leftovers_are_reported_and_fail_the_run(lab: Lab) -> None:
    for host in HOSTS:
        lab.run(host, "echo x > /etc/left-over")
    lab.run("node1", "ip link add left0 type bridge")
    assert "registry" in down(lab).faults
    result = down(lab, "--force")
    assert result.code == 3, result.errors
    assert (lab.state / "kubeconfig").exists()
    told = {failure["host"]: len(failure["faults"]) for failure in result.failures}
    assert told == {"master1": 1, "node1": 2, "node2": 1}
    assert sorted(set(result.faults.splitlines())) == [
        f"audit: {line}; undo it, or accept it by a pattern in teardown_accept; then run the same command again"
        for line in ("file /etc/left-over is left", "link left0 is left")
    ]


def test_what_is_accepted_passes(lab: Lab) -> None:
    lab.run("node1", "ip link del left0")
    result = down(lab, "--force", "-e", 'teardown_accept=["file /etc/left-over *"]')
    assert result.code == 0, result.errors
    for host in HOSTS:
        lab.run(host, "rm /etc/left-over")


def test_foreign_rules_are_there_with_what_they_counted(lab: Lab) -> None:
    assert min(counted(lab)) >= 3


def test_nothing_is_left_of_it(lab: Lab, before: dict[str, Json], occupied: list[str], own_openings: list[str]) -> None:
    assert not (lab.state / "kubeconfig").exists()
    assert let_in(lab) == own_openings
    assert differences({"own": occupied}, {"own": occupants(lab)}) == []
    assert_unchanged(lab, before)


def test_a_second_down_has_nothing_to_do(lab: Lab) -> None:
    result = down(lab)
    assert result.code == 0, result.errors
    assert set(result.changed.values()) == {0}


def test_up_works_again_and_another_inventory_may_adopt_the_cluster_with_its_record(lab: Lab) -> None:
    result = deploy(lab, "up", *GOES_ON)
    assert result.code == 0, result.errors
    # As after a restart of a container of the host's own: it has another network.
    lab.run("node1", "ip netns del cni-6f2a; ip netns add cni-7b40; systemd-run -q ip netns exec cni-7b40 sleep 1d")
    other = {"cluster_name": "other", "cluster_state_dir": str(lab.state)}
    assert "master1: other cluster: " in down(lab, "--dead", "node2", **other).faults
    lab.run("node1", "mount -t tmpfs -o size=4k tmpfs /tmp && head -c 1M /dev/zero > /tmp/full || true")
    try:
        result = down(lab, "--adopt", "--dead", "node2", **other)
    finally:
        lab.run("node1", "umount /tmp")
    assert result.code == 0, result.errors
    for host in ("master1", "node1"):
        assert '"cluster":"teardown"' in lab.run(host, "cat /var/lib/yunkube/before-*.json")
        lab.run(host, "rm /var/lib/yunkube/before-*.json; rmdir --ignore-fail-on-non-empty /var/lib/yunkube")
    assert lab.succeeds("node2", "systemctl is-active kubelet")
    lab.run("node1", "ip netns pids cni-7b40 | xargs kill; ip netns del cni-7b40; ip netns add cni-6f2a")


def test_a_host_whose_record_is_lost_is_adopted_when_it_is_agreed_to(
    lab: Lab, before: dict[str, Json], occupied: list[str], own_openings: list[str]
) -> None:
    lab.run("node2", "cd /var/lib/yunkube; cp changes.json /root/; mv before.json /root/")
    known = (lab.state / "id").read_text()
    assert "is a member of a cluster that Yunkube did not create" in down(lab).faults
    code, text = typed(lab, "n\n", "down", "--adopt")
    assert code == 2
    assert "  remove /etc/kubernetes\n" in text
    assert "  undo: firewall-cmd --remove-" in text
    assert "Remove all of this from node2? [y/N]" in text
    assert "node1" not in text  # there is nothing to adopt
    assert lab.succeeds("node2", "systemctl is-active kubelet")
    code, text = typed(lab, "y\ny\n", "down", "--adopt")
    assert code == 0, text
    assert not lab.succeeds("node2", "ls /etc/kubernetes /var/lib/kubelet /usr/local/bin/kubeadm")
    assert "8090/tcp" in lab.run("node2", "firewall-cmd --list-ports")
    # What nobody could know without the record.
    lab.run("node2", "mkdir -p /var/lib/yunkube; mv /root/before.json /root/changes.json /var/lib/yunkube")
    (lab.state / "id").write_text(known)
    result = down(lab)
    assert result.code == 0, result.errors
    assert_unchanged(lab, before)
    assert let_in(lab) == own_openings
    assert differences({"own": occupied}, {"own": occupants(lab)}) == []
