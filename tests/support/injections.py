# SPDX-License-Identifier: Apache-2.0
"""Ways to break a real cluster, one for each fault of the doctor's table that a laboratory can have.

Each is a script on a host or a few calls of kubectl; what is not repaired by the doctor is fixed the same way.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from laboratory import Lab

Act = Callable[[Lab], object]
PKI = "/etc/kubernetes/pki"
MANIFESTS = "/etc/kubernetes/manifests"
FLANNEL_IMAGE = "ghcr.io/flannel-io/flannel"
KEPT = "/root/kept"


@dataclass(frozen=True)
class Injection:
    """How a fault is injected, and how it is undone if the doctor does not repair it."""

    fault: str
    break_it: Act
    by_hand: Act | None = None  # what fixes it; None where `--fix` does it
    allow: bool = False  # the doctor repairs it, when it is allowed to
    settles: bool = True  # whether the cluster is proved by `verify` afterwards


def on(host: str, script: str) -> Act:
    """Run a script on a host."""
    return lambda lab: lab.run(host, script)


def kubectl(*arguments: str) -> Act:
    """Call kubectl."""
    return lambda lab: lab.kubectl(*arguments)


def both(*acts: Act) -> Act:
    """Do one after the other."""

    def act(lab: Lab) -> None:
        for one in acts:
            one(lab)

    return act


def keep(host: str, path: str) -> Act:
    """Put a copy of a file aside."""
    return on(host, f"mkdir -p {KEPT} && cp -a {path} {KEPT}/")


def put_back(host: str, path: str, then: str = "true") -> Act:
    """Put the copy back."""
    return on(host, f"cp -a {KEPT}/{path.rpartition('/')[2]} {path}.tmp && mv {path}.tmp {path} && {then}")


def new_flannel_pod(lab: Lab) -> None:
    """Restart the node's flanneld, and remove what it left."""
    lab.run("node1", "rm -f /run/flannel/subnet.env")
    chosen = ("-n", "kube-flannel", "--field-selector", "spec.nodeName=node1", "--wait=false")
    lab.kubectl("delete", "pod", "-l", "app=flannel", *chosen)


def signed(host: str, path: str, days: float, names: tuple[str, ...] | None = None) -> Act:
    """Sign a certificate again, to expire so many days from now (or before), and maybe for other names."""

    def act(lab: Lab) -> None:
        ca = x509.load_pem_x509_certificate(lab.run("master1", f"cat {PKI}/ca.crt").encode())
        authority = "front-proxy-ca" if "front-proxy" in path else "ca"
        ca = x509.load_pem_x509_certificate(lab.run("master1", f"cat {PKI}/{authority}.crt").encode())
        key = serialization.load_pem_private_key(lab.run("master1", f"cat {PKI}/{authority}.key").encode(), None)
        old = x509.load_pem_x509_certificate(lab.run(host, f"cat {path}").encode())
        now = dt.datetime.now(dt.UTC)
        begins, ends = now - dt.timedelta(days=300), now + dt.timedelta(days=days)
        builder = x509.CertificateBuilder(ca.subject, old.subject, old.public_key(), old.serial_number, begins, ends)
        for extension in old.extensions:
            value = extension.value
            if names is not None and isinstance(value, x509.SubjectAlternativeName):
                value = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(value, extension.critical)
        new = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()  # type: ignore[arg-type]
        rest = f"sed -n '/PRIVATE KEY/,/PRIVATE KEY/p' {path}" if path.endswith(".pem") else "true"
        target = f"$(readlink -f {path})"
        lab.run(host, f"{{ cat <<'PEM'\n{new}PEM\n{rest}; }} > /root/new.pem && cat /root/new.pem > {target}")

    return act


def another_authority(lab: Lab) -> None:
    """Put another cluster's CA on the node."""
    lab.run(
        "node1",
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null "
        f"-out {PKI}/ca.crt -subj /CN=other -days 30 2>/dev/null",
    )


def bad_flag(part: str) -> tuple[Act, Act]:
    """Start a part of the control plane with an option that it does not know, and without it again."""
    path = f"{MANIFESTS}/{part}.yaml"
    change = on("master1", f"sed 's/^    - {part}$/    - {part}\\n    - --oops=1/' {KEPT}/{part}.yaml > {path}")
    return both(keep("master1", path), change), put_back("master1", path)


def pod(name: str, namespace: str = "default", **spec: object) -> Act:
    """Make a user's pod."""
    container = {"name": "main", "image": "docker.io/yunkube/probe:0.1.1", **spec}
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    return lambda lab: lab.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))


def no_pod(name: str) -> Act:
    """Delete a user's pod."""
    return kubectl("delete", "pod", name, "--force", "--grace-period=0")


SELECTOR = ("patch", "ds", "kube-proxy", "-n", "kube-system", "--type", "merge", "-p")
CURRENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"
TOKEN = """\
apiVersion: v1
kind: Config
clusters: [{name: k, cluster: {server: "https://10.92.0.11:6443", certificate-authority: /etc/kubernetes/pki/ca.crt}}]
users:
- name: u
  user:
    token: aaaaaa.bbbbbbbbbbbbbbbb
contexts: [{name: c, context: {cluster: k, user: u}}]
current-context: c
"""
NODE_PORT = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "taken"},
    "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 31111}], "selector": {"app": "none"}},
}
# Which range a node has depends on which of them the controller saw first.
SUBNET_LINE, OTHER_SUBNET = "^FLANNEL_SUBNET=.*", "FLANNEL_SUBNET=10.244.77.1/24"
LISTEN = "setsid python3 -m http.server 31111 >/dev/null 2>&1 & sleep 0.5"


def same_node(lab: Lab) -> None:
    """Register the node with the range of before: its pods have addresses of it."""
    subnet = lab.run("node1", "sed -n 's/^FLANNEL_SUBNET=//p' /run/flannel/subnet.env")
    pods = str(ipaddress.IPv4Interface(subnet).network)
    spec = {"podCIDR": pods, "podCIDRs": [pods]}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}, "spec": spec}
    lab.kubectl("create", "-f", "-", stdin=json.dumps(node))


def small_disk(options: str, fill: str) -> Act:
    """Mount a small, full file system over a part of the node's files."""
    return on("node1", f"mount -t tmpfs -o {options} full /var/log && {{ {fill}; }} >/dev/null 2>&1; true")


def unreachable(lab: Lab) -> None:
    """Block all logins by SSH."""
    lab.run("node1", "systemctl stop ssh; pkill -f '^sshd: root' || true")


PORTALS = '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'


def user_rule(host: str, hook: str, rule: str) -> tuple[Act, Act]:
    """Let a table of a user's own drop packets, and delete it again."""
    chain = f"add table inet user; add chain inet user own {{ type filter hook {hook} priority 0; }}"
    return on(host, f"nft '{chain}; add rule inet user own {rule}'"), on(host, "nft delete table inet user")


# The first six always run: subnet.env in all its ways.
INJECTIONS = (
    Injection("subnet-env-missing", on("node1", "rm /run/flannel/subnet.env")),
    Injection("subnet-env-wrong", on("node1", f"sed -i 's|{SUBNET_LINE}|{OTHER_SUBNET}|' /run/flannel/subnet.env")),
    Injection("subnet-env-misspelled", on("node1", "sed -i 's/^FLANNEL_NET/FANNEL_NET/' /run/flannel/subnet.env")),
    Injection(
        "bundle-image-missing",
        both(
            on("node1", f"ctr -n k8s.io images rm $(ctr -n k8s.io images ls -q | grep {FLANNEL_IMAGE})"),
            new_flannel_pod,
        ),
    ),
    Injection(
        "net-conf-differs",
        both(
            lambda lab: lab.kubectl(
                "patch",
                "cm",
                "kube-flannel-cfg",
                "-n",
                "kube-flannel",
                "--type",
                "merge",
                "-p",
                json.dumps({"data": {"net-conf.json": '{"Network": "10.99.0.0/16", "Backend": {"Type": "vxlan"}}'}}),
            ),
            new_flannel_pod,
        ),
    ),
    Injection(
        "bridge-filter-off",
        both(on("node1", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"), new_flannel_pod),
    ),
    Injection("ip-forward-off", on("node1", "sysctl -qw net.ipv4.ip_forward=0")),
    Injection("cni-config-missing", on("node1", "rm /etc/cni/net.d/10-flannel.conflist")),
    Injection("cni-plugin-missing", on("node1", "rm /opt/cni/bin/bridge")),
    Injection("cni-plugin-mode", on("node1", "chmod 0644 /opt/cni/bin/flannel")),
    Injection("kubelet-stopped", on("node1", "systemctl stop kubelet")),
    Injection("unit-disabled", on("node1", "systemctl disable -q kubelet")),
    Injection(
        "kubelet-config-broken",
        on("node1", "echo 'cgroupDriver: [' >> /var/lib/kubelet/config.yaml; systemctl restart kubelet"),
    ),
    Injection("containerd-stopped", on("node1", "systemctl stop containerd")),
    Injection("containerd-socket-gone", on("node1", "rm /run/containerd/containerd.sock")),
    Injection("sandbox-image-missing", on("node1", "ctr -n k8s.io images rm registry.k8s.io/pause:3.10.2")),
    Injection("flannel-link-missing", on("node1", "ip link set flannel.1 down")),
    Injection("flannel-lease-missing", kubectl("annotate", "node", "node1", "flannel.alpha.coreos.com/public-ip-")),
    Injection("pod-route-missing", on("node1", "ip route delete $(ip route show dev flannel.1 | cut -d' ' -f1)")),
    Injection("dns-scaled-to-zero", kubectl("scale", "deploy", "coredns", "-n", "kube-system", "--replicas", "0")),
    Injection("kubeconfig-missing", on("master1", "rm /etc/kubernetes/admin.conf")),
    Injection("api-certificate-expired", signed("master1", f"{PKI}/apiserver.crt", -1)),
    Injection("control-plane-certificate-expired", signed("master1", f"{PKI}/front-proxy-client.crt", -1)),
    Injection("certificate-ending", signed("master1", f"{PKI}/apiserver-kubelet-client.crt", 9)),
    Injection(
        "firewall-drops",
        on("node1", "iptables -I INPUT -p udp --dport 8472 -j DROP"),
        allow=True,
    ),
    Injection("mtu-differs", on("node1", "ip link set eth0 mtu 1400"), allow=True),
    Injection("node-cordoned", kubectl("cordon", "node1"), allow=True),
    Injection(
        "bridge-address-wrong",
        on("node1", "ip address flush dev cni0; ip address add 10.244.77.1/24 dev cni0"),
        allow=True,
    ),
    Injection(
        "cgroup-drivers-differ",
        on("node1", "sed -i 's/^cgroupDriver: .*/cgroupDriver: systemd/' /var/lib/kubelet/config.yaml"),
        allow=True,
    ),
    Injection(
        "containerd-config-broken",
        both(
            keep("node1", "/etc/containerd/config.toml"),
            on("node1", "echo '[[[' >> /etc/containerd/config.toml; systemctl restart containerd || true"),
        ),
        put_back("node1", "/etc/containerd/config.toml", "systemctl restart containerd"),
    ),
    Injection(
        "kubelet-crash-looping",
        both(
            keep("node1", "/etc/default/kubelet"),
            on("node1", "echo KUBELET_EXTRA_ARGS=--oops > /etc/default/kubelet; systemctl restart kubelet"),
        ),
        put_back("node1", "/etc/default/kubelet", "systemctl restart kubelet"),
    ),
    Injection(
        "kubelet-conf-missing",
        both(
            keep("node1", "/etc/kubernetes/kubelet.conf"),
            on("node1", "rm /etc/kubernetes/kubelet.conf; systemctl restart kubelet"),
        ),
        put_back("node1", "/etc/kubernetes/kubelet.conf", "systemctl restart kubelet"),
    ),
    Injection(
        "join-token-expired",
        both(
            keep("node1", "/etc/kubernetes/kubelet.conf"),
            on("node1", f"cat > /etc/kubernetes/bootstrap-kubelet.conf <<'END'\n{TOKEN}END"),
            on(
                "node1", f"cp -a /var/lib/kubelet/pki {KEPT}/ && rm /var/lib/kubelet/pki/* /etc/kubernetes/kubelet.conf"
            ),
            on("node1", "systemctl restart --no-block kubelet"),
        ),
        both(
            on("node1", f"rm /etc/kubernetes/bootstrap-kubelet.conf; cp -a {KEPT}/pki /var/lib/kubelet/"),
            put_back("node1", "/etc/kubernetes/kubelet.conf", "systemctl restart kubelet"),
        ),
    ),
    Injection(
        "host-not-joined",
        both(
            keep("node1", "/etc/kubernetes/kubelet.conf"),
            keep("node1", "/var/lib/kubelet/config.yaml"),
            on("node1", "systemctl stop kubelet; rm /etc/kubernetes/kubelet.conf /var/lib/kubelet/config.yaml"),
            kubectl("delete", "node", "node1"),
        ),
        both(
            put_back("node1", "/etc/kubernetes/kubelet.conf"),
            same_node,
            put_back("node1", "/var/lib/kubelet/config.yaml", "systemctl start kubelet"),
            kubectl("wait", "--for=condition=Ready", "node/node1", "--timeout=60s"),
            new_flannel_pod,
        ),
    ),
    Injection(
        "authority-differs",
        both(keep("node1", f"{PKI}/ca.crt"), another_authority),
        put_back("node1", f"{PKI}/ca.crt"),
    ),
    Injection(
        "node-certificate-expired",
        both(keep("node1", "$(readlink -f " + CURRENT + ")"), signed("node1", CURRENT, -1)),
        on("node1", f"cat {KEPT}/$(basename $(readlink -f {CURRENT})) > {CURRENT} && systemctl restart kubelet"),
    ),
    Injection(
        "node-certificate-ending",
        both(keep("node1", "$(readlink -f " + CURRENT + ")"), signed("node1", CURRENT, 5)),
        on("node1", f"cat {KEPT}/$(basename $(readlink -f {CURRENT})) > {CURRENT} && systemctl restart kubelet"),
    ),
    Injection(
        "api-certificate-name",
        both(keep("master1", f"{PKI}/apiserver.crt"), signed("master1", f"{PKI}/apiserver.crt", 90, ("kubernetes",))),
        put_back("master1", f"{PKI}/apiserver.crt"),
    ),
    Injection(
        "manifest-broken",
        both(
            keep("master1", f"{MANIFESTS}/kube-apiserver.yaml"),
            on("master1", f"echo oops > {MANIFESTS}/kube-apiserver.yaml"),
        ),
        put_back("master1", f"{MANIFESTS}/kube-apiserver.yaml"),
    ),
    Injection("etcd-down", *bad_flag("etcd")),
    Injection("api-server-down", *bad_flag("kube-apiserver")),
    Injection("control-plane-part-down", *bad_flag("kube-scheduler")),
    Injection("disk-full", small_disk("size=2m", "yes > /var/log/full"), on("node1", "umount /var/log")),
    Injection(
        "inodes-exhausted",
        small_disk("nr_inodes=16", "for i in $(seq 20); do touch /var/log/$i; done"),
        on("node1", "umount /var/log"),
    ),
    Injection(
        "kube-proxy-down",
        kubectl(*SELECTOR, '{"spec":{"template":{"spec":{"nodeSelector":{"x":"y"}}}}}'),
        kubectl(*SELECTOR, '{"spec":{"template":{"spec":{"nodeSelector":{"x":null}}}}}'),
    ),
    Injection(
        "cluster-workload-missing",
        both(
            lambda lab: (lab.state / "proxy.json").write_text(
                lab.kubectl("get", "ds", "kube-proxy", "-n", "kube-system", "-o", "json")
            ),
            kubectl("delete", "ds", "kube-proxy", "-n", "kube-system"),
        ),
        lambda lab: lab.kubectl("apply", "-f", str(lab.state / "proxy.json")),
    ),
    Injection(
        "dns-loop",
        both(
            *(
                act
                for host in ("master1", "node1")
                for act in (keep(host, "/etc/resolv.conf"), on(host, "echo nameserver 127.0.0.1 > /etc/resolv.conf"))
            ),
            kubectl("delete", "pod", "-n", "kube-system", "-l", "k8s-app=kube-dns", "--wait=false"),
        ),
        both(
            *(put_back(host, "/etc/resolv.conf") for host in ("master1", "node1")),
            kubectl("delete", "pod", "-n", "kube-system", "-l", "k8s-app=kube-dns", "--wait=false"),
        ),
    ),
    Injection("duplicate-hostname", on("node1", "hostname master1"), on("node1", "hostname node1")),
    Injection(
        "duplicate-machine-id",
        both(
            keep("node1", "/etc/machine-id"),
            lambda lab: lab.run("node1", f"echo {lab.run('master1', 'cat /etc/machine-id')} > /etc/machine-id"),
        ),
        put_back("node1", "/etc/machine-id"),
    ),
    Injection(
        "node-port-taken",
        both(lambda lab: lab.kubectl("apply", "-f", "-", stdin=json.dumps(NODE_PORT)), on("node1", LISTEN)),
        both(kubectl("delete", "svc", "taken"), on("node1", "pkill -f '[h]ttp.server 31111'")),
    ),
    Injection(
        "api-unreachable",
        on("node1", "ip route add unreachable 10.92.0.11/32"),
        on("node1", "ip route delete unreachable 10.92.0.11/32"),
    ),
    Injection("host-unreachable", unreachable, on("node1", "systemctl start ssh")),
    Injection(
        "host-not-inspected",
        on("node1", "printf '#!/bin/sh\\nexec sleep 60\\n' > /usr/local/bin/ss; chmod 0755 /usr/local/bin/ss"),
        on("node1", "rm /usr/local/bin/ss"),
        settles=False,
    ),
    Injection(
        "pod-without-room",
        pod("large", resources={"requests": {"cpu": "1000"}}),
        no_pod("large"),
        settles=False,
    ),
    Injection(
        "node-tainted",
        both(kubectl("taint", "node", "node1", "shop/gpu=1:NoSchedule"), pod("plain")),
        both(kubectl("taint", "node", "node1", "shop/gpu-"), no_pod("plain")),
    ),
    Injection("image-name-wrong", pod("named", image="Not//a:name"), no_pod("named"), settles=False),
    Injection("image-registry-unreachable", pod("far", image="registry.invalid/shop:1"), no_pod("far"), settles=False),
    Injection("user-pod-broken", pod("crash", command=["/no-such-program"]), no_pod("crash"), settles=False),
    Injection("overlay-dropped", *user_rule("node1", "input", "udp dport 8472 counter drop")),
    Injection("service-packets-dropped", *user_rule("node1", "output", "udp dport 53 drop")),
    Injection(
        "pod-packets-dropped",
        on("node1", "iptables -I FORWARD -s 10.244.0.0/16 -j DROP"),
        on("node1", "iptables -D FORWARD -s 10.244.0.0/16 -j DROP"),
    ),
    Injection(
        "services-unreachable",
        on("node1", f"iptables -t nat -D PREROUTING {PORTALS} && iptables -t nat -D OUTPUT {PORTALS}"),
    ),
    Injection(
        "cluster-dns-unreachable",
        on("node1", "ip route add unreachable 10.96.0.10/32"),
        on("node1", "ip route delete unreachable 10.96.0.10/32"),
    ),
    Injection(
        "api-service-unreachable",
        on("node1", "ip route add unreachable 10.96.0.1/32"),
        on("node1", "ip route delete unreachable 10.96.0.1/32"),
    ),
)
