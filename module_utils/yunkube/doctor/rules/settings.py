# SPDX-License-Identifier: Apache-2.0
"""Settings and files of a host that somebody changed: mounts, the kernel's at boot, units, names, proxies."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import ALL_DOWN, FLANNEL, KUBELET, NODE, PODS, RUNTIME
from ansible.module_utils.yunkube.doctor.rules.containerd import CONTAINERD_FILES

USERS = {
    constants.KUBELET_PORT: "kubelet",
    constants.API_PORT: "kube-apiserver",
    10256: "kube-proxy",
    constants.ETCD_PORTS[0]: "etcd",
}


def read_only(facts: Facts) -> t.Iterator[Hit]:
    """Places that the cluster writes to, that are mounted read-only; where all is on one, the root of it."""
    for host in facts.reached:
        for mount in host.read_only[:1] if "/" in host.read_only else host.read_only:
            yield Hit(host.host, [f"{mount} is mounted read-only"], mount)


FILE_SYSTEM_READ_ONLY = Rule(
    "file-system-read-only",
    title="A file system of the cluster is read-only",
    looks="Pods do not start: `read-only file system`; the kernel remounts a disk with errors this way.",
    proof=read_only,
    remedy="see `dmesg` and /etc/fstab on {host}; when the disk is sound: mount -o remount,rw {target}",
    severity="critical",
    before=("containerd-config-broken", "containerd-stopped", *RUNTIME, *FLANNEL, *NODE),
    link="https://man7.org/linux/man-pages/man8/mount.8.html",
)


def not_kept(facts: Facts) -> t.Iterator[Hit]:
    """Values of the kernel that a file resets at the next boot."""
    for host in facts.reached:
        for name, found in host.boot_sysctls.items() if host.joined else ():
            if found["value"] != "1":
                evidence = [f"{found['file']}: {name} = {found['value']}", "it is read last"]
                yield Hit(host.host, evidence, name, {"file": found["file"]})


SYSCTL_NOT_KEPT = Rule(
    "sysctl-not-kept",
    title="A file resets a kernel setting at the next boot",
    looks="Nothing yet; after a reboot, pods of the host reach nothing outside of it.",
    proof=not_kept,
    remedy="delete the line of {target} from {file} on {host}",
    severity="warning",
    link="https://man7.org/linux/man-pages/man5/sysctl.d.5.html",
)


def not_reloaded(facts: Facts) -> t.Iterator[Hit]:
    """Units whose files have changed since systemd read them."""
    for host in facts.reached:
        for unit, found in host.units.items():
            if found.get("NeedDaemonReload") == "yes":
                yield Hit(host.host, [f"the files of {unit} changed after systemd had read them"], unit)


UNIT_NOT_RELOADED = Rule(
    "unit-not-reloaded",
    title="A changed unit file is not in use yet",
    looks="`systemctl status` warns `changed on disk`; the change takes effect at some later time.",
    proof=not_reloaded,
    remedy="systemctl daemon-reload on {host}, then restart {target} to use the change",
    severity="warning",
    repair="reload_units",
    safe=True,
    weight=0,
)


def hostname_changed(facts: Facts) -> t.Iterator[Hit]:
    """Hosts that are called otherwise than the node that they joined as."""
    for host in facts.reached:
        name = host.hostname.lower()
        others = {other.hostname.lower() for other in facts.reached if other is not host}
        if (
            host.joined
            and not host.named_by_flag
            and name
            and facts.cluster.node(host.name)
            and name != host.name
            and name not in others
        ):
            evidence = [f"its name is {host.hostname}", f"the cluster knows it as {host.name}"]
            yield Hit(host.host, evidence, host.name, {"name": host.name})


HOSTNAME_CHANGED = Rule(
    "hostname-changed",
    title="The host's name is no longer that of its node",
    looks="At its next start the kubelet asks for another node, which its certificate forbids.",
    proof=hostname_changed,
    remedy="hostnamectl set-hostname {name} on {host}, then systemctl restart kubelet",
    before=("kubelet-crash-looping", *NODE),
    repair="set_hostname",
    link="https://kubernetes.io/docs/reference/access-authn-authz/node/",
)


def proxy_in_the_way(facts: Facts) -> t.Iterator[Hit]:
    """Kubelets that would ask a proxy for the API."""
    for host in facts.reached:
        for unit, proxy in host.proxied.items():
            evidence = [f"{unit} runs with HTTPS_PROXY ({proxy})", f"its NO_PROXY does not have {host.server}"]
            yield Hit(host.host, evidence, unit)


PROXY_IN_THE_WAY = Rule(
    "proxy-in-the-way",
    title="The kubelet calls the API through a proxy",
    looks="The node turns NotReady although the API answers from its host.",
    proof=proxy_in_the_way,
    remedy="add the API's address to NO_PROXY of {target} on {host} (systemctl cat {target}), reload and restart it",
    before=NODE,
)


def modes_mixed(facts: Facts) -> t.Iterator[Hit]:
    """Hosts on which chains of Kubernetes stand in both packet filters of the kernel."""
    for host in facts.reached:
        if len(host.kube_chains) > 1 and all(host.kube_chains.values()):
            evidence = [f"{program}-save shows {count} KUBE- chains" for program, count in host.kube_chains.items()]
            yield Hit(host.host, evidence)


IPTABLES_MODES_MIXED = Rule(
    "iptables-modes-mixed",
    title="Rules of Kubernetes are in both iptables-legacy and nftables",
    looks="Services answer at times, or lead to pods that are gone: old rules win over the current ones.",
    proof=modes_mixed,
    remedy="choose nft with update-alternatives --config iptables on {host}, then drain and reboot it",
    before=PODS,
    link="https://kubernetes.io/docs/reference/networking/virtual-ips/",
)


def resolver_silent(facts: Facts) -> t.Iterator[Hit]:
    """Name servers that do not answer where others do; without any, as on closed networks, nobody expects one."""
    answering = [
        f"{one} answers {host.host}" for host in facts.reached for one, said in host.resolvers.items() if said == "ok"
    ]
    for host in facts.reached if answering else ():
        for address, said in host.resolvers.items():
            if said != "ok":
                yield Hit(host.host, [f"{address}: {said}", answering[0]], address)


NAMESERVER_SILENT = Rule(
    "nameserver-silent",
    title="A name server of the host does not answer",
    looks="Names outside of the cluster resolve slowly or not at all: CoreDNS forwards to this server.",
    proof=resolver_silent,
    remedy="name a server that answers instead of {target} in {host}'s resolv.conf, then delete the CoreDNS pods",
    severity="warning",
    link="https://kubernetes.io/docs/tasks/administer-cluster/dns-debugging-resolution/",
)


def port_taken(facts: Facts) -> t.Iterator[Hit]:
    """Ports of the cluster's own parts on which another program listens."""
    for host in facts.reached:
        for port, user in USERS.items() if host.joined else ():
            owner = host.listeners.get(str(port), "")
            # The kernel keeps 15 letters of a process's name.
            if (
                owner
                and owner[:15] != user[:15]
                and (host.master or port not in (constants.API_PORT, constants.ETCD_PORTS[0]))
            ):
                yield Hit(host.host, [f"{owner} listens on {port}, the port of {user}"], str(port), {"program": owner})


CLUSTER_PORT_TAKEN = Rule(
    "cluster-port-taken",
    title="Another program listens on a port of the cluster",
    looks="The kubelet or a part of the control plane exits with `address already in use`.",
    proof=port_taken,
    remedy="stop {program} on {host}, or move it to another port than {target}",
    before=("kube-proxy-down", *KUBELET),
    link="https://kubernetes.io/docs/reference/networking/ports-and-protocols/",
)


def cri_disabled(facts: Facts) -> t.Iterator[Hit]:
    """Runtimes that are told not to talk to kubelets, as some packages of Docker configure them."""
    for host in facts.reached:
        off = host.runtime.get("disabled") or []
        if any(name == "cri" or name.startswith("io.containerd.grpc.v1.cri") for name in off):
            yield Hit(host.host, [f"{CONTAINERD_FILES}: disabled_plugins has {', '.join(off)}"])


CRI_DISABLED = Rule(
    "cri-disabled",
    title="containerd's interface for the kubelet is switched off",
    looks="The kubelet exits with `unknown service runtime.v1.RuntimeService`; crictl says the same.",
    proof=cri_disabled,
    remedy="{command} rewrites /etc/containerd/config.toml of {host}; remove cri from disabled_plugins in conf.d",
    call="up --limit {host}",
    before=RUNTIME,
    link="https://kubernetes.io/docs/setup/production-environment/container-runtimes/#containerd",
)


def strays(facts: Facts) -> t.Iterator[Hit]:
    """Copies in the folder of static pods: the kubelet runs every file there, whatever it is called."""
    for host in facts.masters:
        for path, part in host.strays.items():
            yield Hit(host.host, [f"{path} declares {part} once more"], path, {"path": path})


STATIC_POD_DOUBLED = Rule(
    "static-pod-doubled",
    title="A copy of a manifest lies among the static pods",
    looks="A part of the control plane runs with old options, or restarts again and again.",
    proof=strays,
    remedy="move {target} of {host} to another folder: the kubelet runs every file in this one",
    before=("manifest-broken", *ALL_DOWN),
    repair="take_away",
    safe=True,
    link="https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/",
)


def no_ranges(facts: Facts) -> t.Iterator[Hit]:
    """Controller managers that give nodes no ranges for pods."""
    for host in facts.masters:
        said = host.options.get("allocate-node-cidrs")
        if host.options and said != "true":
            evidence = (
                f"kube-controller-manager runs with --allocate-node-cidrs={said}" if said else "has no such option"
            )
            yield Hit(host.host, [evidence, "--allocate-node-cidrs=true is wanted"])


NODE_CIDRS_OFF = Rule(
    "node-cidrs-off",
    title="kube-controller-manager gives new nodes no pod range",
    looks="Nothing yet; on the next node flanneld exits with `node … pod cidr not assigned`.",
    proof=no_ranges,
    remedy="set --allocate-node-cidrs=true in /etc/kubernetes/manifests/kube-controller-manager.yaml of {host}",
    before=("node-without-pod-cidr",),
    scope="all",
)
