# SPDX-License-Identifier: Apache-2.0
"""For every fault of the doctor's table, how the facts of a healthy cluster look when it is there."""

from __future__ import annotations

import functools
import typing as t

from ansible.module_utils.yunkube.doctor.facts import ClusterFacts, Facts, HostFacts
from doctor_record import CHANGES, break_pod, changes, container, master, node, not_ready, silent, stuck, users

__all__ = ["CHANGES"]

DAY = 86400
CA = "/etc/kubernetes/pki/ca.crt"
CURRENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"
APISERVER = "/etc/kubernetes/pki/apiserver.crt"


@changes("host-unreachable")
def _unreachable(facts: Facts) -> None:
    facts.hosts[1] = HostFacts("node1", unreachable="ssh: connect to host 10.92.0.21 port 22: No route to host")
    not_ready(facts)
    break_pod(facts, "kube-proxy", "node1", "", unready=90)


@changes("host-not-inspected")
def _not_inspected(facts: Facts) -> None:
    node(facts).unread = ["systemctl show did not end in 10 s"]


@changes("clock-skew")
def _clock(facts: Facts) -> None:
    node(facts).now += 600
    not_ready(facts)


@changes("duplicate-hostname")
def _hostname(facts: Facts) -> None:
    node(facts).hostname = "master1"
    not_ready(facts)


@changes("duplicate-machine-id")
def _machine_id(facts: Facts) -> None:
    node(facts).machine_id = master(facts).machine_id


@changes("disk-full")
def _disk(facts: Facts) -> None:
    node(facts).disks[1]["free"] = 4096
    node(facts).units["kubelet"].update(ActiveState="activating", SubState="auto-restart", NRestarts="9")
    not_ready(facts)


@changes("inodes-exhausted")
def _inodes(facts: Facts) -> None:
    node(facts).disks[0]["inodes_free"] = 3
    stuck(facts, "no space left on device")


@changes("swap-on")
def _swap(facts: Facts) -> None:
    node(facts).swaps = ["/dev/vdb"]
    del node(facts).kubelet["failSwapOn"]
    node(facts).units["kubelet"].update(ActiveState="activating", SubState="auto-restart", NRestarts="9")
    not_ready(facts)


@changes("bridge-filter-off")
def _bridge(facts: Facts) -> None:
    del node(facts).sysctls["net.bridge.bridge-nf-call-iptables"]
    node(facts).subnet_env = None
    break_pod(facts, "kube-flannel", "node1", "CrashLoopBackOff", "Failed to check br_netfilter")


@changes("ip-forward-off")
def _forward(facts: Facts) -> None:
    node(facts).sysctls["net.ipv4.ip_forward"] = "0"


@changes("containerd-config-broken")
def _containerd_config(facts: Facts) -> None:
    node(facts).units["containerd"].update(ActiveState="activating", SubState="auto-restart", NRestarts="7")
    node(facts).journal["containerd"] = ['level=fatal msg="failed to load TOML"']
    node(facts).socket, node(facts).images, node(facts).containers = False, None, None
    not_ready(facts)


@changes("containerd-stopped")
def _containerd(facts: Facts) -> None:
    node(facts).units["containerd"].update(ActiveState="inactive", SubState="dead")
    node(facts).socket, node(facts).images, node(facts).containers = False, None, None
    not_ready(facts, reason="KubeletNotReady: container runtime is down")


@changes("containerd-socket-gone")
def _socket(facts: Facts) -> None:
    node(facts).socket, node(facts).images, node(facts).containers = False, None, None
    del node(facts).modes["/run/containerd/containerd.sock"]
    not_ready(facts, reason="KubeletNotReady: container runtime is down")


@changes("cgroup-drivers-differ")
def _cgroups(facts: Facts) -> None:
    node(facts).kubelet["cgroupDriver"] = "systemd"


@changes("sandbox-image-missing")
def _sandbox(facts: Facts) -> None:
    t.cast("list[str]", node(facts).images).remove("registry.k8s.io/pause:3.10.2")
    stuck(facts, 'failed to get sandbox image "registry.k8s.io/pause:3.10.2"')


@changes("bundle-image-missing")
def _image(facts: Facts) -> None:
    t.cast("list[str]", node(facts).images).remove("ghcr.io/flannel-io/flannel:v0.28.10")
    node(facts).subnet_env, node(facts).cni = None, {}
    node(facts).probes["flanneld"] = "Connection refused"
    break_pod(facts, "kube-flannel", "node1", "ErrImagePull", "dial tcp: lookup ghcr.io: i/o timeout")
    not_ready(facts, reason="KubeletNotReady: cni plugin not initialized")


@changes("kubelet-config-broken")
def _kubelet_config(facts: Facts) -> None:
    node(facts).units["kubelet"].update(ActiveState="activating", SubState="auto-restart", NRestarts="9")
    node(facts).journal["kubelet"] = [
        'run.go:72] "command failed" err="failed to load kubelet config file, path: /var"'
    ]
    not_ready(facts)


@changes("kubelet-stopped")
def _kubelet(facts: Facts) -> None:
    node(facts).units["kubelet"].update(ActiveState="inactive", SubState="dead")
    not_ready(facts)
    break_pod(facts, "kube-proxy", "node1", "")


@changes("unit-disabled")
def _disabled(facts: Facts) -> None:
    node(facts).units["kubelet"]["UnitFileState"] = "disabled"


@changes("kubelet-conf-missing")
def _kubelet_conf(facts: Facts) -> None:
    del node(facts).modes["/etc/kubernetes/kubelet.conf"]
    node(facts).units["kubelet"].update(ActiveState="activating", SubState="auto-restart", NRestarts="9")
    not_ready(facts)


@changes("node-certificate-expired")
def _node_certificate(facts: Facts) -> None:
    node(facts).certificates[CURRENT]["ends"] = node(facts).now - DAY
    not_ready(facts)


@changes("node-certificate-ending")
def _node_certificate_soon(facts: Facts) -> None:
    node(facts).certificates[CURRENT]["ends"] = node(facts).now + 5 * DAY


@changes("kubelet-crash-looping")
def _crash(facts: Facts) -> None:
    node(facts).units["kubelet"].update(ActiveState="activating", SubState="auto-restart", NRestarts="9")
    node(facts).journal["kubelet"] = ['run.go:72] "command failed" err="no space for cgroups"']
    not_ready(facts)


@changes("host-not-joined")
def _not_joined(facts: Facts) -> None:
    node(facts).modes = {}
    node(facts).units["kubelet"].update(ActiveState="inactive", SubState="dead")
    node(facts).subnet_env, node(facts).cni = None, {}
    facts.cluster.nodes.pop()
    facts.cluster.pods = [pod for pod in facts.cluster.pods if pod["node"] != "node1"]


@changes("join-token-expired")
def _token(facts: Facts) -> None:
    del node(facts).certificates[CURRENT]
    node(facts).bootstrap_token = "abcdef"
    node(facts).journal["kubelet"] = ['"Failed to run" err="Unauthorized"']
    facts.cluster.nodes.pop()
    facts.cluster.pods = [pod for pod in facts.cluster.pods if pod["node"] != "node1"]


@changes("authority-differs")
def _authority(facts: Facts) -> None:
    node(facts).certificates[CA]["pin"] = "sha256:" + "0" * 64
    not_ready(facts)


@changes("manifest-broken")
def _manifest(facts: Facts) -> None:
    master(facts).manifests["kube-apiserver"] = "does not parse: oops"
    silent(facts)


@changes("etcd-no-space")
def _etcd_space(facts: Facts) -> None:
    master(facts).etcd["health"] = '{"health":"false","reason":"ALARM NOSPACE"}'


@changes("api-certificate-expired")
def _api_certificate(facts: Facts) -> None:
    master(facts).certificates[APISERVER]["ends"] = master(facts).now - DAY
    silent(facts, "https://10.92.0.11:6443 shows a certificate: certificate has expired")


@changes("api-certificate-name")
def _api_name(facts: Facts) -> None:
    master(facts).certificates[APISERVER]["names"] = ["kubernetes", "10.96.0.1"]
    silent(facts, "https://10.92.0.11:6443 shows a certificate: IP address mismatch")


@changes("control-plane-certificate-expired")
def _etcd_certificate(facts: Facts) -> None:
    master(facts).certificates["/etc/kubernetes/pki/etcd/server.crt"]["ends"] = master(facts).now - DAY
    container(master(facts), "kube-apiserver")
    silent(facts)


@changes("certificate-ending")
def _ending(facts: Facts) -> None:
    master(facts).certificates["/etc/kubernetes/pki/front-proxy-client.crt"]["ends"] = master(facts).now + 9 * DAY


@changes("kubeconfig-missing")
def _kubeconfig(facts: Facts) -> None:
    del master(facts).modes["/etc/kubernetes/admin.conf"]
    facts.cluster = ClusterFacts("master1", detail="there is no kubeconfig on this host")


@changes("etcd-down")
def _etcd_down(facts: Facts) -> None:
    container(master(facts), "etcd", last=["unknown flag: --oops"])
    container(master(facts), "kube-apiserver")
    master(facts).probes["etcd"] = "Connection refused"
    silent(facts)


@changes("api-server-down")
def _api_down(facts: Facts) -> None:
    container(master(facts), "kube-apiserver", last=["Error: unknown flag: --oops"])
    silent(facts)


@changes("control-plane-part-down")
def _scheduler(facts: Facts) -> None:
    container(master(facts), "kube-scheduler")
    master(facts).probes["kube-scheduler"] = "Connection refused"
    break_pod(facts, "kube-scheduler", "master1", "CrashLoopBackOff")


@changes("etcd-slow")
def _etcd_slow(facts: Facts) -> None:
    master(facts).etcd["slow"] = 0.3


@changes("firewall-drops")
def _firewall(facts: Facts) -> None:
    rule = "-A INPUT -p tcp -m tcp --dport 6443 -j DROP"
    undo = "iptables -D INPUT -p tcp -m tcp --dport 6443 -j DROP"
    master(facts).drops = [{"protocol": "tcp", "port": 6443, "rule": rule, "undo": undo}]
    node(facts).probes["api"] = "https://10.92.0.11:6443: timed out"
    not_ready(facts)


@changes("api-unreachable")
def _api_unreachable(facts: Facts) -> None:
    node(facts).probes["api"] = "https://10.92.0.11:6443: No route to host"
    not_ready(facts)


@changes("mtu-differs")
def _mtu(facts: Facts) -> None:
    node(facts).links["eth0"]["mtu"] = 1400


@changes("net-conf-differs")
def _net_conf(facts: Facts) -> None:
    facts.cluster.net_conf["Network"] = "10.99.0.0/16"
    break_pod(facts, "kube-flannel", "node1", "CrashLoopBackOff", "does not belong to")
    node(facts).subnet_env = None


@changes("node-without-pod-cidr")
def _pod_cidr(facts: Facts) -> None:
    facts.cluster.node("node1")["pod_cidr"] = ""
    node(facts).subnet_env = None
    break_pod(facts, "kube-flannel", "node1", "CrashLoopBackOff", "pod cidr not assigned")


@changes("cloud-route-missing")
def _cloud_route(facts: Facts) -> None:
    facts.cloud = {"missing": {"node1": ["there is no route 10.244.1.0/24 to node1 (i-1) in vtb-1"]}}


@changes("cloud-routes-unknown")
def _cloud_silent(facts: Facts) -> None:
    facts.cloud = {"problem": "DescribeRouteTableList: Forbidden.RAM: allow vpc:DescribeRouteTableList to this user"}


@changes("kube-proxy-down")
def _proxy(facts: Facts) -> None:
    container(node(facts), "kube-proxy")
    node(facts).probes["kube-proxy"] = "Connection refused"
    node(facts).probes["flanneld"] = "Connection refused"
    break_pod(facts, "kube-proxy", "node1", "CrashLoopBackOff")
    break_pod(facts, "kube-flannel", "node1", "CrashLoopBackOff", "dial tcp 10.96.0.1:443: i/o timeout")
    node(facts).subnet_env = None
    stuck(facts, "open /run/flannel/subnet.env: no such file or directory")


@changes("subnet-env-missing")
def _subnet_env(facts: Facts) -> None:
    node(facts).subnet_env = None
    stuck(facts, "open /run/flannel/subnet.env: no such file or directory")


@changes("subnet-env-misspelled")
def _misspelled(facts: Facts) -> None:
    told = t.cast("dict[str, str]", node(facts).subnet_env)
    told["FANNEL_NETWORK"] = told.pop("FLANNEL_NETWORK")


@changes("subnet-env-wrong")
def _subnet_env_wrong(facts: Facts) -> None:
    t.cast("dict[str, str]", node(facts).subnet_env)["FLANNEL_SUBNET"] = "10.244.0.1/24"


@changes("cni-config-missing")
def _cni(facts: Facts) -> None:
    node(facts).cni = {}
    not_ready(facts, reason="KubeletNotReady: cni plugin not initialized")


@changes("cni-plugin-missing")
def _plugin(facts: Facts) -> None:
    del node(facts).modes["/opt/cni/bin/bridge"]
    stuck(facts, 'failed to find plugin "bridge" in path [/opt/cni/bin]')


@changes("cni-plugin-mode")
def _plugin_mode(facts: Facts) -> None:
    node(facts).modes["/opt/cni/bin/flannel"] = "0644"
    stuck(facts, "fork/exec /opt/cni/bin/flannel: permission denied")


@changes("flannel-link-missing")
def _link(facts: Facts) -> None:
    del node(facts).links["flannel.1"]
    node(facts).routes = [route for route in node(facts).routes if route["dev"] != "flannel.1"]


@changes("bridge-address-wrong")
def _bridge_address(facts: Facts) -> None:
    node(facts).links["cni0"]["addresses"] = ["10.244.7.1/24"]
    stuck(facts, '"cni0" already has an IP address different from 10.244.1.1/24')


@changes("flannel-lease-missing")
def _lease(facts: Facts) -> None:
    facts.cluster.node("node1")["lease"] = False
    master(facts).routes = [route for route in master(facts).routes if route["dst"] != "10.244.1.0/24"]


@changes("pod-route-missing")
def _route(facts: Facts) -> None:
    node(facts).routes = [route for route in node(facts).routes if route["dst"] != "10.244.0.0/24"]


@changes("cluster-workload-missing")
def _workload(facts: Facts) -> None:
    missing = {"there": False, "problem": "not there", "replicas": 0, "selector": {}}
    facts.cluster.workloads["kube-proxy"] = missing
    facts.cluster.pods = [pod for pod in facts.cluster.pods if not pod["name"].startswith("kube-proxy")]
    for host in facts.hosts:
        host.probes["kube-proxy"] = "Connection refused"
        host.containers = [one for one in host.containers or [] if one["name"] != "kube-proxy"]


@changes("node-cordoned")
def _cordoned(facts: Facts) -> None:
    facts.cluster.node("node1")["cordoned"] = True


@changes("node-pressure")
def _pressure(facts: Facts) -> None:
    facts.cluster.node("node1")["pressure"] = ["MemoryPressure"]


@changes("pod-without-room")
def _no_room(facts: Facts) -> None:
    unplaced = "0/2 nodes are available: 2 Insufficient cpu"
    users(facts, unplaced=unplaced, problem=f"not placed on a node: {unplaced}", node="")


@changes("node-tainted")
def _tainted(facts: Facts) -> None:
    facts.cluster.node("node1")["taints"] = ["shop/gpu:NoSchedule"]
    unplaced = "0/2 nodes are available: 2 node(s) had untolerated taint(s)"
    users(facts, unplaced=unplaced, problem=f"not placed on a node: {unplaced}", node="")


PULLS = {
    "image-registry-tls": "failed to do request: tls: failed to verify certificate: x509: certificate signed by "
    "unknown authority",
    "image-registry-unreachable": "failed to do request: Head https://r.example/v2: dial tcp: lookup r.example: no "
    "such host",
    "image-access-denied": "pull access denied, repository does not exist or may require authorization",
    "image-name-wrong": "r.example/shop/web:1: not found",
}
for fault, message in PULLS.items():
    changes(fault)(functools.partial(users, reason="ErrImagePull", message=message, problem=message))


@changes("dns-loop")
def _loop(facts: Facts) -> None:
    for host in facts.hosts:
        host.nameservers = ["127.0.0.53"]
    for pod in facts.cluster.pods:
        if pod["name"].startswith("coredns"):
            pod.update(problem="container coredns waits: CrashLoopBackOff", reason="CrashLoopBackOff", unready=50.0)
    facts.cluster.dns_endpoints = 0


@changes("dns-scaled-to-zero")
def _no_dns(facts: Facts) -> None:
    facts.cluster.workloads["coredns"]["replicas"] = 0
    facts.cluster.pods = [pod for pod in facts.cluster.pods if not pod["name"].startswith("coredns")]
    facts.cluster.dns_endpoints = 0


@changes("node-port-taken")
def _port(facts: Facts) -> None:
    facts.cluster.node_ports = [{"service": "shop/web", "port": 31111, "protocol": "TCP"}]
    node(facts).listeners["31111"] = "python3"


@changes("user-pod-broken")
def _users(facts: Facts) -> None:
    users(facts, reason="CrashLoopBackOff", problem="container web waits: CrashLoopBackOff")
