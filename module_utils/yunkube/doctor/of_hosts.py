"""Faults of a host: its system, its container runtime, its kubelet."""

from __future__ import annotations

import collections
import statistics
import typing as t

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor.facts import Facts, HostFacts
from ansible.module_utils.yunkube.doctor.fault import BY_HAND, CONTROL_PLANE, FLANNEL, NODE, PODS, PULLS, Fault, Hit

SKEW = 30  # seconds between clocks, more than a look takes
FULL = 0.03  # of a file system, and no more than
LITTLE = 1 << 30  # bytes
CONFIG_ERRORS = ("ubelet config", "KubeletConfiguration", "invalid configuration")
KUBELET = ("kubelet-crash-looping", *CONTROL_PLANE, *FLANNEL, "kube-proxy-down", *NODE)
RUNTIME = ("containerd-socket-gone", "kubelet-config-broken", *KUBELET)
CURRENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"


def unreachable(facts: Facts) -> t.Iterator[Hit]:
    """Hosts that did not answer."""
    for host in facts.hosts:
        if host.unreachable:
            yield Hit(host.host, [host.unreachable], severity="critical" if host.master else "error")


def clock_skew(facts: Facts) -> t.Iterator[Hit]:
    """Clocks that are far from the middle of all."""
    clocks = [host.now for host in facts.reached if host.now]
    middle = statistics.median([*clocks, facts.now or clocks[0]]) if clocks else 0
    for host in facts.reached:
        if host.now and abs(host.now - middle) > SKEW:
            yield Hit(host.host, [f"its clock is {host.now - middle:+.0f} s from that of the others"])


def shared(facts: Facts, name: str, what: str) -> t.Iterator[Hit]:
    """Return hosts that have an identity in common."""
    holders = collections.defaultdict(list)
    for host in facts.reached:
        if value := getattr(host, name):
            holders[value].append(host.host)
    for value, hosts in holders.items():
        for second in hosts[1:]:
            yield Hit(second, [f"{what} {value} is also that of {hosts[0]}"])


def disk_full(facts: Facts) -> t.Iterator[Hit]:
    """File systems without room."""
    for host in facts.reached:
        for disk in host.disks:
            if disk["free"] < min(disk["size"] * FULL, LITTLE):
                evidence = f"{disk['mount']}: {disk['free'] >> 20} of {disk['size'] >> 20} MiB are free"
                yield Hit(host.host, [evidence], disk["mount"])


def inodes(facts: Facts) -> t.Iterator[Hit]:
    """File systems that can take no more files."""
    for host in facts.reached:
        for disk in host.disks:
            if disk["inodes"] and disk["inodes_free"] < disk["inodes"] * FULL:
                evidence = f"{disk['mount']}: {disk['inodes_free']} of {disk['inodes']} inodes are free"
                yield Hit(host.host, [evidence], disk["mount"])


def swap_on(facts: Facts) -> t.Iterator[Hit]:
    """Swap that the kubelet does not start with."""
    for host in facts.reached:
        if host.swaps and host.joined and host.kubelet.get("failSwapOn") != "false":
            yield Hit(host.host, [f"/proc/swaps: {', '.join(host.swaps)}", "failSwapOn is not off"])


def sysctl(facts: Facts, name: str) -> t.Iterator[Hit]:
    """Return hosts whose kernel does not do what packets of pods need."""
    for host in facts.reached:
        if host.joined and host.sysctls.get(name) != "1":
            there = f"{name} is {host.sysctls[name]}" if name in host.sysctls else f"the kernel has no {name}"
            yield Hit(host.host, [there], name, {"values": {name: "1"}})


def runtime_broken(facts: Facts) -> t.Iterator[Hit]:
    """A containerd that ends as soon as it starts."""
    for host in facts.reached:
        if host.crashes("containerd"):
            yield Hit(host.host, [_state(host, "containerd"), *host.journal.get("containerd", [])[-2:]])


def stopped(facts: Facts, unit: str) -> t.Iterator[Hit]:
    """Return hosts on which a unit does not run and nobody tries to start it."""
    for host in facts.reached:
        found = host.units.get(unit, {})
        if host.joined and found.get("ActiveState") in ("inactive", "deactivating"):
            yield Hit(host.host, [_state(host, unit)], unit, {"unit": unit})


def disabled(facts: Facts) -> t.Iterator[Hit]:
    """Units that would not come back after a reboot."""
    for host in facts.reached:
        for unit, found in host.units.items():
            if host.joined and found.get("UnitFileState") in ("disabled", "masked") and host.runs(unit):
                evidence = f"{unit} runs, but is {found['UnitFileState']}: it does not start at boot"
                yield Hit(host.host, [evidence], unit, {"unit": unit})


def _state(host: HostFacts, unit: str) -> str:
    found = host.units[unit]
    words = [f"{unit} is {found.get('ActiveState')} ({found.get('SubState')})"]
    if found.get("Result") not in ("success", "", None):
        words.append(f"last result {found['Result']}")
    if found.get("NRestarts") not in ("0", "", None):
        words.append(f"restarted {found['NRestarts']} times")
    return ", ".join(words)


def socket_gone(facts: Facts) -> t.Iterator[Hit]:
    """A containerd that runs and does not answer."""
    for host in facts.reached:
        if host.joined and host.runs("containerd") and not host.socket and not host.crashes("containerd"):
            path = constants.CONTAINERD_SOCKET
            there = "nothing answers on it" if path in host.modes else "is not there"
            yield Hit(host.host, ["containerd runs", f"{path} {there}"], path, {"unit": "containerd", "again": True})


def cgroup_drivers(facts: Facts) -> t.Iterator[Hit]:
    """A kubelet and a runtime that account for processes in different ways."""
    for host in facts.reached:
        ours, theirs = host.kubelet.get("cgroupDriver", ""), host.runtime.get("cgroupDriver", "")
        if {ours, theirs} == {"systemd", "cgroupfs"}:
            evidence = ["/var/lib/kubelet/config.yaml: cgroupDriver " + ours, "/etc/containerd/config.toml: " + theirs]
            yield Hit(host.host, evidence, arguments={"driver": theirs})


def sandbox_image(facts: Facts) -> t.Iterator[Hit]:
    """Hosts without the image that every pod begins with."""
    for host in facts.reached:
        wanted = host.runtime.get("sandbox")
        if wanted and host.images is not None and wanted not in host.images:
            yield Hit(host.host, [f"{wanted} is not among the {len(host.images)} images of the host"], wanted)


def bundle_image(facts: Facts) -> t.Iterator[Hit]:
    """Images of the cluster's own pods that a host does not have."""
    for host in facts.reached:
        if host.images is None:
            continue
        wanted = {image for pod in facts.pods_on(host.name) if pod["system"] for image in pod["images"]}
        for image in sorted(wanted - {*host.images, host.runtime.get("sandbox")}):
            pods = [pod["name"] for pod in facts.pods_on(host.name) if image in pod["images"]]
            yield Hit(host.host, [f"{image} is not on the host", f"needed by {', '.join(pods)}"], image)


def kubelet_config(facts: Facts) -> t.Iterator[Hit]:
    """A kubelet that does not like its configuration, or has none."""
    for host in facts.reached:
        lines = host.journal.get("kubelet", [])
        complaints = [line for line in lines if any(word in line for word in CONFIG_ERRORS)]
        missing = not host.joined and "/etc/kubernetes/kubelet.conf" in host.modes
        if missing:
            yield Hit(host.host, ["/var/lib/kubelet/config.yaml is not there"])
        elif host.crashes("kubelet") and complaints:
            yield Hit(host.host, [_state(host, "kubelet"), *complaints[-2:]])


def kubelet_crash(facts: Facts) -> t.Iterator[Hit]:
    """A kubelet that ends for a reason of its own."""
    for host in facts.reached:
        if host.joined and host.crashes("kubelet"):
            yield Hit(host.host, [_state(host, "kubelet"), *host.journal.get("kubelet", [])[-2:]])


def kubelet_conf(facts: Facts) -> t.Iterator[Hit]:
    """A node that has lost its way to the API."""
    for host in facts.reached:
        if host.joined and "/etc/kubernetes/kubelet.conf" not in host.modes and not host.bootstrap_token:
            yield Hit(host.host, ["/etc/kubernetes/kubelet.conf is not there"])


def node_certificate(facts: Facts) -> t.Iterator[Hit]:
    """Nodes whose certificate has expired; the kubelet renews it by itself long before."""
    for host in facts.reached:
        found = host.certificates.get(CURRENT, {})
        if "ends" in found and found["ends"] < host.now:
            yield Hit(host.host, [f"{CURRENT} ended {(host.now - found['ends']) / 86400:.1f} days ago"], CURRENT)


def node_certificate_soon(facts: Facts) -> t.Iterator[Hit]:
    """Nodes whose certificate should have been renewed by now."""
    for host in facts.reached:
        found = host.certificates.get(CURRENT, {})
        if "ends" in found and host.now <= found["ends"] < host.now + constants.EXPIRES_SOON_SECONDS:
            yield Hit(host.host, [f"{CURRENT} ends in {(found['ends'] - host.now) / 86400:.1f} days"], CURRENT)


FAULTS = (
    Fault(
        "host-unreachable",
        "The host does not answer",
        "Nothing is known about the host; its node turns NotReady after 40 seconds.",
        unreachable,
        "check that {host} is on, and try `ssh -v` to it with the inventory's user, key and address",
        explains=(*CONTROL_PLANE, *NODE),
        link="https://kubernetes.io/docs/concepts/architecture/nodes/#condition",
    ),
    Fault(
        "clock-skew",
        "The host's clock is wrong",
        "Certificates are rejected as not yet valid or expired, and leases are lost.",
        clock_skew,
        "synchronize the clock of {host}: timedatectl set-ntp true",
        explains=(*CONTROL_PLANE, *NODE),
    ),
    Fault(
        "duplicate-hostname",
        "Two hosts have the same name",
        "Two kubelets fight over one node: its addresses and pods keep changing.",
        lambda facts: shared(facts, "hostname", "the hostname"),
        "give {host} a unique name: hostnamectl set-hostname NAME, then remove it and add it again",
        explains=NODE,
        scope="all",
    ),
    Fault(
        "duplicate-machine-id",
        "Two hosts have the same machine-id",
        "Networks and addresses are assigned to the wrong host; usually after cloning a disk.",
        lambda facts: shared(facts, "machine_id", "the machine-id"),
        "empty /etc/machine-id on {host}, run systemd-machine-id-setup, and reboot",
        severity="warning",
    ),
    Fault(
        "disk-full",
        "A file system is full",
        "Pods are evicted or do not start, etcd stops, logs are truncated.",
        disk_full,
        "free space on {host}: du -xh {target} | sort -h | tail; `crictl rmi --prune` removes unused images",
        severity="critical",
        explains=("containerd-config-broken", "containerd-stopped", *RUNTIME),
        link="https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/",
    ),
    Fault(
        "inodes-exhausted",
        "A file system is out of inodes",
        "`No space left on device` although df shows room.",
        inodes,
        "find what creates the files on {host}: du --inodes -x {target} | sort -n | tail",
        severity="critical",
        explains=("containerd-config-broken", "containerd-stopped", *RUNTIME),
    ),
    Fault(
        "swap-on",
        "Swap is on",
        "The kubelet exits with `running with swap on is not supported`.",
        swap_on,
        "swapoff --all on {host}, and remove swap from /etc/fstab",
        explains=("kubelet-crash-looping", *NODE),
        repair="turn_swap_off",
        safe=True,
        link="https://kubernetes.io/docs/concepts/cluster-administration/swap-memory-management/",
    ),
    Fault(
        "bridge-filter-off",
        "Bridged packets bypass the packet filter",
        "flanneld does not start, or Services answer some pods but not others.",
        lambda facts: sysctl(facts, "net.bridge.bridge-nf-call-iptables"),
        "modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1, on {host}",
        explains=(*FLANNEL, *PODS),
        repair="set_sysctls",
        safe=True,
    ),
    Fault(
        "ip-forward-off",
        "The host does not forward packets",
        "Pods of the host reach nothing outside of it, and nothing reaches them.",
        lambda facts: sysctl(facts, "net.ipv4.ip_forward"),
        "sysctl -w net.ipv4.ip_forward=1 on {host}",
        explains=(*FLANNEL, *PODS),
        repair="set_sysctls",
        safe=True,
    ),
    Fault(
        "containerd-config-broken",
        "containerd is failing",
        "systemd keeps restarting it; its journal says why.",
        runtime_broken,
        "{command} rewrites its configuration; see `journalctl -u containerd` there",
        call="up --limit {host}",
        explains=RUNTIME,
    ),
    Fault(
        "containerd-stopped",
        "containerd is not running",
        "Running containers keep running, but no pod starts or stops; the node turns NotReady.",
        lambda facts: stopped(facts, "containerd"),
        "systemctl enable --now containerd on {host}",
        explains=RUNTIME,
        repair="start_unit",
        safe=True,
    ),
    Fault(
        "containerd-socket-gone",
        "containerd runs, but its socket does not answer",
        "The kubelet and crictl cannot connect: `connection refused` or `no such file or directory`.",
        socket_gone,
        "systemctl restart containerd on {host}; running containers are not affected",
        explains=KUBELET,
        repair="start_unit",
        safe=True,
    ),
    Fault(
        "cgroup-drivers-differ",
        "The kubelet and containerd use different cgroup drivers",
        "Pods on a loaded host are killed at random, or the kubelet does not start.",
        cgroup_drivers,
        "use one driver on {host}: {command} writes containerd's; then restart both",
        call="up --limit {host}",
        explains=("kubelet-crash-looping", *NODE),
        repair="set_cgroup_driver",
        link="https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/configure-cgroup-driver/",
    ),
    Fault(
        "sandbox-image-missing",
        "The pod sandbox (pause) image is missing",
        "New pods stay in ContainerCreating: `failed to get sandbox image`.",
        sandbox_image,
        "{command} reimports it",
        call="up --limit {host}",
        explains=(*FLANNEL, *NODE),
        repair="images",
        safe=True,
        weight=2,
    ),
    Fault(
        "bundle-image-missing",
        "An image of the cluster's own pods is missing",
        "The pod waits in ErrImagePull or ErrImageNeverPull: images of the bundle are never pulled.",
        bundle_image,
        "{command} reimports it",
        call="up --limit {host}",
        explains=(*PULLS, "kube-proxy-down", *CONTROL_PLANE, *FLANNEL, *NODE),
        repair="images",
        safe=True,
        weight=2,
    ),
    Fault(
        "kubelet-config-broken",
        "The kubelet rejects its configuration",
        "systemd keeps restarting the kubelet; the node turns NotReady.",
        kubelet_config,
        "on {host}: kubeadm upgrade node phase kubelet-config --patches FOLDER (docs/kubeadm.md says how), then "
        "systemctl restart kubelet",
        explains=KUBELET,
        repair="write_kubelet_config",
        safe=True,
        weight=2,
        link="https://kubernetes.io/docs/tasks/administer-cluster/kubelet-config-file/",
    ),
    Fault(
        "kubelet-stopped",
        "The kubelet is not running",
        "The node turns NotReady after 40 seconds; its containers keep running.",
        lambda facts: stopped(facts, "kubelet"),
        "systemctl enable --now kubelet on {host}",
        explains=(*CONTROL_PLANE, *FLANNEL, "kube-proxy-down", *NODE),
        repair="start_unit",
        safe=True,
    ),
    Fault(
        "unit-disabled",
        "A service is not enabled at boot",
        "Nothing yet; the service will be down after a reboot.",
        disabled,
        "systemctl enable {target} on {host}",
        severity="warning",
        repair="start_unit",
        safe=True,
        weight=0,
    ),
    Fault(
        "kubelet-conf-missing",
        "The node's kubeconfig is missing",
        "The kubelet exits with `unable to load bootstrap kubeconfig`.",
        kubelet_conf,
        "{command}, then add it again; on a master, its old files deleted: kubeadm init phase kubeconfig kubelet "
        + BY_HAND,
        call="remove {host}",
        explains=("kubelet-crash-looping", *NODE),
    ),
    Fault(
        "node-certificate-expired",
        "The node's certificate has expired",
        "The API rejects the kubelet as Unauthorized, and the node turns NotReady.",
        node_certificate,
        "{command}, then add it again; on a master, its old files deleted: kubeadm init phase kubeconfig kubelet "
        + BY_HAND,
        call="remove {host}",
        explains=("kubelet-crash-looping", *NODE),
        link="https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/",
    ),
    Fault(
        "node-certificate-ending",
        "The node's certificate expires soon and was not renewed",
        "Nothing yet: the kubelet normally renews it long before it expires, but has not.",
        node_certificate_soon,
        "see `journalctl -u kubelet | grep certificate` on {host}, and whether kube-controller-manager signs",
        severity="warning",
    ),
    Fault(
        "kubelet-crash-looping",
        "The kubelet is failing",
        "systemd keeps restarting it; the node turns NotReady.",
        kubelet_crash,
        "check its log: journalctl -u kubelet on {host}",
        explains=(*CONTROL_PLANE, *FLANNEL, "kube-proxy-down", *NODE),
    ),
)
