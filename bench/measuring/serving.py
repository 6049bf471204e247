# SPDX-License-Identifier: Apache-2.0
"""How fast one control machine serves a bundle to many hosts, against a server that does nothing but send."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measuring import lab
from measuring.results import spread

HOSTS = 50
MEGABYTES = 32  # that each host downloads
PORT = 18080
ADDRESS = "127.0.0.1"
# As a module of a run on this machine does it.
SERVE = f"""
import pathlib, sys
import deployer  # lays out module_utils
from ansible.module_utils.yunkube.build.server import ensure_served
ensure_served(pathlib.Path(sys.argv[1]), {ADDRESS!r}, {PORT}, int(sys.argv[2]))
"""


def serve(repeat: int) -> dict[str, Any]:
    """Let 50 clients on this machine download one file each at once; in turns with a bare sendfile."""
    ours, bare, memory = [], [], []
    with tempfile.TemporaryDirectory(prefix="yunkube-bench-serve-") as folder:
        cache = Path(folder)
        content = os.urandom(MEGABYTES << 20)
        name = hashlib.sha256(content).hexdigest()
        files = cache / "bundles/one/files"
        files.mkdir(parents=True)
        (files / name).write_bytes(content)
        environment = os.environ | {"PYTHONPATH": str(lab.ROOT / "scripts")}
        subprocess.run([sys.executable, "-c", SERVE, folder, str(os.getpid())], check=True, timeout=60, env=environment)
        [server] = _listening()
        idle = _peak_memory(server)
        for _ in range(repeat):
            with _bare(files / name) as port:
                bare.append(_rate(port, b"", 0))
            ours.append(_rate(PORT, f"GET /{name} HTTP/1.1\r\nHost: bench\r\n\r\n".encode(), 1))
            memory.append(_peak_memory(server) - idle)
    pairs = [round(one / other, 2) for one, other in zip(ours, bare, strict=True)]
    return {
        "hosts": HOSTS,
        "megabytes": MEGABYTES,
        "rate": spread(ours),
        "bare": spread(bare),
        "ratio": spread(pairs),
        "memory_mb": max(memory),
    }


def _rate(port: int, request: bytes, heads: int) -> float:
    """Return megabytes a second of all clients together; each must get a whole file, after so many HTTP heads."""
    received: list[int] = []

    def download() -> None:
        with socket.create_connection((ADDRESS, port), timeout=60) as connection:
            connection.sendall(request)
            count = len(connection.recv(4096)) if heads else 0  # a head is shorter, and sent by itself
            while more := len(connection.recv(1 << 20)):
                count += more
        received.append(count)

    began = time.monotonic()
    _at_once(download)
    seconds = time.monotonic() - began
    if len(received) != HOSTS or min(received) < MEGABYTES << 20:
        raise lab.MeasureError(f"{len(received)} of {HOSTS} clients were served, the least with {min(received)} bytes")
    return round(HOSTS * MEGABYTES * 1.048576 / seconds, 1)


def _at_once(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(HOSTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def _bare(file: Path) -> Iterator[int]:
    """Send a file to everyone who connects, in a process of its own."""
    script = """
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print(listener.getsockname()[1], flush=True)
def send(connection):
    with connection, open(sys.argv[1], "rb") as stream:
        connection.sendfile(stream)
while True:
    threading.Thread(target=send, args=(listener.accept()[0],), daemon=True).start()
"""
    server = subprocess.Popen([sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()


def _listening() -> list[int]:
    """Return the processes that listen at the port."""
    said = subprocess.run(["ss", "-Hltnp", f"sport = :{PORT}"], check=True, capture_output=True, text=True).stdout
    return [int(pid) for pid in set(re.findall(r"pid=(\d+)", said))]


def _peak_memory(pid: int) -> int:
    """Return the most memory that a process had, in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) // 1024
