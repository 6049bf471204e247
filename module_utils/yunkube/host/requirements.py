# SPDX-License-Identifier: Apache-2.0
"""What a host must be for a cluster to run on it, and every way in which it is not."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import platform
import re
import shutil
import socket
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host.network import POD, find_listeners, has_address, parse_routes, read_text
from ansible.module_utils.yunkube.host.os_release import distribution, parse_os_release
from ansible.module_utils.yunkube.host.state import Json, read_record
from ansible.module_utils.yunkube.result import Fault

PORTS = {"node": constants.NODE_PORTS, "master": constants.MASTER_PORTS}
# What may hold those ports: Kubernetes itself, half installed. The kernel keeps 15 letters of a name.
OWN_PROGRAMS = ("etcd", "kubelet", "kube-apiserver", "kube-controller", "kube-scheduler")
# Interfaces that are the cluster's own, left by a node that was here before.
OWN_INTERFACES = ("cni", "flannel", "kube-", "veth", "lo")
RESOLV_CONF, RESOLVED = "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # of systemd's services
ZONES = "/usr/share/zoneinfo"  # where systemd looks
# What a host has that is a member of a cluster.
MEMBER = (Path("/etc/kubernetes/kubelet.conf"), Path("/etc/kubernetes/admin.conf"))
# Boards whose maker did not fill in an id.
FAKE_UUIDS = (
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
)

# What a module's argument spec says of a host's requirements, `needs` below.
NEEDS_SPEC: dict[str, dict[str, t.Any]] = {
    "master": {"type": "bool", "required": True},
    "node": {"type": "str", "required": True},
    "architecture": {"type": "str", "required": True},
    "node_ip": {"type": "str", "required": True},
    "firewall_sources": {"type": "list", "elements": "str"},
    "registry_ports": {"type": "list", "elements": "int", "default": []},
    "cidrs": {"type": "dict", "required": True},
    "reserved_cidrs": {"type": "dict", "default": {}},
    "control_time": {"type": "float", "required": True},
    "max_skew": {"type": "int", "default": 30},
    "memory_mb": {"type": "int", "required": True},
    "cpus": {"type": "int", "required": True},
    "disk_mb": {"type": "dict", "required": True},
    "systems": {"type": "dict", "required": True},
    "families": {"type": "list", "elements": "str", "required": True},
    "turn_swap_off": {"type": "bool", "default": True},
    "kubelet_config": {"type": "dict", "default": {}},
    "kubeadm_ignores": {"type": "list", "elements": "str", "default": []},
    "ignores": {"type": "list", "elements": "str", "default": []},
    "cluster": {"type": "str", "required": True},
    "cluster_id": {"type": "str", "required": True},
    "endpoint": {"type": "str", "required": True},
    "joins": {"type": "bool", "default": False},
    "programs": {"type": "dict", "default": {}},
    "timezone": {"type": "str", "default": ""},
}


@dataclasses.dataclass(frozen=True)
class Host:
    """What was read on the host."""

    hostname: str
    machine_id: str
    product_uuid: str
    member: bool
    record: Json | None  # whose the host is, by its record
    node: str  # as which node of it, by the kubelet's certificate; empty where there is none
    joined: str  # the API server of which it is a member, by its kubeconfig; of a control plane's own host nothing
    foreign: tuple[str, ...]  # what of others is in the cluster's way, on a host without a record
    systemd: bool
    firewall: str
    system: str  # ID of /etc/os-release
    system_version: str
    family: str  # as Ansible calls it
    kernel: str
    architecture: str
    memory_mb: int
    cpus: int
    swap: bool
    cgroup_version: int
    clock: float
    has_node_ip: bool
    missing_features: tuple[str, ...]
    free_mb: dict[str, int]
    listeners: dict[int, str]  # port: who holds it
    routes: tuple[tuple[str, ipaddress.IPv4Network], ...]  # interface, destination
    resolver_file: str  # what the kubelet gives to pods, CoreDNS among them
    nameservers: tuple[str, ...]  # that it names
    missing_programs: tuple[str, ...]
    has_timezone: bool


def check_system(host: Host, needs: dict[str, t.Any]) -> t.Iterator[Fault]:
    """Refuse a system on which nobody has tried this."""
    oldest = needs["systems"].get(host.system)
    known = ", ".join(f"{name} {version}" for name, version in sorted(needs["systems"].items()))
    if oldest is None or _version(host.system_version) < _version(oldest):
        remedy = f"use one of these or newer: {known}; or name it in prepare_host_systems and try"
        yield Fault("system", f"runs {host.system} {host.system_version}, which is not supported", remedy)
    elif host.family not in needs["families"]:
        families = " or ".join(sorted(needs["families"]))
        remedy = f"use a system of the {families} family"
        yield Fault(
            "system",
            f"runs {host.system} {host.system_version} ({host.family} family), whose package names are not known",
            remedy,
        )
    for what in host.foreign:
        remedy = "remove it from the host, or use another host; to ignore it: prepare_host_ignored_checks: [foreign]"
        yield Fault("foreign", f"has {what}", remedy)
    if not host.systemd:
        yield Fault("systemd", "is not run by systemd", "boot it with systemd, which starts containerd and the kubelet")


def check_architecture(host: Host, needs: dict[str, t.Any]) -> t.Iterator[Fault]:
    """Refuse a host whose processor is not the one that its programs are built for."""
    supported = sorted(constants.ARCHITECTURES.values())
    if host.architecture not in supported:
        yield Fault(
            "architecture", f"is {host.architecture}, which is not supported", f"use a host of {' or '.join(supported)}"
        )
    elif host.architecture != needs["architecture"]:
        remedy = f"set cluster_architecture: {host.architecture} for this host in the inventory"
        yield Fault("architecture", f"is {host.architecture}, the inventory says {needs['architecture']}", remedy)


def check_kernel(host: Host, needs: dict[str, t.Any]) -> t.Iterator[Fault]:
    """Refuse a kernel that kubeadm or the kubelet would refuse later, or that lacks what pods need."""
    ignored = "SystemVerification" in needs["kubeadm_ignores"]
    version = _version(host.kernel)[:2]
    if version < (5, 4):
        yield Fault("kernel", f"has kernel {host.kernel}", "install kernel 5.4 or newer; 5.10 or newer is better")
    elif version[0] == 5 and version not in {(5, 4), (5, 10), (5, 15)} and not ignored:
        remedy = "use one of these or 6.x, or add SystemVerification to cluster_ignore_preflight_errors"
        yield Fault("kernel", f"has kernel {host.kernel}; of 5.x kubeadm accepts 5.4, 5.10 and 5.15", remedy)
    for feature in host.missing_features:
        remedy = "reboot if the kernel was updated; else install the kernel's package of extra modules"
        yield Fault("kernel_module", f"has no {feature} for kernel {host.kernel}", remedy)
    if host.cgroup_version == 1 and (needs["kubelet_config"].get("failCgroupV1", True) or not ignored):
        remedy = (
            "boot with the kernel parameter systemd.unified_cgroup_hierarchy=1, or set failCgroupV1: false in "
            "cluster_kubelet_config and add SystemVerification to cluster_ignore_preflight_errors"
        )
        yield Fault("cgroup", "uses cgroup v1, which the kubelet refuses since Kubernetes 1.35", remedy)


def check_size(host: Host, needs: dict[str, t.Any]) -> t.Iterator[Fault]:
    """Refuse a host that is too small."""
    if host.memory_mb < needs["memory_mb"]:
        remedy = f"give it {needs['memory_mb']} MB, or lower prepare_host_memory_mb"
        yield Fault("memory", f"has {host.memory_mb} MB of memory", remedy)
    if host.cpus < needs["cpus"]:
        remedy = f"give it {needs['cpus']}, or lower prepare_host_cpus"
        yield Fault("cpus", f"has {host.cpus} processor{'s' if host.cpus > 1 else ''}", remedy)
    for folder, free in sorted(host.free_mb.items()):
        if free < int(needs["disk_mb"][folder]):
            remedy = f"free {needs['disk_mb'][folder]} MB, or lower prepare_host_disk_mb"
            yield Fault("disk", f"has {free} MB free in {folder}", remedy)
    if host.swap and not needs["turn_swap_off"] and needs["kubelet_config"].get("failSwapOn", True):
        remedy = "set prepare_host_swap to off, or failSwapOn: false in cluster_kubelet_config"
        yield Fault("swap", "has swap on, with which the kubelet does not start", remedy)


def check_clock(host: Host, needs: dict[str, t.Any]) -> t.Iterator[Fault]:
    """Refuse a clock with which certificates are not valid yet, or no more."""
    ahead = host.clock - needs["control_time"]
    if abs(ahead) > needs["max_skew"]:
        which = "ahead of" if ahead > 0 else "behind"
        remedy = "synchronise both clocks (chrony, systemd-timesyncd)"
        yield Fault("clock", f"has a clock {abs(ahead):.0f} s {which} the control machine's", remedy)


def check_network(host: Host, needs: dict[str, t.Any]) -> t.Iterator[Fault]:
    """Refuse what would keep packets from arriving: ports that are taken, addresses used twice."""
    if not host.has_node_ip:
        remedy = "set cluster_node_ip of this host to one of its own addresses"
        yield Fault("node_ip", f"has no address {needs['node_ip']} at which other hosts reach it", remedy)
    for port in PORTS["master" if needs["master"] else "node"]:
        holder = host.listeners.get(port)
        if holder is not None and not holder.startswith(OWN_PROGRAMS):
            yield Fault("port", f"port {port} is taken by {holder}", "stop it, or let it use another port")
    if host.firewall and needs["firewall_sources"] == []:
        remedy = "set prepare_host_firewall_sources to the networks of the cluster's hosts, such as [10.0.0.0/24]"
        yield Fault("firewall", f"has {host.firewall} on, and a default route that names no network", remedy)
    if not host.nameservers:
        remedy = f"name one in {host.resolver_file}; in an isolated network any address but a loopback one will do"
        message = f"{host.resolver_file} names no name server, and CoreDNS, which forwards to those, would not start"
        yield Fault("nameserver", message, remedy)
    yield from check_registry(host, needs)
    for name, cidr in needs["cidrs"].items():
        own = ipaddress.ip_network(cidr, strict=False)
        for interface, route in host.routes:
            if not interface.startswith(OWN_INTERFACES) and own.overlaps(route):
                remedy = f"choose another {name}; it cannot be changed later"
                yield Fault("cidr", f"reaches {route} through {interface}, which overlaps {name} {cidr}", remedy)
        for meaning, reserved in needs["reserved_cidrs"].items():
            if own.overlaps(ipaddress.ip_network(reserved)):
                yield Fault(
                    "cidr", f"needs {reserved} for {meaning}, {name} {cidr} covers it", f"choose another {name}"
                )


def check_registry(host: Host, needs: dict[str, t.Any]) -> t.Iterator[Fault]:
    """Refuse another program where the cluster's registry will listen; the registry itself is a pod."""
    for port in needs["registry_ports"]:
        holder = host.listeners.get(port, POD)
        if POD not in holder:
            message = f"port {port}, which the cluster's registry needs, is taken by {holder}"
            remedy = "stop it, or name another port (cluster_registry_address) or host (cluster_registry_host)"
            yield Fault("port", message, remedy)


def check_backups(host: Host, needs: dict[str, t.Any]) -> t.Iterator[Fault]:
    """Refuse a master that lacks what the timer of backups needs."""
    for program in host.missing_programs:
        key = needs["programs"][program]
        yield Fault("program", f"has no {program}, which {key} needs", f"install {program}, or leave {key} empty")
    if not host.has_timezone:
        message = f"does not know the time zone {needs['timezone']} of backup_schedule"
        remedy = "install its package tzdata, or write the time in UTC or in the host's own zone"
        yield Fault("timezone", message, remedy)


CHECKS = (check_system, check_architecture, check_kernel, check_size, check_clock, check_network, check_backups)
OF_MEMBERS = (check_architecture, check_registry, check_backups)


def check_owner(host: Host, needs: dict[str, t.Any]) -> t.Iterator[Fault]:
    """Refuse a host that is another cluster's, or of one that nobody recorded."""
    if host.record is not None:
        wrong = identity.fault(host.record, needs["cluster"], needs["cluster_id"])
        if wrong:
            yield wrong
        elif host.joined and host.joined != f"https://{needs['endpoint']}":
            message = f"has joined the cluster at {host.joined}, not the one at https://{needs['endpoint']}"
            endpoint = f"cluster_control_plane_endpoint: {host.joined.partition('//')[2]}"
            remedy = f"write `{endpoint}` if that is this cluster, or correct the host's address"
            yield Fault(identity.CHECK, message, remedy)
        elif host.node and host.node != needs["node"]:
            message = f"is node {host.node} of this cluster, which the inventory calls {needs['node']}"
            remedy = f"call it {host.node} again; to rename it, remove {host.node} first, then add {needs['node']}"
            yield Fault(identity.CHECK, message, remedy, commands=(f"remove {host.node}", f"add {needs['node']}"))
    elif host.member:
        ours = identity.named(needs["cluster"], needs["cluster_id"])
        where = f" ({host.joined})" if host.joined else ""
        message = f"is a member of a cluster{where} and has no record of {ours}"
        remedy = "correct its address in the inventory, or remove that cluster from it first (kubeadm reset)"
        yield Fault(identity.CHECK, message, remedy)


def find_faults(host: Host, needs: dict[str, t.Any]) -> list[Fault]:
    """Return all that is wrong with a host; of a member's only what a changed inventory would do to it."""
    owner = list(check_owner(host, needs))
    faults = [fault for check in (OF_MEMBERS if host.member else CHECKS) for fault in check(host, needs)]
    return owner + [fault for fault in faults if fault.check not in needs["ignores"]]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


# Reading. Each takes the text or the folder that it reads, so that tests can hand in another's.


def missing_features(kernel: str) -> tuple[str, ...]:
    """Return what the kernel neither has nor can load."""
    there = {
        "overlay": bool(re.search(r"\boverlay$", read_text("/proc/filesystems"), re.MULTILINE)),
        "br_netfilter": Path("/proc/sys/net/bridge").is_dir(),
    }
    listed = "".join(read_text(f"/lib/modules/{kernel}/{name}") for name in ("modules.dep", "modules.builtin"))
    return tuple(name for name, is_there in there.items() if not is_there and f"/{name}.ko" not in listed)


def product_uuid() -> str:
    """Return the machine's own id; a container shows that of the machine it runs on, which says nothing."""
    contained = any(Path(path).exists() for path in ("/run/systemd/container", "/.dockerenv", "/run/.containerenv"))
    uuid = "" if contained else read_text("/sys/class/dmi/id/product_uuid").lower()
    return uuid if re.fullmatch(r"[0-9a-f-]{36}", uuid) and uuid not in FAKE_UUIDS else ""


def free_mb(folder: str) -> int:
    """Return the space that is free where the folder is or will be."""
    path = Path(folder)
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize >> 20


def foreign(*, master: bool, root: Path = Path("/")) -> tuple[str, ...]:
    """Return what of another program or cluster this one would use or overwrite."""
    found = []
    if (root / constants.CONTAINERD_SOCKET.lstrip("/")).exists():
        found.append("a containerd of its own, which other programs use (Docker?)")
    elif _holds(root / "var/lib/containerd"):
        found.append("data of another containerd in /var/lib/containerd")
    if master and _holds(root / "var/lib/etcd"):  # without a control plane it is left alone
        found.append("data of another cluster, or of an etcd of its own, in /var/lib/etcd")
    if (root / "var/lib/kubelet/config.yaml").exists():
        found.append("data of another cluster in /var/lib/kubelet")
    networks = sorted(path.name for path in (root / "etc/cni/net.d").glob("*.conf*"))
    if networks:
        first = f"/etc/cni/net.d/{networks[0]}"
        found.append(f"{first}, a network of another program (podman?) that pods get until flannel's is there")
    return tuple(found)


def _holds(folder: Path) -> bool:
    return folder.is_dir() and any(path.name != "lost+found" for path in folder.iterdir())


def joined(root: Path = Path("/")) -> str:
    """Return the address of the API server that the kubelet asks; nothing where that is the host's own."""
    if (root / "etc/kubernetes/manifests/kube-apiserver.yaml").exists():
        return ""
    found = re.search(r"(?m)^\s*server:\s*(\S+)", read_text(str(root / "etc/kubernetes/kubelet.conf")))
    return found[1] if found else ""


def read_host(needs: dict[str, t.Any], *, node: str, firewall: str) -> Host:
    """Read everything, once; `node` and `firewall` are read by who calls."""
    kernel, machine = platform.release(), platform.machine()
    record = read_record()
    system = parse_os_release(read_text("/etc/os-release"))
    # kubeadm takes systemd-resolved's own file where that service runs.
    resolver_file = needs["kubelet_config"].get("resolvConf") or (RESOLVED if Path(RESOLVED).exists() else RESOLV_CONF)
    return Host(
        hostname=socket.gethostname().lower(),
        machine_id=read_text("/etc/machine-id"),
        product_uuid=product_uuid(),
        member=any(path.exists() for path in MEMBER),
        record=record,
        node=node,
        joined=joined(),
        foreign=() if record else foreign(master=needs["master"]),
        systemd=Path("/run/systemd/system").is_dir(),
        firewall=firewall,
        system=system.get("ID", "an unknown system"),
        system_version=system.get("VERSION_ID", ""),
        family=distribution(system)["os_family"],
        kernel=kernel,
        architecture=constants.ARCHITECTURES.get(machine, machine),
        memory_mb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        cpus=len(os.sched_getaffinity(0)),
        swap=len(read_text("/proc/swaps").splitlines()) > 1,
        cgroup_version=2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        clock=time.time(),
        has_node_ip=has_address(needs["node_ip"]),
        missing_features=missing_features(kernel),
        free_mb={folder: free_mb(folder) for folder in needs["disk_mb"]},
        listeners=find_listeners([*PORTS["master"], *needs["registry_ports"]]),
        routes=parse_routes(read_text("/proc/net/route")),
        resolver_file=resolver_file,
        nameservers=tuple(re.findall(r"(?m)^nameserver\s+(\S+)", read_text(resolver_file))),
        missing_programs=tuple(name for name in needs["programs"] if not shutil.which(name, path=PATH)),
        has_timezone=needs["timezone"] in ("", "UTC") or Path(ZONES, needs["timezone"]).is_file(),
    )
