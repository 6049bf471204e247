# SPDX-License-Identifier: Apache-2.0
"""A host's network: routes, addresses, and who listens on which port.

What reads the kernel's tables takes the text or the folder.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import typing as t
from pathlib import Path

POD = "of a pod"  # beside the process that holds a port


def parse_routes(text: str) -> tuple[tuple[str, ipaddress.IPv4Network], ...]:
    """Return interface and destination of /proc/net/route, without default routes and the two halves of a VPN's."""
    routes = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        # The kernel prints addresses as numbers of its own byte order.
        address, mask = (socket.inet_ntoa(struct.pack("=L", int(fields[column], 16))) for column in (1, 7))
        network = ipaddress.IPv4Network((address, mask), strict=False)
        if network.prefixlen > 1:
            routes.append((fields[0], network))
    return tuple(routes)


def _paths(route: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """Return the ways that a route takes: one, several by turns, or none where it is there to refuse."""
    ways = [{**route, **hop} for hop in route.get("nexthops", [])] or [route]
    return [way for way in ways if "dev" in way]


def default_ipv4(routes: list[dict[str, t.Any]], interfaces: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return the address of the default route's interface; both arguments are what C(ip -json) says."""
    route = min(
        (path for route in routes if route["dst"] == "default" for path in _paths(route)),
        key=lambda path: path.get("metric", 0),
        default=None,
    )
    if route is None:
        return {}
    addresses = [
        (address["local"], address["prefixlen"])
        for interface in interfaces
        if interface["ifname"] == route["dev"]
        for address in interface["addr_info"]
        if address["family"] == "inet"
    ]
    source = route.get("prefsrc")
    for local, prefix in addresses:
        if source in (None, local):
            network = ipaddress.ip_network(f"{local}/{prefix}", strict=False)
            found = {"address": local, "prefix": str(prefix), "network": str(network.network_address)}
            return found | {"interface": route["dev"], "gateway": route.get("gateway", "")}
    return {}


def parse_listeners(text: str) -> dict[int, str]:
    """Return port and inode of listening sockets in /proc/net/tcp or tcp6."""
    fields = (line.split() for line in text.splitlines()[1:])
    return {int(field[1].rpartition(":")[2], 16): field[9] for field in fields if field[3] == "0A"}


def find_listeners(ports: t.Iterable[int], proc: Path = Path("/proc")) -> dict[int, str]:
    """Return which process listens on each of the ports; processes are searched only if a port is in use."""
    inodes = {
        inode: port
        for table in ("net/tcp", "net/tcp6")
        for port, inode in parse_listeners(read_text(proc / table)).items()
        if port in ports
    }
    found = dict.fromkeys(inodes.values(), "an unknown process")
    for process in proc.glob("[0-9]*") if inodes else ():
        try:
            links = [link.readlink().name for link in (process / "fd").iterdir()]
        except OSError:  # gone meanwhile
            continue
        for inode in {link[8:-1] for link in links if link.startswith("socket:[")} & inodes.keys():
            pod = f", {POD}" if "kubepods" in read_text(process / "cgroup") else ""
            found[inodes[inode]] = f"{read_text(process / 'comm')} (process {process.name}{pod})"
    return found


def is_address(text: str) -> bool:
    """Say whether a text is an IP address, and no name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def has_address(address: str) -> bool:
    """Return whether an address (no name) is this host's and not loopback: the kernel binds only to its own."""
    try:
        parsed = ipaddress.ip_address(address)
        with socket.socket(socket.AF_INET if parsed.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except (OSError, ValueError):
        return False
    return not parsed.is_loopback and not parsed.is_unspecified


def read_text(path: str | Path) -> str:
    """Return a small file, stripped; empty where there is none or it may not be read."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
