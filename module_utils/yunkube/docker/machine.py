# SPDX-License-Identifier: Apache-2.0
"""What a container is that behaves like a machine, and what differs between that and one that is there.

Only thinking: nothing here speaks to an engine.
"""

from __future__ import annotations

import hashlib
import io
import ipaddress
import tarfile
import time
import typing as t
from dataclasses import dataclass, field

from ansible.module_utils.yunkube.host.identity import REATTACH, difference
from ansible.module_utils.yunkube.result import Fault
from ansible.module_utils.yunkube.words import joined

CLUSTER_LABEL = "yunkube.cluster"
ID_LABEL = "yunkube.cluster-id"
HOST_LABEL = "yunkube.host"
AUTHORIZED_KEYS = "/root/.ssh/authorized_keys"

# When the engine started a container that it never started.
NEVER = "0001-01-01"

# What systemd, kubelet, containerd and the pods of a small cluster use on one host, measured.
INOTIFY_INSTANCES = 14

Described = t.Mapping[str, t.Any]  # a container or network as the engine describes it

# By their numbers in the kernel. `--privileged` asks for all of them and fails where the engine itself
# lacks one; so a host is given those that this machine has. The newest three are unknown to old engines.
CAPABILITIES = (  # noqa: SIM905 # thirty-eight words read better than thirty-eight strings
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ"
).split()

# Each host's own, not in its image's layers: an overlay cannot hold another overlay.
VOLUMES = ("/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd")


@dataclass(frozen=True)
class Machine:
    """One host that should be."""

    cluster: str
    cluster_id: str
    name: str
    address: str
    subnet: ipaddress.IPv4Network
    image: str
    command: tuple[str, ...]
    keys: tuple[bytes, bytes]  # its own private one, and the public half of the way in
    memory_bytes: int = 0
    nano_cpus: int = 0
    restart_policy: str = "unless-stopped"


@dataclass(frozen=True)
class Step:
    """What makes one host as it should be."""

    host: str
    replace: str = ""  # why what is there has to go
    loses: bool = False  # whether something was ever on it
    create: bool = False
    connect: bool = False  # to the network, which was made again
    update: dict[str, t.Any] = field(default_factory=dict)
    rekey: bool = False
    start: str = ""  # the engine's word for it

    @property
    def changes(self) -> bool:
        """Whether there is something to do."""
        return self.create or self.connect or bool(self.update) or self.rekey or bool(self.start)

    @property
    def is_up(self) -> bool:
        """Whether the host can answer before the step is taken."""
        return not (self.create or self.connect or self.rekey or self.start)

    def __str__(self) -> str:
        """Say it in one line."""
        if self.create:
            return f"replace host {self.host}, {self.replace}" if self.replace else f"create host {self.host}"
        words = {
            "connect": self.connect,
            "change the limits of": self.update,
            "replace the SSH keys of": self.rekey,
            "start": self.start,
        }
        return f"{joined([word for word, due in words.items() if due]) or 'leave'} host {self.host}"


def network_name(cluster: str) -> str:
    """Return the name of a cluster's network."""
    return f"yunkube-{cluster}"


def container_name(cluster: str, host: str) -> str:
    """Return the name of a host's container."""
    return f"yunkube-{cluster}-{host}"


def gateway(subnet: ipaddress.IPv4Network) -> str:
    """Return this machine's own address on the network: the first one."""
    return str(subnet[1])


def capabilities(bounding: int) -> list[str]:
    """Return the capabilities of a bounding set, as Docker calls them."""
    return [name for number, name in enumerate(CAPABILITIES) if bounding >> number & 1]


def network_spec(cluster: str, cluster_id: str, subnet: ipaddress.IPv4Network) -> dict[str, t.Any]:
    """Return a network as the engine is asked for it."""
    return {
        "Name": network_name(cluster),
        "CheckDuplicate": True,
        "Driver": "bridge",
        "Internal": True,
        "IPAM": {"Config": [{"Subnet": str(subnet), "Gateway": gateway(subnet)}]},
        "Labels": {CLUSTER_LABEL: cluster, ID_LABEL: cluster_id},
    }


def container_spec(machine: Machine, bounding: int) -> dict[str, t.Any]:
    """Return a host as the engine is asked for it."""
    return {
        "Hostname": machine.name,
        "Image": machine.image,
        "Cmd": list(machine.command),
        "Env": ["container=docker"],
        "StopSignal": "SIGRTMIN+3",  # systemd's for a clean shutdown
        "StopTimeout": 30,
        "Labels": {CLUSTER_LABEL: machine.cluster, ID_LABEL: machine.cluster_id, HOST_LABEL: machine.name},
        "Volumes": {path: {} for path in VOLUMES},
        "HostConfig": {
            "NetworkMode": network_name(machine.cluster),
            "RestartPolicy": {"Name": machine.restart_policy},
            "Memory": machine.memory_bytes,
            "MemorySwap": machine.memory_bytes,  # that is: no swap beside it
            "NanoCpus": machine.nano_cpus,
            "CapAdd": capabilities(bounding),
            "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined", "label=disable"],
            "MaskedPaths": [],
            "ReadonlyPaths": [],
            "CgroupnsMode": "private",
            "Devices": [{"PathOnHost": "/dev/kmsg", "PathInContainer": "/dev/kmsg", "CgroupPermissions": "rwm"}],
            "DeviceCgroupRules": ["a *:* rwm"],  # privileged pods hand this on
            "Tmpfs": {"/run": "", "/tmp": "exec"},  # noqa: S108 # a machine's own /tmp
        },
        "NetworkingConfig": {"EndpointsConfig": {network_name(machine.cluster): endpoint(machine)}},
    }


def endpoint(machine: Machine) -> dict[str, t.Any]:
    """Return how a host hangs on its network."""
    return {"IPAMConfig": {"IPv4Address": machine.address}}


def authorized_key(keys: tuple[bytes, bytes]) -> bytes:
    """Return the line that lets us into a host. It tells the host's own key as well, so one look gives both."""
    host_key, client_key = keys
    return client_key.strip() + b" host-key:" + hashlib.sha256(host_key).hexdigest()[:16].encode() + b"\n"


def keys_archive(machine: Machine) -> bytes:
    """Return a tar of the keys of a host: its own, and who may come in."""
    files = {
        "etc/ssh/ssh_host_ed25519_key": (machine.keys[0], 0o600),
        "root/.ssh": (None, 0o700),
        AUTHORIZED_KEYS.lstrip("/"): (authorized_key(machine.keys), 0o600),
    }
    return _archive(files)


def identity_archive(machine: Machine, machine_id: str) -> bytes:
    """Return a tar of what else makes a host itself."""
    hosts = f"127.0.0.1 localhost\n{machine.address} {machine.name}\n::1 localhost ip6-localhost ip6-loopback\n"
    # Docker's own 127.0.0.11 would be a loop for a DNS server within the host. This address refuses at
    # once, unless this machine serves names.
    resolv_conf = f"nameserver {gateway(machine.subnet)}\n"
    return _archive(
        {
            "etc/hostname": (f"{machine.name}\n".encode(), 0o644),
            "etc/hosts": (hosts.encode(), 0o644),
            "etc/resolv.conf": (resolv_conf.encode(), 0o644),
            "etc/machine-id": (f"{machine_id}\n".encode(), 0o444),
        }
    )


def _archive(files: t.Mapping[str, tuple[bytes | None, int]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.mtime = mode, int(time.time())
            if content is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content or b""))
    return stream.getvalue()


def plan(
    machine: Machine, found: Described | None, authorized: bytes, info: Described, network: str = "", rebuilt: str = ""
) -> Step:
    """Return what makes of a container, if there is one, the host that should be.

    `authorized` is what the host lets in, `info` what the engine says of itself, `network` the id of the cluster's
    network, empty where there is none, `rebuilt` why it goes.
    """
    if found is None:
        return Step(machine.name, create=True, start="start")
    state = found["State"]
    loses = not state.get("StartedAt", "").startswith(NEVER)
    if state["Status"] == "created" and not loses:
        return Step(machine.name, replace="as its making was cut off", create=True, start="start")
    reason = rebuilt or _why_replace(machine, found)
    if reason:
        return Step(machine.name, replace=reason, loses=loses, create=True, start="start")
    place = found["NetworkSettings"]["Networks"].get(network_name(machine.cluster))
    return Step(
        machine.name,
        connect=place is None or not network or place.get("NetworkID") != network,
        update=_limits(machine, found["HostConfig"], info["MemTotal"], info["NCPU"] * 10**9),
        rekey=authorized_key(machine.keys) not in authorized.splitlines(keepends=True),
        start="unpause" if state["Paused"] else "" if state["Running"] else "start",
    )


def _why_replace(machine: Machine, found: Described) -> str:
    if found["State"]["Status"] == "dead":
        return "as Docker has removed half of it"
    place = found["NetworkSettings"]["Networks"].get(network_name(machine.cluster)) or {}
    address = (place.get("IPAMConfig") or {}).get("IPv4Address")
    if address and address != machine.address:
        return f"as its address changes from {address} to {machine.address}"
    old, new = (_distribution(image) for image in (found["Config"]["Image"], machine.image))
    if old != new:
        return f"as its distribution changes from {old} to {new}"
    return ""


def _distribution(image: str) -> str:
    return image.rpartition(":")[2].partition("-")[0]


def _limits(machine: Machine, host_config: Described, memory_total: int, nano_cpus_total: int) -> dict[str, t.Any]:
    # The engine reads 0 in an update as "leave it", so "no limit" is said as all that there is.
    memory, cpus = machine.memory_bytes or memory_total, machine.nano_cpus or nano_cpus_total
    update: dict[str, t.Any] = {}
    if memory != (host_config["Memory"] or memory_total):
        update.update(Memory=memory, MemorySwap=memory)
    if cpus != (host_config["NanoCpus"] or nano_cpus_total):
        update.update(NanoCpus=cpus)
    if machine.restart_policy != host_config["RestartPolicy"]["Name"]:
        update.update(RestartPolicy={"Name": machine.restart_policy})
    return update


def address_faults(hosts: t.Mapping[str, str], subnet: ipaddress.IPv4Network) -> list[Fault]:
    """Return what is wrong with the addresses that the inventory gives."""
    faults = []
    seen: dict[str, str] = {gateway(subnet): "this machine"}
    for name, address in hosts.items():
        example = f"write ansible_host: an address of {subnet} from {subnet[2]} on, in the inventory"
        try:
            inside = subnet[0] < ipaddress.IPv4Address(address) < subnet[-1]
        except ValueError:
            message = (
                f"{name} has ansible_host {address!r}, which is no IPv4 address"
                if address
                else f"{name} has no ansible_host"
            )
        else:
            message = "" if inside else f"{name} has ansible_host {address}, outside of docker_hosts_subnet {subnet}"
            if address in seen:
                message = f"{name} has ansible_host {address}, and so has {seen[address]}"
        seen.setdefault(address, name)
        if message:
            faults.append(Fault("ansible_host", message, example))
    return faults


def routes(text: str) -> dict[ipaddress.IPv4Network, str]:
    """Return the networks that a /proc/net/route sends somewhere, and the interface; not the default route."""
    found = {}
    for line in text.splitlines()[1:]:
        interface, destination, _, _, _, _, _, mask, *_ = line.split()
        address, length = (int.from_bytes(bytes.fromhex(word), "little") for word in (destination, mask))
        if length:
            found[ipaddress.IPv4Network((address, length.bit_count()))] = interface
    return found


def inotify_warning(limit: int, hosts: int) -> str:
    """Return what to do where the kernel lets root watch too little for so many hosts, or nothing."""
    if hosts * INOTIFY_INSTANCES <= limit:
        return ""
    return (
        f"fs.inotify.max_user_instances is {limit} on this machine, enough for {limit // INOTIFY_INSTANCES} hosts, and "
        f"there are {hosts}: units and pods may fail with 'too many open files'; "
        f"sudo sysctl fs.inotify.max_user_instances={max(1024, hosts * 2 * INOTIFY_INSTANCES)}"
    )


def name_clashes(
    cluster: str, hosts: t.Iterable[str], containers: t.Iterable[Described], networks: t.Iterable[Described]
) -> list[Fault]:
    """Return what has a name that this cluster needs and was not made by Yunkube for a cluster of this name."""
    wanted = {container_name(cluster, host) for host in hosts}
    taken = [
        f"the container {name}"
        for container in containers
        for name in sorted({name.lstrip("/") for name in container["Names"]} & wanted)
        if not is_of(cluster, container)
    ]
    taken += [
        f"the network {network['Name']}"
        for network in networks
        if network["Name"] == network_name(cluster) and not is_of(cluster, network)
    ]
    remedy = "remove or rename it in Docker, or choose another cluster_name"
    return [_clash("name", f"{what} exists and Yunkube did not create it", remedy) for what in taken]


def subnet_clashes(
    cluster: str,
    subnet: ipaddress.IPv4Network,
    networks: t.Iterable[Described],
    machine_routes: t.Mapping[ipaddress.IPv4Network, str],
) -> list[Fault]:
    """Return which other network of the engine or of this machine the subnet meets."""
    bridges = {"docker0", *(f"br-{network['Id'][:12]}" for network in networks)}
    taken = {
        other: f"this machine's route over {interface}"
        for other, interface in machine_routes.items()
        if interface not in bridges
    }
    for network in networks:
        if network["Name"] != network_name(cluster):
            subnets = [config["Subnet"] for config in network["IPAM"]["Config"] or [] if ":" not in config["Subnet"]]
            taken.update({ipaddress.IPv4Network(text): f"the Docker network {network['Name']}" for text in subnets})
    remedy = "choose another docker_hosts_subnet, and every ansible_host within it"
    return [
        _clash("subnet", f"docker_hosts_subnet {subnet} overlaps {other}, {what}", remedy)
        for other, what in taken.items()
        if subnet.overlaps(other)
    ]


def is_of(cluster: str, described: Described) -> bool:
    """Whether Yunkube made this container or network for a cluster of this name; another user's may have it, too."""
    return (described["Labels"] or {}).get(CLUSTER_LABEL) == cluster


def id_of(described: Described) -> str:
    """Return the id of the cluster that a container or network is of; empty where it was made before there were ids."""
    return str((described["Labels"] or {}).get(ID_LABEL, ""))


def foreign(cluster: str, cluster_id: str, theirs: t.Mapping[str, str]) -> list[Fault]:
    """Return a fault for each of these things, by what it is and its cluster's id: they are another cluster's."""
    faults = []
    for what, its_id in theirs.items():
        found = difference((cluster, its_id), (cluster, cluster_id))
        remedy = f"work as the user that made it, or choose another cluster_name; {REATTACH}"
        if not its_id:  # its labels cannot change any more
            remedy = "remove it in Docker if it is not needed, or choose another cluster_name"
        message = f"{what} of this machine's Docker engine {found.message if found else 'has no id'}"
        commands = ("reattach",) if its_id else ()
        faults.append(Fault("other cluster", message, remedy, "localhost", commands=commands))
    return faults


def _clash(check: str, message: str, remedy: str) -> Fault:
    return Fault(check, message, remedy, "localhost")
