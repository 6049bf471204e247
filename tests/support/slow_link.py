# SPDX-License-Identifier: Apache-2.0
"""Put a lab host behind a slow and lossy link, on kernels without sch_netem too.

In the host's network namespace its eth0 becomes link0, and a TAP device takes its name, its hardware address, its
addresses and its routes. A process copies every frame between the two, late, and loses some by a fixed seed. It runs in
a session of its own and dies with the test. The machine is left as it is; only the far end of the container's own
cable, which goes with the container, no longer joins packets to bigger ones, for those would be lost together.
"""

from __future__ import annotations

import array
import collections
import concurrent.futures
import contextlib
import ctypes
import fcntl
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

NAME, CABLE = "eth0", "link0"
# Python has no names for these: linux/if_tun.h, if_packet.h, if_ether.h, ethtool.h, sched.h, prctl.h.
SET_INTERFACE, TAP, BARE = 0x400454CA, 0x0002, 0x1000  # TUNSETIFF, IFF_TAP, IFF_NO_PI
ALL_FRAMES, PROMISCUOUS = 0x0003, 1  # ETH_P_ALL, PACKET_MR_PROMISC
PACKET, ADD_MEMBERSHIP, IGNORE_OUTGOING = 263, 1, 23  # SOL_PACKET, PACKET_*
RECEIVE_BUFFER, BUFFER = 33, 8 << 20  # SO_RCVBUFFORCE, bytes
ETHTOOL, OFFLOADS = 0x8946, (0x24, 0x1F, 0x17)  # SIOCETHTOOL; ETHTOOL_SGSO, _STSO, _STXCSUM
NEW_NETWORK = 0x40000000  # CLONE_NEWNET
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
BYTES = 1 << 16  # more than any frame
COUNTED = ("carried", "lost")


Made = TypeVar("Made")


class Link(NamedTuple):
    """What each direction does to frames."""

    seconds: float = 0.1
    loss: float = 0.01
    seed: int = 14


class Running:
    """A link that works."""

    def __init__(self, counts: Path) -> None:
        """Read what it counts from a file that it writes each second."""
        self._counts = counts

    def counts(self) -> dict[str, int]:
        """Return how many frames it got, and how many of them it lost, both ways together."""
        found: dict[str, int] = json.loads(self._counts.read_text())
        return found


def first_process(container: str) -> str:
    """Return the machine's pid of a container's first process."""
    argv = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def enter_network(pid: str) -> None:
    """Let this thread be in the network namespace of a process; sockets that it has opened stay where they are."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open() as theirs:
        if libc.setns(theirs.fileno(), NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "setns")


def beside(container: str, make: Callable[[], Made]) -> Made:
    """Make what listens in a container's network, on this side of its link; it may be served from any thread."""

    def enter() -> Made:
        enter_network(first_process(container))
        return make()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(enter).result()


@contextlib.contextmanager
def slow_link(container: str, link: Link | None = None) -> Iterator[Running]:
    """Keep a container of Docker behind a link; it is given its own cable back at the end."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder, "counts")
        process = subprocess.Popen(
            [sys.executable, __file__, first_process(container), str(os.getpid()), counts, json.dumps(link or Link())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        assert process.stdout is not None
        with process:
            try:
                assert process.stdout.readline() == "ready\n", f"no link for {container}"
                yield Running(counts)
                assert process.poll() is None, f"the link of {container} ended with {process.returncode}"
            finally:
                process.terminate()


class Direction:
    """One of the two ways through the link."""

    def __init__(self, link: Link, source: int, send: Callable[[bytes], object], seed: int) -> None:
        """Read frames from a descriptor and hand them on to `send`, in their order."""
        self.source = source
        self._link = link
        self._send = send
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._queue: collections.deque[tuple[float, bytes]] = collections.deque()
        self.carried = self.lost = 0

    def take(self, now: float) -> None:
        """Take all frames that have come."""
        with contextlib.suppress(BlockingIOError):
            while frame := os.read(self.source, BYTES):
                self.carried += 1
                if self._random.random() < self._link.loss:
                    self.lost += 1
                else:
                    self._queue.append((now + self._link.seconds, frame))

    def give(self, now: float) -> float:
        """Send what is due; return in how many seconds the next one is, or a second."""
        while self._queue and self._queue[0][0] <= now:
            with contextlib.suppress(OSError):  # a full queue loses frames, as any router's
                self._send(self._queue.popleft()[1])
        return min(1.0, self._queue[0][0] - now) if self._queue else 1.0


def ip(*arguments: str) -> list[Any]:
    """Run iproute2 in this process' network namespace; return what it shows."""
    done = subprocess.run(["ip", "-json", *arguments], capture_output=True, text=True, check=True)
    found: list[Any] = json.loads(done.stdout or "[]")
    return found


def move(source: str, target: str, addresses: list[Any], routes: list[Any]) -> None:
    """Let a device have the addresses and the routes that another one had."""
    ip("address", "flush", "dev", source)
    for one in addresses:
        ip("address", "replace", f"{one['local']}/{one['prefixlen']}", "dev", target)
    ip("link", "set", target, "up")
    for route in routes:
        if route.get("protocol") != "kernel":
            via = ["via", route["gateway"]] if "gateway" in route else []
            ip("route", "replace", route["dst"], *via, "dev", target)


def plain_frames(inside: socket.socket, interface: str) -> None:
    """Switch off what would let several packets, or half a checksum, pass for one frame."""
    for command in OFFLOADS:
        value = array.array("I", [command, 0])
        fcntl.ioctl(inside, ETHTOOL, struct.pack("16sP16x", interface.encode(), value.buffer_info()[0]))


def open_tap() -> int:
    """Make the TAP device in this network namespace; it goes with the descriptor."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, SET_INTERFACE, struct.pack("16sH22x", NAME.encode(), TAP | BARE))
    return tap


def open_cable() -> socket.socket:
    """Hear every frame that comes from the cable."""
    cable = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_FRAMES))
    cable.setsockopt(socket.SOL_SOCKET, RECEIVE_BUFFER, BUFFER)
    cable.setsockopt(PACKET, IGNORE_OUTGOING, 1)
    cable.bind((CABLE, ALL_FRAMES))
    cable.setsockopt(PACKET, ADD_MEMBERSHIP, struct.pack("iHH8x", socket.if_nametoindex(CABLE), PROMISCUOUS, 0))
    cable.setblocking(False)
    return cable


@contextlib.contextmanager
def replaced(machine: socket.socket, cables: dict[int, str]) -> Iterator[tuple[int, socket.socket]]:
    """Put the TAP in the place of this namespace's cable; give both, and put the cable back at the end."""
    [found] = ip("address", "show", "dev", NAME)
    addresses = [one for one in found["addr_info"] if one["family"] == "inet"]
    routes = ip("route", "show", "dev", NAME)
    plain_frames(machine, cables[found["link_index"]])
    ip("link", "set", NAME, "down")
    # A hardware address of its own, and no ARP: this namespace itself takes nothing that comes from the cable.
    ip("link", "set", NAME, "name", CABLE, "address", "02:00:00:00:00:01", "arp", "off")
    tap = open_tap()
    try:
        ip("link", "set", NAME, "address", found["address"], "mtu", str(found["mtu"]))
        move(CABLE, NAME, addresses, routes)
        ip("link", "set", CABLE, "up")
        with open_cable() as cable:
            yield tap, cable
    finally:
        os.close(tap)
        ip("link", "set", CABLE, "down")
        ip("link", "set", CABLE, "name", NAME, "address", found["address"], "arp", "on")
        move(NAME, NAME, addresses, routes)


def carry(link: Link, tap: int, cable: socket.socket, counts: Path, stopped: list[int]) -> None:
    """Copy frames until a signal comes."""
    directions = (
        Direction(link, tap, cable.send, link.seed),
        Direction(link, cable.fileno(), lambda frame: os.write(tap, frame), link.seed + 1),
    )
    told = 0.0
    while not stopped:
        now = time.monotonic()
        wait = min(direction.give(now) for direction in directions)
        if now - told >= 1:
            told, part = now, counts.with_suffix(".part")
            part.write_text(json.dumps({key: sum(getattr(one, key) for one in directions) for key in COUNTED}))
            part.replace(counts)
        ready, _, _ = select.select([one.source for one in directions], [], [], wait)
        now = time.monotonic()
        for direction in directions:
            if direction.source in ready:
                direction.take(now)


def main(pid: str, parent: str, counts: str, link: str) -> None:
    """Be the link of the container whose first process is `pid`."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGTERM)
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    if os.getppid() != int(parent):
        return
    cables = dict(socket.if_nameindex())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as machine:
        enter_network(pid)
        with replaced(machine, cables) as (tap, cable):
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            carry(Link(*json.loads(link)), tap, cable, Path(counts), stopped)


if __name__ == "__main__":
    main(*sys.argv[1:])
