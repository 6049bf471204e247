# SPDX-License-Identifier: Apache-2.0
"""Which TCP ports of other hosts this host reaches: all asked at once, within one time limit.

A refused connection counts as an open path: usually the other host answered that nothing listens there, though a
firewall that rejects packets looks the same. UDP (flannel's VXLAN or WireGuard) cannot be tested in this way: an open
port answers as little as one whose packets a firewall drops.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
import typing as t
from collections import deque
from dataclasses import dataclass

from ansible.module_utils.yunkube.result import Fault

CONNECTED, REFUSED, TIMEOUT, UNREACHABLE, UNRESOLVED = "connected", "refused", "timeout", "unreachable", "unresolved"
BEST_FIRST = (CONNECTED, REFUSED, TIMEOUT, UNREACHABLE, UNRESOLVED)
# What each state means where it is a fault, and what to do.
CAUSES = {
    REFUSED: (
        "{target} refuses connections: nothing listens on that port, or a firewall rejects them",
        "start the service on that port, correct the address, or allow the port in that host's firewall",
    ),
    TIMEOUT: (
        "{target} does not answer within {seconds} s: most likely a firewall or a security group drops the packets",
        "allow TCP port {port} to {address} in both hosts' firewalls and in the cloud's security group",
    ),
    UNREACHABLE: (
        "{target} cannot be reached ({error}): no route leads there, the host is down, or a firewall rejects it",
        "check the address and the route to it, and allow TCP port {port} to {address}",
    ),
    UNRESOLVED: (
        "{address} does not resolve to an address ({error})",
        "correct the name, or make it known to this host: in its name servers or in /etc/hosts",
    ),
}
AT_ONCE = 256  # sockets, far below a process's usual limit of 1024 open files


@dataclass(frozen=True)
class Target:
    """A TCP port to reach, of an address or a name."""

    address: str
    port: int
    purpose: str  # in words, "the cluster's API"
    host: str = ""  # whose it is in the inventory, if anybody's
    listening: bool = False  # whether something must listen there already

    def __str__(self) -> str:
        """Return whose port it is, as a person writes it."""
        where = f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"
        return f"{self.host} ({where})" if self.host and self.host != self.address else where


@dataclass(frozen=True)
class Outcome:
    """What came of one target; the error is the system's, empty where a connection was made."""

    target: Target
    state: str
    error: str
    milliseconds: int

    @property
    def path(self) -> bool:
        """Say whether packets go there and come back, whoever listens."""
        return self.state in (CONNECTED, REFUSED)

    @property
    def good(self) -> bool:
        """Say whether the target was reached as far as it has to be."""
        return self.state == CONNECTED or (self.state == REFUSED and not self.target.listening)

    def fault(self, check: str) -> Fault:
        """Return what is wrong, with the likely cause and what to do."""
        cause, remedy = CAUSES[self.state]
        words = {"target": self.target, "port": self.target.port, "address": self.target.address, "error": self.error}
        words["seconds"] = f"{self.milliseconds / 1000:.0f}"
        return Fault(check, f"{self.target.purpose}: {cause.format(**words)}", remedy.format(**words))


class _Try(t.NamedTuple):
    """A connection that has begun."""

    number: int  # of the target
    began: float
    connection: socket.socket


def look(targets: t.Sequence[Target], seconds: float) -> list[Outcome]:
    """Connect to all targets at once; return what came of them, in their order.

    A connection may take so many seconds, and before it the look-up of a name as many.
    """
    found: list[list[Outcome]] = [[] for _ in targets]
    waiting: deque[tuple[int, socket.AddressFamily, t.Any]] = deque()
    for number, (addresses, error, spent) in enumerate(_resolve_all(targets, seconds)):
        waiting.extend((number, family, address) for family, address in addresses)
        if not addresses:
            found[number] = [Outcome(targets[number], UNRESOLVED, error, spent)]
    with selectors.DefaultSelector() as selector:
        running: list[_Try] = []
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                number, family, address = waiting.popleft()
                begun = _begin(number, family, address)
                if isinstance(begun, OSError):
                    found[number].append(_outcome(targets[number], begun.errno or errno.EIO, 0))
                else:
                    running.append(begun)
                    selector.register(begun.connection, selectors.EVENT_WRITE, begun)
            left = min((one.began for one in running), default=0.0) + seconds - time.monotonic()
            ready = [key.data for key, _ in selector.select(max(0.0, left))] if running else []
            now = time.monotonic()
            late = [one for one in running if one not in ready and now - one.began >= seconds]
            for one in [*ready, *late]:
                code = (
                    one.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if one in ready else errno.ETIMEDOUT
                )
                found[one.number].append(_outcome(targets[one.number], code, round((now - one.began) * 1000)))
                selector.unregister(one.connection)
                one.connection.close()
                running.remove(one)
    # A name may have several addresses, of which one that answers is enough.
    return [min(outcomes, key=lambda outcome: BEST_FIRST.index(outcome.state)) for outcomes in found]


def _begin(number: int, family: socket.AddressFamily, address: t.Any) -> _Try | OSError:
    connection = None
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        code = connection.connect_ex(address)
    except OSError as error:
        if connection:
            connection.close()
        return error
    if code in (0, errno.EINPROGRESS):
        return _Try(number, time.monotonic(), connection)
    connection.close()
    return OSError(code, os.strerror(code))


def _outcome(target: Target, code: int, milliseconds: int) -> Outcome:
    states = {0: CONNECTED, errno.ECONNREFUSED: REFUSED, errno.ETIMEDOUT: TIMEOUT}
    return Outcome(target, states.get(code, UNREACHABLE), os.strerror(code) if code else "", milliseconds)


_Addresses = tuple[list[tuple[socket.AddressFamily, t.Any]], str, int]


def _resolve_all(targets: t.Sequence[Target], seconds: float) -> list[_Addresses]:
    """Look every name up; in threads that nobody waits for, as a silent name server holds them longer than that."""
    began = time.monotonic()
    found: dict[tuple[str, int], _Addresses] = {}
    threads = []
    for key in dict.fromkeys((target.address, target.port) for target in targets):
        try:
            found[key] = _resolve(*key, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):  # a name, of letters that no name has
            threads.append(threading.Thread(target=_keep, args=(found, key), daemon=True))
            threads[-1].start()
    for thread in threads:
        thread.join(max(0.0, began + seconds - time.monotonic()))
    late = "its name servers do not answer"
    return [found.get((target.address, target.port), ([], late, round(seconds * 1000))) for target in targets]


def _keep(found: dict[tuple[str, int], _Addresses], key: tuple[str, int]) -> None:
    began = time.monotonic()
    try:
        found[key] = _resolve(*key)
    except (OSError, UnicodeError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        found[key] = ([], text, round((time.monotonic() - began) * 1000))


def _resolve(name: str, port: int, flags: int = 0) -> _Addresses:
    answers = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=flags)
    return ([(family, address) for family, _, _, _, address in answers], "", 0)
