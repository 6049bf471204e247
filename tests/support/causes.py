# SPDX-License-Identifier: Apache-2.0
"""More ways to break a real cluster: objects, keys, files and settings that somebody changed.

`ROUNDS` are faults that a laboratory can have side by side, none of which explains another: one look finds them all.
"""

from __future__ import annotations

import json
import re
import time

from injections import MANIFESTS, PKI, Act, Injection, both, keep, kubectl, no_pod, on, pod, put_back
from laboratory import Lab

ROUTE = "10.244.200.0/24"
FLANNEL_ADDRESS = "flannel.alpha.coreos.com/public-ip=10.92.0.99"
BACKEND = 'flannel.alpha.coreos.com/backend-data={"VNI":1,"VtepMAC":"02:00:00:00:00:99"}'
RO = "mount --rbind /var/lib/kubelet /var/lib/kubelet && mount -o remount,ro,bind /var/lib/kubelet"
RESOLVER = """\
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 53))
while True:
    d, a = s.recvfrom(512)
    s.sendto(d, a)
"""
FOREIGN = (
    '{"cniVersion": "0.3.1", "name": "other", "type": "bridge", "bridge": "other0", "ipam": {"type": "host-local"}}'
)
REST = {"cniVersion": "0.3.1"}
SHADOW = f"{MANIFESTS}/kube-scheduler.yaml.bak"
NOTES = "/var/lib/cni/networks/cbr0"
KCM = f"{MANIFESTS}/kube-controller-manager.yaml"
KUBELET_PEM = "/var/lib/kubelet/pki/kubelet-client-current.pem"
DROP_IN = "/etc/systemd/system/kubelet.service.d/90-proxy.conf"


def made(*objects: dict[str, object]) -> Act:
    """Create objects."""
    return lambda lab: [lab.kubectl("apply", "-f", "-", stdin=json.dumps(one)) for one in objects]


def named(kind: str, name: str, namespace: str = "", api: str = "v1", **more: object) -> dict[str, object]:
    """Return an object."""
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, **place}, **more}


def workload(name: str, **spec: object) -> dict[str, object]:
    """Return a Deployment of one pod."""
    container = {"name": "main", "image": "docker.io/yunkube/probe:0.1.1"}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], **spec}}
    wanted = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    return named("Deployment", name, "default", "apps/v1", spec=wanted)


def webhook(lab: Lab) -> None:
    """Let a webhook that nobody serves decide about CoreDNS's pods, and let it lose them."""
    service = {"namespace": "default", "name": "policy", "path": "/"}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    one = {
        "name": "policy.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 1,
        "clientConfig": {"service": service},
        "rules": [rule],
    }
    api = "admissionregistration.k8s.io/v1"
    made(named("ValidatingWebhookConfiguration", "policy", api=api, webhooks=[one]))(lab)
    time.sleep(1)  # the API server reads configurations by a watch
    lab.kubectl("delete", "pod", "-n", "kube-system", "-l", "k8s-app=kube-dns", "--wait=false")


def no_webhook(lab: Lab) -> None:
    """Delete it."""
    lab.kubectl("delete", "validatingwebhookconfiguration", "policy")


def webhook_that_went(lab: Lab) -> None:
    """Delete the webhook when the controller has tried so often that it waits long."""
    webhook(lab)
    time.sleep(170)  # its tries come 82, 164, 328 s after the first
    no_webhook(lab)


def bad_corefile(lab: Lab) -> None:
    """Let CoreDNS start with a configuration that it does not take."""
    patch = '[{"op": "replace", "path": "/data/Corefile", "value": "oops {"}]'
    lab.kubectl("patch", "cm", "coredns", "-n", "kube-system", "--type", "json", "-p", patch)
    lab.kubectl("delete", "pod", "-n", "kube-system", "-l", "k8s-app=kube-dns", "--wait=false")


def registered(lab: Lab, whose: str) -> None:
    """Register node1 again with a node's range."""
    pods = lab.state / "range"
    if not pods.exists():
        pods.write_text(lab.kubectl("get", "node", "node1", "-o", "jsonpath={.spec.podCIDR}"))
    path = "jsonpath={.spec.podCIDR}"
    range_ = pods.read_text() if whose == "node1" else lab.kubectl("get", "node", whose, "-o", path)
    lab.kubectl("delete", "node", "node1", "--wait=false")
    spec = {"podCIDR": range_, "podCIDRs": [range_]}
    lab.kubectl("create", "-f", "-", stdin=json.dumps(named("Node", "node1", spec=spec)))


def own_range(lab: Lab) -> None:
    """Give node1 its own range back."""
    registered(lab, "node1")
    lab.kubectl("wait", "--for=condition=Ready", "node/node1", "--timeout=60s")
    lab.kubectl("delete", "pod", "-n", "kube-flannel", "--field-selector", "spec.nodeName=node1", "--wait=false")
    (lab.state / "range").unlink()


def other_server(path: str, server: str) -> str:
    """Return what lets a kubeconfig lead elsewhere."""
    return f"sed -i 's|server: .*|server: {server}|' {path}"


def changed(kind: str, name: str, operation: str, path: str, value: object = None) -> Act:
    """Change a field of an object of kube-system."""
    patch = json.dumps([{"op": operation, "path": path, "value": value}])
    return kubectl("patch", kind, name, "-n", "kube-system", "--type", "json", "-p", patch)


def new_pods(of: str) -> Act:
    """Let the pods of an addon be made again."""
    return kubectl("delete", "pod", "-n", "kube-system", "-l", f"k8s-app={of}", "--wait=false")


def broken_mode(lab: Lab) -> None:
    """Give kube-proxy a mode that does not exist."""
    text = lab.kubectl("get", "cm", "kube-proxy", "-n", "kube-system", "-o", "jsonpath={.data.config\\.conf}")
    changed("cm", "kube-proxy", "replace", "/data/config.conf", re.sub(r"(?m)^mode: .*", "mode: ipvx", text))(lab)
    new_pods("kube-proxy")(lab)


def another_address(lab: Lab) -> None:
    """Give the cluster's DNS another address, as a Service that somebody made again by hand has."""
    lab.kubectl("delete", "service", "kube-dns", "-n", "kube-system")
    lab.kubectl(
        "expose", "deployment", "coredns", "-n", "kube-system", "--name=kube-dns", "--port=53", "--protocol=UDP"
    )


CONTAINER = "/spec/template/spec/containers/0"
# Of kube-proxy and CoreDNS; `addon-object-changed` all of them.
ADDONS = (
    Injection("addon-object-changed", changed("ds", "kube-proxy", "replace", f"{CONTAINER}/command/1", "--no-such")),
    Injection("addon-object-changed", broken_mode),
    Injection("addon-object-changed", changed("deploy", "coredns", "replace", f"{CONTAINER}/image", "no.such/dns:1")),
    Injection("addon-object-changed", changed("service", "kube-dns", "remove", "/spec/selector")),
    Injection("addon-object-changed", changed("service", "kube-dns", "replace", "/spec/ports/0/targetPort", 54)),
    Injection("addon-object-changed", another_address),
    Injection(
        "addon-object-wrong",
        both(
            kubectl(
                "set", "subject", "clusterrolebinding", "kubeadm:node-proxier", "--serviceaccount=default:kube-proxy"
            ),
            kubectl(
                *("patch", "clusterrolebinding", "kubeadm:node-proxier", "--type", "json", "-p"),
                '[{"op": "remove", "path": "/subjects/0"}]',
            ),
        ),
    ),
    Injection("addon-object-wrong", both(kubectl("delete", "cm", "kube-proxy", "-n", "kube-system"))),
    Injection("cluster-workload-missing", kubectl("delete", "ds", "kube-proxy", "-n", "kube-system")),
)
GONE = {"namespace": "default", "name": "gone"}
OBJECTS = (
    Injection("corefile-broken", bad_corefile, allow=True),
    Injection(
        "webhook-refuses-pods",
        webhook,
        both(no_webhook, kubectl(*["rollout", "restart", "deploy", "coredns", "-n", "kube-system"])),
    ),
    Injection("declared-object-missing", kubectl("delete", "clusterrolebinding", "flannel")),
    Injection(
        "declared-object-changed",
        kubectl("patch", "clusterrole", "flannel", "--type", "json", "-p", '[{"op": "remove", "path": "/rules/1"}]'),
    ),
    Injection(
        "addon-object-wrong",
        kubectl("patch", "clusterrole", "system:coredns", "--type", "merge", "-p", '{"rules": []}'),
    ),
)
USERS = (
    Injection(
        "pod-creation-refused",
        both(
            made(named("Namespace", "narrow"), named("ResourceQuota", "none", "narrow", spec={"hard": {"pods": "0"}})),
            made({**workload("refused"), "metadata": {"name": "refused", "namespace": "narrow"}}),
        ),
        kubectl("delete", "namespace", "narrow"),
        settles=False,
    ),
    Injection(
        "volume-not-bound",
        both(
            made(
                named(
                    "PersistentVolumeClaim",
                    "data",
                    "default",
                    spec={
                        "accessModes": ["ReadWriteOnce"],
                        "storageClassName": "",
                        "resources": {"requests": {"storage": "1Gi"}},
                    },
                ),
                workload("unbound", volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]),
            )
        ),
        both(kubectl("delete", "deploy", "unbound"), kubectl("delete", "pvc", "data")),
        settles=False,
    ),
    Injection(
        "node-selector-unmatched",
        made(workload("unmatched", nodeSelector={"disk": "none"})),
        kubectl("delete", "deploy", "unmatched"),
        settles=False,
    ),
    Injection(
        "host-port-conflict",
        both(
            pod("holder", ports=[{"containerPort": 80, "hostPort": 31999}]),
            kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/holder", "--timeout=60s"),
            pod("second", ports=[{"containerPort": 80, "hostPort": 31999}]),
        ),
        both(no_pod("holder"), no_pod("second")),
        settles=False,
    ),
    Injection(
        "pod-reference-missing",
        pod("reference", envFrom=[{"configMapRef": {"name": "nowhere"}}]),
        no_pod("reference"),
        settles=False,
    ),
    Injection(
        "pod-kept-by-finalizer",
        both(
            pod("kept"),
            kubectl("patch", "pod", "kept", "-p", '{"metadata": {"finalizers": ["example.com/hold"]}}'),
            kubectl("delete", "pod", "kept", "--wait=false", "--grace-period=0", "--force"),
        ),
        kubectl("patch", "pod", "kept", "--type", "merge", "-p", '{"metadata": {"finalizers": null}}'),
        settles=False,
    ),
    Injection(
        "namespace-stuck",
        both(
            made(named("Namespace", "stuck")),
            made(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": "held", "namespace": "stuck", "finalizers": ["example.com/hold"]},
                }
            ),
            kubectl("delete", "namespace", "stuck", "--wait=false"),
        ),
        kubectl("patch", "cm", "held", "-n", "stuck", "--type", "merge", "-p", '{"metadata": {"finalizers": null}}'),
        settles=False,
    ),
)
CLUSTER = (
    Injection(
        "api-service-unavailable",
        made(
            named(
                "APIService",
                "v1.gone.example.com",
                api="apiregistration.k8s.io/v1",
                spec={
                    "group": "gone.example.com",
                    "version": "v1",
                    "service": GONE,
                    "groupPriorityMinimum": 100,
                    "versionPriority": 10,
                },
            )
        ),
        kubectl("delete", "apiservice", "v1.gone.example.com"),
        settles=False,
    ),
    Injection("node-left-behind", made(named("Node", "ghost")), kubectl("delete", "node", "ghost"), settles=False),
    Injection(
        "join-object-missing",
        both(
            lambda lab: (lab.state / "info.json").write_text(
                lab.kubectl("get", "cm", "cluster-info", "-n", "kube-public", "-o", "json")
            ),
            kubectl("delete", "cm", "cluster-info", "-n", "kube-public"),
        ),
        lambda lab: lab.kubectl("create", "-f", str(lab.state / "info.json")),
        settles=False,
    ),
    Injection("key-readable", on("master1", f"chmod 0644 {PKI}/sa.key"), settles=False),
    Injection(
        "sysctl-not-kept",
        on("node1", "echo net.ipv4.ip_forward=0 > /etc/sysctl.d/99-z.conf"),
        on("node1", "rm /etc/sysctl.d/99-z.conf"),
        settles=False,
    ),
    Injection("unit-not-reloaded", on("node1", "touch /etc/systemd/system/kubelet.service"), settles=False),
    Injection(
        "pod-network-overlaps",
        on("node1", f"ip route add {ROUTE} dev eth0"),
        on("node1", f"ip route delete {ROUTE}"),
        settles=False,
    ),
)
HOSTS = (
    Injection("file-system-read-only", on("node1", RO), on("node1", "umount -l /var/lib/kubelet")),
    Injection(
        "nameserver-silent",
        both(
            keep("node1", "/etc/resolv.conf"),
            on("node1", f"cat > /root/resolver.py <<'END'\n{RESOLVER}END"),
            on("node1", "setsid python3 /root/resolver.py >/dev/null 2>&1 & sleep 0.5"),
            on("node1", "echo nameserver $(hostname -I | cut -d' ' -f1) > /etc/resolv.conf"),
        ),
        both(
            on("node1", "cat /root/kept/resolv.conf > /etc/resolv.conf; pkill -f '[r]esolver.py'"),
        ),
        settles=False,
    ),
    Injection(
        "service-account-keys-differ", on("master1", f"openssl genrsa 2>/dev/null | openssl rsa -pubout > {PKI}/sa.pub")
    ),
    Injection("node-certificate-missing", on("node1", f"rm {KUBELET_PEM}; systemctl restart kubelet")),
    Injection("pki-file-missing", on("master1", f"rm {PKI}/front-proxy-client.crt")),
    Injection(
        "kubeconfig-elsewhere",
        on("master1", other_server("/etc/kubernetes/admin.conf", "https://127.0.0.1:7443")),
    ),
    Injection(
        "kubelet-conf-elsewhere",
        on("node1", other_server("/etc/kubernetes/kubelet.conf", "https://127.0.0.1:7443")),
    ),
    Injection("cni-config-foreign", on("node1", f"echo '{FOREIGN}' > /etc/cni/net.d/05-other.conf"), allow=True),
    Injection("static-pod-doubled", on("master1", f"cp {MANIFESTS}/kube-scheduler.yaml {SHADOW}")),
    Injection("hostname-changed", on("node1", "hostname other"), allow=True),
    Injection(
        "proxy-in-the-way",
        both(
            on("node1", f"printf '[Service]\\nEnvironment=HTTPS_PROXY=http://127.0.0.1:9\\n' > {DROP_IN}"),
            on("node1", "systemctl daemon-reload; systemctl restart kubelet"),
        ),
        on("node1", f"rm {DROP_IN}; systemctl daemon-reload; systemctl restart kubelet"),
    ),
    Injection(
        "iptables-modes-mixed",
        on("node1", "iptables-legacy -t nat -N KUBE-SERVICES"),
        on("node1", "iptables-legacy -t nat -X KUBE-SERVICES"),
    ),
    Injection(
        "cluster-port-taken",
        on(
            "node1",
            "systemctl stop kubelet; setsid python3 -m http.server 10250 >/dev/null 2>&1 & sleep 1; "
            "systemctl start --no-block kubelet",
        ),
        on("node1", "pkill -f '[h]ttp.server 10250'; systemctl reset-failed kubelet; systemctl restart kubelet"),
    ),
    Injection(
        "cri-disabled",
        both(
            keep("node1", "/etc/containerd/config.toml"),
            on("node1", "sed -i '1a disabled_plugins = [\"io.containerd.grpc.v1.cri\"]' /etc/containerd/config.toml"),
            on("node1", "systemctl restart containerd"),
        ),
        put_back("node1", "/etc/containerd/config.toml", "systemctl restart containerd"),
    ),
    Injection(
        "node-cidrs-off",
        both(
            keep("master1", KCM), on("master1", f"sed -i 's/allocate-node-cidrs=true/allocate-node-cidrs=false/' {KCM}")
        ),
        put_back("master1", KCM),
    ),
    Injection(
        "pod-addresses-exhausted",
        on(
            "node1",
            f"mkdir -p {NOTES}; net=$(sed -n 's/^FLANNEL_SUBNET=\\(.*\\)\\.1\\/24/\\1/p' /run/flannel/subnet.env); "
            f"for i in $(seq 2 254); do [ -e {NOTES}/$net.$i ] || "
            f"{{ printf 'gone\\neth0' > {NOTES}/$net.$i; touch -d '-1 hour' {NOTES}/$net.$i; }}; done",
        ),
    ),
    Injection("pod-cidr-doubled", lambda lab: registered(lab, "master1"), own_range),
    Injection("flannel-address-wrong", kubectl("annotate", "node", "node1", "--overwrite", FLANNEL_ADDRESS)),
    Injection("flannel-mac-wrong", kubectl("annotate", "node", "node1", "--overwrite", BACKEND)),
)
# A quota below that of etcd itself, and former values up to it. The manifest keeps it: etcd has room enough afterwards.
FILL = """
sed 's/^    - etcd$/&\\n    - --quota-backend-bytes=67108864/' /etc/kubernetes/manifests/etcd.yaml > /root/etcd.yaml
mv /root/etcd.yaml /etc/kubernetes/manifests/
until curl -sf http://127.0.0.1:2381/metrics | grep -q '^etcd_server_quota_backend_bytes 6.71'; do sleep 1; done
until curl -skf https://127.0.0.1:6443/readyz; do sleep 1; done
pki=/etc/kubernetes/pki/etcd
head -c 1000000 /dev/zero | tr '\\0' x > /root/value
crictl='crictl --runtime-endpoint unix:///run/containerd/containerd.sock'
etcd=$($crictl ps --quiet --name '^etcd$')
for _ in $(seq 200); do
    $crictl exec -i $etcd etcdctl --cacert $pki/ca.crt --cert $pki/healthcheck-client.crt \\
        --key $pki/healthcheck-client.key put yunkube-fill < /root/value || exit 0
done
exit 1
"""
# Those in which a controller waits for long, or nothing can be written: YUNKUBE_FULL=1 alone has them.
LONG = (Injection("rollout-backs-off", webhook_that_went), Injection("etcd-no-space", on("master1", FILL)))
ROUNDS = {"users": USERS, "cluster": CLUSTER}
CAUSES = (*OBJECTS, *ADDONS, *HOSTS, *USERS, *CLUSTER)
