# SPDX-License-Identifier: Apache-2.0
"""Look at what of a host's own files and settings keeps the cluster from working: keys, mounts, leftovers, proxies."""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import hashlib
import ipaddress
import os
import re
import socket
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

from ansible.module_utils.yunkube.doctor.facts import Json
from ansible.module_utils.yunkube.doctor.read_host import output, text
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube.kubeadm import COMPONENTS

WRITTEN = ("/", "/var", "/var/log", "/var/lib", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd", "/run")
PKI = "etc/kubernetes/pki"
# What kubeadm puts on a master; its authorities' keys may be kept elsewhere, and an etcd of others has none of these.
LEAVES = ("apiserver", "apiserver-kubelet-client", "front-proxy-client")
ETCD_LEAVES = ("apiserver-etcd-client", "etcd/server", "etcd/peer", "etcd/healthcheck-client")
CLIENT = "kubelet-client-current.pem"
KUBECONFIGS = ("admin", "super-admin", "controller-manager", "scheduler")
ADDRESSES = "var/lib/cni/networks/cbr0"  # where the plugin host-local notes which container has which address
# A name that resolvers answer by themselves. An id, the flag to recurse, one question; "localhost.", A, IN.
QUESTION = b"yk\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09localhost\x00\x00\x01\x00\x01"
RESOLVER_TRIES = 3  # a packet may be lost
SOON = scaled(0.1)  # seconds for an answer to a packet, where the server's host has answered
STEPS = 5  # of these before the next packet, where it has not
BACKUP_UNITS = ("yunkube-backup.timer", "yunkube-backup.service")
FORWARDING = ("net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables")
# Later folders win over earlier ones with a file of the same name; files are read in the order of their names.
SYSCTL_FOLDERS = ("usr/lib/sysctl.d", "usr/local/lib/sysctl.d", "run/sysctl.d", "etc/sysctl.d")


def looks(root: Path, server: str, nameservers: t.Iterable[str], *, master: bool) -> dict[str, t.Callable[[], t.Any]]:
    """Return the looks by the names of their facts; `server` is the API's address."""
    return {
        "read_only": lambda: read_only(root),
        "resolvers": lambda: resolvers(nameservers),
        "service_account": lambda: service_account(root) if master else {},
        "strays": lambda: strays(root) if master else {},
        "boot_sysctls": lambda: boot_sysctls(root),
        "proxied": lambda: proxied(server),
        "client": lambda: client(root),
        "open_keys": lambda: open_keys(root),
        "missing_keys": lambda: missing_keys(root) if master else [],
        "addresses": lambda: addresses(root),
        "servers": lambda: servers(root),
        "named_by_flag": lambda: named_by_flag(root),
        "backup": lambda: backup(root) if master else {},
    }


def read_only(root: Path) -> list[str]:
    """Return the places that the cluster writes to and cannot."""
    found = []
    for mount in WRITTEN:
        try:
            state = os.statvfs(root / mount.lstrip("/"))
        except OSError:
            continue
        if state.f_flag & os.ST_RDONLY:
            found.append(mount)
    return found


def resolvers(nameservers: t.Iterable[str]) -> dict[str, str]:
    """Ask each name server of the host: "ok", or what came instead of an answer."""
    wanted = [one for one in dict.fromkeys(nameservers) if not one.startswith(("127.", "::1"))][:4]
    if not wanted:
        return {}
    with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
        return dict(zip(wanted, pool.map(resolver, wanted)))


def resolver(address: str) -> str:
    """Return "ok" where a name server answers at all, however it answers."""
    try:
        place = socket.getaddrinfo(address, 53, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
        with socket.socket(place[0], socket.SOCK_DGRAM) as client, socket.socket(place[0]) as stream:
            client.settimeout(SOON)
            client.connect(place[4])
            # Kernels send few refusals of UDP a second, but all of TCP. Where one came, an answer would come as soon:
            # https://docs.kernel.org/networking/ip-sysctl.html (icmp_ratelimit)
            stream.setblocking(False)
            refused = stream.connect_ex(place[4]) == errno.ECONNREFUSED
            sent = 0
            for step in range(RESOLVER_TRIES * STEPS):
                if refused or step % STEPS == 0:
                    client.send(QUESTION)
                    sent += 1
                with contextlib.suppress(socket.timeout):
                    client.recv(512)
                    return "ok"
                refused = refused or stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
                if refused and sent >= RESOLVER_TRIES:
                    return os.strerror(errno.ECONNREFUSED)
    except OSError as error:
        return error.strerror or str(error)
    return f"no answer in {RESOLVER_TRIES * STEPS * SOON:.1f} s"


def service_account(root: Path) -> dict[str, str]:
    """Return digests of the public key that tokens are checked with, and of that which belongs to the signing key."""
    public = text(root / PKI / "sa.pub")
    derived = _digest(output("openssl", "pkey", "-in", str(root / PKI / "sa.key"), "-pubout"))
    # While keys are rotated the file has several.
    known = [_digest(one) for one in re.findall(r"-----BEGIN PUBLIC KEY-----.+?-----END", public, re.DOTALL)]
    return {"sa.pub": derived if derived in known else next(iter(known), ""), "sa.key": derived}


def _digest(pem: str) -> str:
    body = re.search(r"BEGIN PUBLIC KEY-----(.+?)-----END", pem, re.DOTALL)
    return hashlib.sha256("".join(body[1].split()).encode()).hexdigest()[:16] if body else ""


def strays(root: Path) -> dict[str, str]:
    """Return files in the folder of static pods that declare a part of the control plane once more."""
    found = {}
    for path in sorted((root / "etc/kubernetes/manifests").glob("*")):
        own = path.suffix == ".yaml" and path.stem in COMPONENTS
        name = re.search(r"^  name: \"?([\w.-]+)", text(path), re.MULTILINE)
        if own or path.name.startswith(".") or not name or name[1] not in COMPONENTS:
            continue
        if text(path.with_name(f"{name[1]}.yaml")).strip():  # else it is the only one, and what runs
            found[f"/{path.relative_to(root)}"] = name[1]
    return found


def boot_sysctls(root: Path) -> dict[str, Json]:
    """Return what each value of the kernel will be after a reboot, and which file says so."""
    files: dict[str, Path] = {}
    for folder in SYSCTL_FOLDERS:
        files.update({path.name: path for path in (root / folder).glob("*.conf")})
    found: dict[str, Json] = {}
    for _, path in sorted(files.items()):
        for key, value in re.findall(r"^\s*-?([\w./-]+)\s*=\s*(\S+)", text(path), re.MULTILINE):
            found[key.replace("/", ".")] = {"value": value, "file": f"/{path.relative_to(root)}"}
    return {name: found[name] for name in FORWARDING if name in found}


def proxied(server: str) -> dict[str, str]:
    """Return the units that would call the API through a proxy, and which (its name alone: it may have a password)."""
    host = urlsplit(server).hostname or ""
    found = {}
    for unit in ("kubelet",):
        pid = output("systemctl", "show", "--property=MainPID", "--value", f"{unit}.service").strip()
        if not pid or pid == "0" or not host:
            continue
        pairs = [line.partition("=") for line in text(Path("/proc") / pid / "environ").split("\0")]
        environment = {key.lower(): value for key, _, value in pairs if key}
        proxy = environment.get("https_proxy", "")
        if proxy and not _direct(host, environment.get("no_proxy", "")):
            found[unit] = urlsplit(proxy if "//" in proxy else f"//{proxy}").hostname or "a proxy"
    return found


def _direct(host: str, exceptions: str) -> bool:
    """Say whether a program in Go calls a host without its proxy."""
    if host in ("localhost", "::1") or host.startswith("127."):
        return True
    for written in re.split(r"[,\s]+", exceptions.lower()):
        one = re.sub(r"^\*(?=\.)|(?<=[^:]):\d+$", "", written)
        if one == "*" or (one and (host == one or host.endswith(f".{one.lstrip('.')}"))):
            return True
        try:
            if "/" in one and ipaddress.ip_address(host) in ipaddress.ip_network(one, strict=False):
                return True
        except ValueError:
            continue
    return False


def client(root: Path) -> Json:
    """Return whether the kubelet's current certificate is where its kubeconfig says, and which others are there."""
    folder = root / "var/lib/kubelet/pki"
    wanted = CLIENT in text(root / "etc/kubernetes/kubelet.conf")
    others = sorted(path.name for path in folder.glob("kubelet-client-2*.pem"))
    return {"wanted": wanted, "there": (folder / CLIENT).exists(), "others": others}


def open_keys(root: Path) -> dict[str, str]:
    """Return private keys and kubeconfigs that others than root can read, with their modes."""
    found = {}
    for path in [*(root / PKI).glob("**/*.key"), *(root / "etc/kubernetes").glob("*.conf")]:
        mode = path.stat().st_mode & 0o7777
        if mode & 0o077 and (path.suffix == ".key" or re.search(r"client-key|token", text(path))):
            found[f"/{path.relative_to(root)}"] = f"{mode:04o}"
    return found


def missing_keys(root: Path) -> list[str]:
    """Return the certificates and keys of a master that are not there; nothing where there is no authority to ask."""
    folder = root / PKI
    if not (folder / "ca.key").exists():
        return []
    names = [*LEAVES, *(ETCD_LEAVES if (folder / "etcd/ca.key").exists() else ())]
    wanted = [folder / f"{name}.{end}" for name in names for end in ("crt", "key")]
    return [f"/{path.relative_to(root)}" for path in wanted if not path.exists()]


def addresses(root: Path) -> Json:
    """Return how many addresses of the node's range are taken, by the notes of the plugin that gives them out."""
    taken = [path.name for path in (root / ADDRESSES).glob("*") if path.name[:1].isdigit()]
    return {"folder": f"/{ADDRESSES}", "taken": len(taken)}


def servers(root: Path) -> dict[str, str]:
    """Return where the kubeconfigs of a master find the API."""
    found = {}
    for name in KUBECONFIGS:
        said = re.search(r"^\s*server:\s*(\S+)", text(root / f"etc/kubernetes/{name}.conf"), re.MULTILINE)
        if said:
            found[f"/etc/kubernetes/{name}.conf"] = said[1]
    return found


def named_by_flag(root: Path) -> bool:
    """Say whether kubeadm told the kubelet its node's name, as it does where the host is called otherwise."""
    return "--hostname-override" in text(root / "var/lib/kubelet/kubeadm-flags.env")


def backup(root: Path) -> dict[str, str]:
    """Return the state of the timer of backups, how its last run ended, and what a failed one said; {} without it."""
    timer, service = BACKUP_UNITS
    if not (root / "etc/systemd/system" / timer).exists():
        return {}
    shown = output("systemctl", "show", "--property=Id,ActiveState,UnitFileState,Result", timer, service)
    units = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in shown.split("\n\n")]
    by_id = {unit.get("Id", "").strip(): unit for unit in units}
    result = by_id.get(service, {}).get("Result", "")
    # What the script wrote, without systemd's own lines about the unit.
    last = ("journalctl", f"_SYSTEMD_UNIT={service}", "--lines", "1", "--no-pager", "--output", "cat")
    return {
        "timer": by_id.get(timer, {}).get("ActiveState", ""),
        "enabled": by_id.get(timer, {}).get("UnitFileState", ""),
        "result": result,
        "said": output(*last).strip()[:400] if result not in ("success", "") else "",
    }
