# SPDX-License-Identifier: Apache-2.0
"""Look at a host: everything the doctor wants to know of it, at once and without changing anything.

Every look stands alone and is given up after a moment, so that a host on which nothing works is reported as
quickly as a healthy one.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import socket
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.doctor import collect_system
from ansible.module_utils.yunkube.doctor.containers import SOCKET, containers_and_images
from ansible.module_utils.yunkube.doctor.data_plane import blocked, try_paths
from ansible.module_utils.yunkube.doctor.facts import HostFacts, Json
from ansible.module_utils.yunkube.doctor.packet_filter import closed_ports, kube_chains
from ansible.module_utils.yunkube.doctor.probes import MASTER_PROBES, PROBES, etcd, probes, reach
from ansible.module_utils.yunkube.doctor.read_host import ProgramTimeoutError, once, output, subnet_env, text
from ansible.module_utils.yunkube.doctor.saved_filter import Saved, save_all
from ansible.module_utils.yunkube.kube.api import KubeError, read_kubeconfig
from ansible.module_utils.yunkube.kube.kubeadm import COMPONENTS
from ansible.module_utils.yunkube.kube.x509 import read_certificate

RESOLVED = "run/systemd/resolve/resolv.conf"
SYSCTLS = ("net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables")
MOUNTS = ("/", "/var", "/var/log", "/var/lib", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd", "/run")
FILES = (
    "opt/cni/bin/*",
    "etc/cni/net.d/*",
    "etc/kubernetes/*.conf",
    "etc/kubernetes/manifests/*.yaml",
    "var/lib/kubelet/config.yaml",
    "run/flannel/subnet.env",
    SOCKET,
)
UNITS = ("kubelet", "containerd")
STARTED = "ActiveEnterTimestampMonotonic"
PROPERTIES = f"Id,LoadState,ActiveState,SubState,UnitFileState,NRestarts,Result,NeedDaemonReload,{STARTED}"


def collect_host(host: str, *, master: bool, plan: Json | None = None, root: Path = Path("/")) -> HostFacts:
    """Return the facts of this host, which the inventory calls `host`, and of the paths that it is to try."""
    began = time.monotonic()
    kubelet = top_level(text(root / "var/lib/kubelet/config.yaml"))
    servers = nameservers(root, kubelet.get("resolvConf", "/etc/resolv.conf"))
    shown, saved = once(links), once(save_all)  # each is asked of the system once, for several facts
    tasks: dict[str, t.Callable[[], t.Any]] = {
        "hostname": socket.gethostname,
        "machine_id": lambda: text(root / "etc/machine-id").strip(),
        "modes": lambda: modes(root),
        "units": units,
        "journal": lambda: {name: errors(name) for name in UNITS},
        "sysctls": lambda: sysctls(root),
        "swaps": lambda: [line.split()[0] for line in text(root / "proc/swaps").splitlines()[1:]],
        "disks": lambda: disks(MOUNTS),
        "links": shown,
        "routes": lambda: json.loads(output("ip", "-json", "-4", "route", "show") or "[]"),
        "drops": lambda: drops(saved(), master=master),
        "kube_chains": lambda: kube_chains(saved()),
        "listeners": lambda: listeners(output("ss", "-H", "-l", "-t", "-n", "-p")),
        "certificates": lambda: certificates(root),
        "runtime": lambda: runtime(root),
        "manifests": lambda: manifests(root) if master else {},
        "options": lambda: options(text(root / "etc/kubernetes/manifests/kube-controller-manager.yaml")),
        "cni": lambda: cni(root),
        "subnet_env": lambda: subnet_env(root / "run/flannel/subnet.env"),
        "nameservers": lambda: servers,
        "server": lambda: server(root / "etc/kubernetes/kubelet.conf"),
        "probes": lambda: probes(PROBES | (MASTER_PROBES if master else {})),
        "api": lambda: reach(server(root / "etc/kubernetes/kubelet.conf")),
        "etcd": lambda: etcd() if master else {},
        "containers_and_images": lambda: containers_and_images(root),
        "tried": lambda: try_paths(plan or {}, kubelet.get("clusterDomain", "cluster.local"), root),
        "blocked": lambda: blocked(plan or {}, shown(), saved),
    }
    tasks |= collect_system.looks(root, server(root / "etc/kubernetes/kubelet.conf"), servers, master=master)
    with concurrent.futures.ThreadPoolExecutor(len(tasks)) as pool:
        running = {name: pool.submit(task) for name, task in tasks.items()}
        slow: list[str] = []
        found = {name: _result(task, slow) for name, task in running.items()}
    facts = HostFacts(host, master=master, kubelet=kubelet, now=time.time())
    alive, facts.containers, facts.images = found.pop("containers_and_images") or (False, None, None)
    facts.socket, facts.unread = alive, list(dict.fromkeys(slow))
    facts.paths, facts.pod_addresses = found.pop("tried") or ([], None)
    api = found.pop("api")
    for name, value in found.items():
        if value is not None:
            setattr(facts, name, value)
    facts.probes["api"] = api or ""
    token = re.search(r"token: \"?([a-z0-9]{6})\.", text(root / "etc/kubernetes/bootstrap-kubelet.conf"))
    facts.bootstrap_token = token[1] if token else ""
    facts.better_resolv_conf = (root / RESOLVED).exists()
    facts.seconds = round(time.monotonic() - began, 2)
    return facts


def _result(task: concurrent.futures.Future[t.Any], slow: list[str]) -> t.Any:
    """Return a collector's value; one that fails on a broken host must not fail the others. Note what hangs."""
    try:
        return task.result()
    except ProgramTimeoutError as error:
        slow.append(str(error))
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration, KubeError):
        return None


def top_level(yaml: str) -> dict[str, str]:
    """Return the scalars at the top of a YAML text that kubeadm wrote; this host need not have a parser."""
    found = re.findall(r"^(\w+):[ \t]+(\S.*)$", yaml, re.MULTILINE)
    return {key: value.strip("\"' ") for key, value in found}


def modes(root: Path) -> dict[str, str]:
    """Return the modes of files that matter."""
    found = {}
    for pattern in FILES:
        for path in root.glob(pattern):
            found[f"/{path.relative_to(root)}"] = f"{path.stat().st_mode & 0o7777:04o}"
    return found


def units() -> dict[str, Json]:
    """Return how systemd sees the two services."""
    shown = output("systemctl", "show", f"--property={PROPERTIES}", *(f"{name}.service" for name in UNITS))
    uptime = time.clock_gettime(time.CLOCK_MONOTONIC)
    found = {}
    for block in shown.split("\n\n"):
        unit: Json = dict(line.split("=", 1) for line in block.strip().splitlines() if "=" in line)
        if "Id" in unit:
            since = int(unit.pop(STARTED, "0") or 0) / 1e6
            active = {"seconds": round(uptime - since, 1)} if since else {}
            found[unit["Id"].removesuffix(".service")] = unit | active
    return found


def errors(unit: str) -> list[str]:
    """Return the newest of a unit's errors, each once and without its time; of the last minutes alone."""
    # Backwards: with --since, systemd before 254 counts the lines from there, and a verbose unit hides its end.
    window = ("--reverse", "--since", "-3min", "--lines", "300")
    printed = output("journalctl", "--unit", unit, *window, "--no-pager", "--output", "cat")
    chosen = [line for line in printed.splitlines() if re.match(r"[EF]\d{4} |.*level=(error|fatal)|.*(?i:error)", line)]
    short = [re.sub(r"^[EFWI]\d{4} [\d:.]+ +\d+ |time=\S+ ", "", line)[:400] for line in chosen]
    return list(dict.fromkeys(short))[:12][::-1]


def sysctls(root: Path) -> dict[str, str]:
    """Return the sysctls that pods' packets depend on; what is not there is left out."""
    found = {name: text(root / "proc/sys" / name.replace(".", "/")).strip() for name in SYSCTLS}
    return {name: value for name, value in found.items() if value}


def disks(mounts: t.Iterable[str]) -> list[Json]:
    """Return the free space of each file system, under the first path that lies on it."""
    found: dict[int, Json] = {}
    for mount in mounts:
        try:
            device, state = Path(mount).stat().st_dev, os.statvfs(mount)
        except OSError:
            continue
        room: Json = {"mount": mount, "size": state.f_blocks * state.f_frsize, "free": state.f_bavail * state.f_frsize}
        found.setdefault(device, room | {"inodes": state.f_files, "inodes_free": state.f_favail})
    return list(found.values())


def links() -> dict[str, Json]:
    """Return the network links but those of single pods: MTU, state, addresses."""
    found = {}
    for link in json.loads(output("ip", "-json", "-4", "address", "show") or "[]"):
        if not link["ifname"].startswith("veth"):
            addresses = [f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"]]
            up = "UP" in link["flags"]
            mac = text(Path("/sys/class/net") / link["ifname"] / "address").strip()  # of IPv4, ip leaves it out
            found[link["ifname"]] = {
                "mtu": link["mtu"],
                "up": up,
                "addresses": addresses,
                "mac": mac,
            }
    return found


def drops(saved: t.Mapping[str, t.Mapping[str, Saved]], *, master: bool) -> list[Json]:
    """Return the rules that block ports of the cluster."""
    return [rule for program, there in saved.items() for rule in closed_ports(there, program, master=master)]


def listeners(printed: str) -> dict[str, str]:
    """Return the processes that listen on all addresses, {port: process}, out of what ss prints."""
    found = {}
    for line in printed.splitlines():
        fields = line.split(maxsplit=5)
        address, _, port = fields[3].rpartition(":")
        process = re.search(r'"([^"]+)"', fields[5]) if len(fields) > 5 else None
        if not address.startswith("127."):
            found[port] = process[1] if process else ""
    return found


def certificates(root: Path) -> dict[str, Json]:
    """Return expiry and names of the certificates that the cluster's components use."""
    folder = root / "etc/kubernetes"
    texts = {f"/{path.relative_to(root)}": text(path) for path in folder.glob("pki/**/*.crt")}
    own = root / "var/lib/kubelet/pki/kubelet-client-current.pem"
    if own.exists():
        texts[f"/{own.relative_to(root)}"] = text(own)
    found: dict[str, Json] = {}
    for name in ("admin.conf", "controller-manager.conf", "scheduler.conf"):
        if (folder / name).exists():
            try:
                texts[f"/etc/kubernetes/{name}"] = read_kubeconfig(str(folder / name)).certificate.decode()
            except (KubeError, ValueError) as error:
                found[f"/etc/kubernetes/{name}"] = {"problem": str(error)}
    for name, pem in texts.items():
        try:
            read = read_certificate(pem)
            found[name] = {"ends": read.not_after.timestamp(), "names": list(read.names), "pin": read.pin}
        except ValueError as error:
            found[name] = {"problem": str(error)}
    return found


def runtime(root: Path) -> Json:
    """Return what containerd's configuration says that concerns others.

    A file that it imports replaces values of those before it, and adds to lists:
    https://github.com/containerd/containerd/blob/main/docs/man/containerd-config.toml.5.md
    """
    told = text(root / "etc/containerd/config.toml")
    imports = re.search(r"^imports\s*=\s*\[([^\]]*)\]", told, re.MULTILINE)
    for pattern in re.findall(r"[\"']([^\"']+)[\"']", imports[1]) if imports else []:
        place = pattern.lstrip("/") if pattern.startswith("/") else f"etc/containerd/{pattern}"
        told += "".join(f"\n{text(path)}" for path in sorted(root.glob(place)))
    systemd = _of_runc(told, "SystemdCgroup")
    sandbox = re.findall(
        r"(?:pinned_images\.sandbox|sandbox_image|^\s*sandbox)\s*=\s*[\"']([^\"']+)", told, re.MULTILINE
    )
    driver = "systemd" if systemd and systemd[-1] == "true" else "cgroupfs"
    off = re.findall(r"^\s*disabled_plugins\s*=\s*\[([^\]]*)\]", told, re.MULTILINE)
    known = {"cgroupDriver": driver if told else "", "sandbox": sandbox[-1] if sandbox else ""}
    return known | ({"disabled": re.findall(r"[\w.-]+", ",".join(off))} if off else {})


def _of_runc(told: str, option: str) -> list[str]:
    """Return the values of an option in the sections of the runtime runc; other runtimes may have others."""
    found = []
    section = ""
    for line in told.splitlines():
        if header := re.match(r"\s*\[+([^\]]+)\]", line):
            section = header[1]
        elif re.search(r"\bruntimes\.[\"']?runc[\"']?(\.options)?$", section):
            found += re.findall(rf"^\s*(?:options\.)?{option}\s*=\s*(\w+)", line)
    return found


def manifests(root: Path) -> dict[str, str]:
    """Return for each component of the control plane what is wrong with its manifest."""
    found = {}
    for name in COMPONENTS:
        path = root / f"etc/kubernetes/manifests/{name}.yaml"
        told = text(path)
        wrong = re.search(r"^\s*\t|^(?![#\s-])[^:\n]+$", told, re.MULTILINE)
        if not path.exists():
            found[name] = "is not there"
        elif not told.strip():
            found[name] = "is empty"
        elif wrong or not re.search(r"^kind:\s*Pod", told, re.MULTILINE):
            found[name] = f"does not parse: {wrong[0].strip()[:80]}" if wrong else "is no Pod"
        else:
            found[name] = ""
    return found


def options(manifest: str) -> dict[str, str]:
    """Return the options that a static pod's program is started with."""
    return dict(re.findall(r"^\s*- --([\w-]+)=(\S+)", manifest, re.MULTILINE))


def cni(root: Path) -> dict[str, Json]:
    """Return the CNI configurations in the order in which they are looked at, with the plugins that each needs."""
    found: dict[str, Json] = {}
    for path in sorted((root / "etc/cni/net.d").glob("*")):
        if path.suffix not in (".conf", ".conflist", ".json"):
            continue
        try:
            read = json.loads(text(path))
            plugins = [str(plugin["type"]) for plugin in read.get("plugins", [read])]
            needs = plugins + (["bridge", "host-local"] if "flannel" in plugins else [])
            found[path.name] = {"problem": "", "plugins": ["loopback", *needs]}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            found[path.name] = {"problem": f"is no CNI configuration: {error}", "plugins": []}
    return found


def nameservers(root: Path, path: str) -> list[str]:
    """Return the servers that the kubelet hands to CoreDNS."""
    return re.findall(r"^nameserver\s+(\S+)", text(root / path.lstrip("/")), re.MULTILINE)


def server(path: Path) -> str:
    """Return where a kubeconfig finds the API."""
    found = re.search(r"^\s*server:\s*(\S+)", text(path), re.MULTILINE)
    return found[1] if found else ""
