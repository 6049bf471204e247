# SPDX-License-Identifier: Apache-2.0
"""Try the data plane from this host and from a pod of ours on it, and look for rules that drop its packets."""

from __future__ import annotations

import concurrent.futures
import ctypes
import errno
import json
import os
import re
import select
import socket
import struct
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.doctor import nft_filter, saved_filter
from ansible.module_utils.yunkube.doctor.facts import Json
from ansible.module_utils.yunkube.doctor.packet_trace import FORWARD, IN, OUT, Packet, Table, dropped_by
from ansible.module_utils.yunkube.doctor.read_host import output, text
from ansible.module_utils.yunkube.doctor.saved_filter import Saved
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.host.reach import Target, look

SECONDS = scaled(1.5)  # for any answer: the second packet that opens a connection goes after one
AGAIN = 0.4  # seconds until a DNS query is sent once more: UDP may be lost
OURS = ("kube-system", "dashboard", "registry")  # namespaces whose pods are entered
OWN = ("KUBE-", "FLANNEL-", "CNI-")  # chains of the cluster itself
NEWNET = 0x40000000  # CLONE_NEWNET of <sched.h>
DNS_PORT = 53
BOTH = ("tcp", "udp")


def local_pods(root: Path) -> list[Json]:
    """Return the pods that have a network on this host, as libcni's cache and their namespaces tell."""
    found = []
    for path in sorted((root / "var/lib/cni/results").glob("*-eth0")):
        try:
            read = json.loads(text(path))
            named = dict(read.get("cniArgs") or [])
            address = read["result"]["ips"][0]["address"].partition("/")[0]
            netns = str(read.get("netns") or "")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            continue
        if not netns or Path(netns).exists():
            name = named.get("K8S_POD_NAME", "")
            found.append(
                {"address": address, "namespace": named.get("K8S_POD_NAMESPACE", ""), "name": name, "netns": netns}
            )
    return found


def try_paths(plan: Json, domain: str, root: Path = Path("/")) -> tuple[list[Json], list[str]]:
    """Try all from the host and, where there is one, from a pod of ours; return this and the addresses of pods here."""
    targets = plan.get("targets") or []
    pod = next((one for one in local_pods(root) if one["namespace"] in OURS and one["netns"]), None)
    inside = [one for one in targets if one["kind"] != "overlay"] if pod else []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        of_pod = pool.submit(_from_namespace, pod["netns"], inside, domain) if pod else None
        found = [{**one, "from": ""} for one in attempt(targets, domain)]
        if pod and of_pod:
            found += [{**one, "from": f"{pod['namespace']}/{pod['name']}"} for one in of_pod.result()]
    # Afterwards: who tried to reach a pod that is gone by now has proved nothing.
    return found, [one["address"] for one in local_pods(root)]


def _from_namespace(path: str, targets: list[Json], domain: str) -> list[Json]:
    """Try from a network namespace. It is one of this thread alone, which ends with the pool."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []  # the pod is gone
    try:
        if libc.setns(descriptor, NEWNET) != 0:
            return []
    finally:
        os.close(descriptor)
    return attempt(targets, domain)


def attempt(targets: list[Json], domain: str) -> list[Json]:
    """Try all at once; a path that ends with an answer, a refusal too, has an `outcome` of "ok"."""
    queries = [one for one in targets if one["kind"] == "dns-udp"]
    others = [one for one in targets if one["kind"] != "dns-udp"]
    name = f"kubernetes.default.svc.{domain}"
    # Threads are in the network namespace of the thread that starts them.
    with concurrent.futures.ThreadPoolExecutor(len(queries) or 1) as pool:
        asked = [pool.submit(ask, one["address"], one["port"], name) for one in queries]
        tried = look([Target(one["address"], one["port"], one["name"]) for one in others], SECONDS)
        outcomes = ["ok" if one.path else one.error or one.state for one in tried] + [one.result() for one in asked]
    return [{**one, "outcome": outcome} for one, outcome in zip([*others, *queries], outcomes)]


def ask(address: str, port: int, name: str) -> str:
    """Return "ok" when a name server answers a query, whatever it says, or what came instead."""
    labels = b"".join(bytes([len(label)]) + label for label in name.encode().split(b".") if label)
    number = os.urandom(2)
    query = number + struct.pack("!5H", 0x0100, 1, 0, 0, 0) + labels + struct.pack("!B2H", 0, 1, 1)
    ends = time.monotonic() + SECONDS
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((address, port))
            while (left := ends - time.monotonic()) > 0:
                client.send(query)
                if select.select([client], [], [], min(AGAIN, left))[0] and client.recv(4096)[:2] == number:
                    return "ok"
    except OSError as error:
        return error.strerror or str(error)
    return os.strerror(errno.ETIMEDOUT)


def blocked(
    plan: Json, links: t.Mapping[str, Json], saved: t.Callable[[], t.Mapping[str, t.Mapping[str, Saved]]]
) -> list[Json]:
    """Return the rules of this host that drop packets of the data plane, each once for a flow."""
    packets = list(flows(plan, links))
    if not packets:
        return []
    found: dict[tuple[str, ...], Json] = {}
    tables = all_tables(saved())
    for packet in packets:
        for rule in dropped_by(tables, packet, OWN):
            found.setdefault((rule["flow"], rule["table"], rule["undo"]), rule)
    return [worded(rule) for rule in found.values()]


def flows(plan: Json, links: t.Mapping[str, Json]) -> t.Iterator[Packet]:
    """Return the packets that have to pass this host: overlay-in and -out, pods-in and -out, host-out, dns and api."""
    own = str(plan.get("address") or "")
    pod = str((plan.get("me") or {}).get("address") or plan.get("first") or "")
    outer = next((name for name, link in links.items() if own in _addresses(link)), "")
    overlay = next((name for name in links if name.startswith("flannel.")), outer)
    via = next((address for address in _addresses(links.get(overlay, {}))), own)
    for peer in plan.get("peers") or []:
        other, far = str(peer["address"]), str(peer["pod"])
        if overlay != outer:
            yield Packet("overlay-in", IN, "udp", other, own, constants.VXLAN_PORT, iif=outer)
            yield Packet("overlay-out", OUT, "udp", own, other, constants.VXLAN_PORT, oif=outer)
        for packet in _between_pods(plan, pod, far, overlay) if pod and far else ():
            yield packet
            yield packet.reply()
    for target in plan.get("targets") or []:
        kind, to = str(target["kind"]), (str(target["address"]), int(target["port"]))
        if kind in ("pod", "dns-pod"):
            yield Packet("host-out", OUT, "tcp", via, *to, oif=overlay)
        flow = {"api": "api", "api-host": "api"}.get(kind, "dns" if kind.startswith("dns-") else "")
        for protocol in BOTH if flow == "dns" else ("tcp",) if flow else ():
            # Before a Service's address is translated the packet has that, later the pod's.
            yield Packet(flow, OUT, protocol, own, *to)
            if pod:
                yield Packet(flow, FORWARD, protocol, pod, *to, iif="cni0")


def _between_pods(plan: Json, pod: str, far: str, overlay: str) -> t.Iterator[Packet]:
    """Return what opens a connection between the pod here and one of another node, in both directions."""
    ports = {str(one["address"]): int(one["port"]) for one in plan["targets"]}
    port = int(plan["me"].get("port") or 80)
    yield Packet("pods-in", FORWARD, "tcp", far, pod, port, iif=overlay, oif="cni0")
    yield Packet("pods-out", FORWARD, "tcp", pod, far, ports.get(far, port), iif="cni0", oif=overlay)
    if any(str(one["address"]) == pod and one["kind"] == "dns-pod" for one in plan["targets"]):
        for protocol in BOTH:
            yield Packet("dns-in", FORWARD, protocol, far, pod, DNS_PORT, iif=overlay, oif="cni0")


def _addresses(link: Json) -> list[str]:
    return [str(one).partition("/")[0] for one in link.get("addresses") or []]


def all_tables(saved: t.Mapping[str, t.Mapping[str, Saved]]) -> list[Table]:
    """Return the tables of iptables and nft; each of nft that iptables made, and shows itself, only once."""
    legacy = "iptables-nft" in saved  # `iptables` is the other program then, and nft lists what this one has
    tables = [
        table
        for program, there in saved.items()
        if program != "iptables-nft"
        for table in saved_filter.tables_of(there, program)
    ]
    seen = {*(() if legacy else saved.get("iptables", ()))}
    listed = json.loads(output("nft", "-j", "list", "tables") or "{}").get("nftables", [])
    names = [(one["table"]["family"], one["table"]["name"]) for one in listed if "table" in one]
    chosen = [
        (family, name)
        for family, name in names
        if family in ("ip", "inet", "netdev") and not (family == "ip" and name in seen) and name != "kube-proxy"
    ]
    for family, name in chosen:
        listing = json.loads(output("nft", "-j", "list", "table", family, name) or "{}")
        tables += nft_filter.tables_of(listing.get("nftables", []))
    return tables


def worded(rule: Json) -> Json:
    """Return a dropping rule with its words: nft numbers its rules, and `nft -a` writes the number behind each."""
    family, _, name = rule["table"].partition(" ")
    if not rule["undo"].startswith("nft") or not rule["rule"].startswith("handle "):
        return rule
    printed = output("nft", "-a", "list", "table", family, name)
    found = re.search(rf"^\s*(\S.*?) # {rule['rule']}$", printed, re.MULTILINE)
    return {**rule, "rule": found[1] if found else rule["rule"]}
