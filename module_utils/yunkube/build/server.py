# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that gives the cache's bundles to hosts for as long as a run needs them.

One process serves an address and port for every run of the same cache. Runs are files in a folder of the
cache, named by the process that they belong to; the server ends when none of these processes is left, so
a killed run leaves no server behind. Whether a server runs is told by a lock that it holds, not by asking
a port where anybody may answer.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import fcntl
import http.server
import os
import re
import socket
import socketserver
import threading
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.file_lock import locked

CONNECTIONS = 128  # served at a time; more wait in the kernel's queue
REQUEST_SECONDS = 10.0  # for a connection to say what it wants
# A connection is cut that has not moved on by a block in so long. One over 200 ms and 1 % loss carries 110 to 140 kB/s
# with reno and cubic (docs/hosts.md), and hosts share their link.
BLOCK = 1 << 20  # bytes
BLOCK_SECONDS = 120.0
START_SECONDS = 30.0  # for another run that is about to start the same server


class ServeError(Exception):
    """The bundle cannot be served; the text says why, `remedy` what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.remedy = remedy


class Server(http.server.ThreadingHTTPServer):
    """A thread for each connection, up to a limit, and a time limit for each."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, port: int, cache: Path) -> None:
        """Listen at `address` for files of `cache`."""
        self.cache = cache
        self.deadlines: dict[socket.socket, float] = {}
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), Handler)

    def server_bind(self) -> None:
        """Bind without the look-up of this machine's name that the base class makes."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: t.Any, client_address: t.Any) -> None:
        """Serve a connection as soon as one of the threads is free."""
        self._free.acquire()
        self.deadlines[request] = time.monotonic() + REQUEST_SECONDS
        super().process_request(request, client_address)

    def process_request_thread(self, request: t.Any, client_address: t.Any) -> None:
        """Serve a connection in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.deadlines.pop(request, None)
            self._free.release()

    def end_overdue(self) -> None:
        """Cut the connections whose time is up."""
        now = time.monotonic()
        for connection, deadline in list(self.deadlines.items()):
            if now > deadline:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Say nothing: a host that hangs up tries again."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET /<sha256>, and GET /healthz for whoever wants to know whether the port can be reached."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "yunkube"
    sys_version = ""

    def do_GET(self) -> None:
        """Send one file."""
        self.close_connection = True
        name = self.path.strip("/")
        if name == "healthz":
            self._head(200, 3)
            self.wfile.write(b"ok\n")
            return
        found = self.server.cache.glob(f"bundles/*/files/{name}") if re.fullmatch("[0-9a-f]{64}", name) else iter(())
        path = next(found, None)
        if path is None:
            self._head(404, 0)
            return
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            first = self._first_byte(size)
            self._give_time()
            self._head(206 if first else 200, size - first, [f"bytes {first}-{size - 1}/{size}"] if first else [])
            self.wfile.flush()
            for start in range(first, size, BLOCK):
                self.connection.sendfile(stream, start, BLOCK)
                self._give_time()

    def _give_time(self) -> None:
        self.server.deadlines[self.connection] = time.monotonic() + BLOCK_SECONDS

    def _first_byte(self, size: int) -> int:
        """Return where a host wants to go on with a file; other ranges are not served, which HTTP allows."""
        asked = re.fullmatch(r"bytes=(\d{1,18})-", self.headers.get("Range", ""))
        return int(asked[1]) if asked and int(asked[1]) < size else 0

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""

    def _head(self, status: int, length: int, ranges: t.Sequence[str] = ()) -> None:
        self.send_response(status)
        for one in ranges:
            self.send_header("Content-Range", one)
        self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()


# -- where ---------------------------------------------------------------------------------------


def own_address_to(host: str) -> str | None:
    """Return this machine's address on the route to a host; None where there is none. Nothing is sent."""
    try:
        found = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return None
    for family, kind, protocol, _, target in found:
        with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    return None


def listening_addresses(address: str, hosts: t.Iterable[str]) -> list[str]:
    """Return the addresses to listen at: the given one, else those that this machine has on the routes to the hosts."""
    if address:
        return [address]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = {own for own in pool.map(own_address_to, sorted(set(hosts))) if own}
    # Names that only ssh's configuration knows have no route here: then the way out of this machine.
    found = found or {own for own in [own_address_to("192.0.2.1")] if own}
    if not found:
        raise ServeError(
            "cannot tell at which address of this machine the hosts reach it",
            "set cluster_bundle_address to that address",
        )
    return sorted(found)


# -- how long --------------------------------------------------------------------------------------


def process_mark(pid: int) -> str | None:
    """Return what names a living process for good: its pid and when it began."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else f"{pid}-{fields[19]}"


def is_living(mark: str) -> bool:
    """Say whether a mark is that of a process which lives in this PID namespace."""
    pid = mark.partition("-")[0]
    return pid.isdigit() and process_mark(int(pid)) == mark


def runs_on(place: Path) -> bool:
    """Say whether a run needs the server; forget those that ended."""
    alive = False
    with contextlib.suppress(FileNotFoundError):  # the cache was deleted
        for path in (place / "runs").iterdir():
            if is_living(path.name):
                alive = True
            else:
                path.unlink(missing_ok=True)
    return alive


def ensure_served(cache: Path, address: str, port: int, run: int) -> bool:
    """Serve at an address until the process `run`, and all others that asked, are gone; say whether one was started."""
    place = cache / "serve" / f"{address}-{port}"
    (place / "runs").mkdir(parents=True, exist_ok=True)
    mark = process_mark(run)
    if mark is None:
        raise ServeError(f"there is no process {run} to serve the bundle for", "run again")
    with locked(place / "guard", START_SECONDS):
        (place / "runs" / mark).touch()
        with (place / "server").open("a") as holder:
            try:
                fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False  # it looks for runs under the guard before it ends, and sees this one
            try:
                server = Server(address, port, cache)
            except OSError as error:
                (place / "runs" / mark).unlink()
                raise _cannot_listen(address, port, error) from error
            if os.fork() == 0:
                _serve(server, place)  # with `holder`, and so the lock, for as long as it lives
            server.socket.close()
    return True


def _serve(server: Server, place: Path) -> t.NoReturn:
    try:
        os.setsid()
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        while True:
            time.sleep(1)
            server.end_overdue()
            if not runs_on(place):
                if not place.exists():
                    break
                with locked(place / "guard", START_SECONDS):
                    if not runs_on(place):  # none came meanwhile, and none comes before this process is gone
                        os._exit(0)
    finally:
        os._exit(1)


def _cannot_listen(address: str, port: int, error: OSError) -> ServeError:
    message = f"cannot serve the bundle at {address}:{port}: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        return ServeError(
            message,
            f"`ss -ltnp 'sport = :{port}'` shows who listens there: end it, or set cluster_bundle_port to a free port",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return ServeError(message, f"{address} is no address of this machine: correct or remove cluster_bundle_address")
    return ServeError(message, "set cluster_bundle_address and cluster_bundle_port to what this user may listen at")
