#!/usr/bin/python
"""Serve the bundles of this machine's cache to hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_serve
short_description: Serve the files of the bundles over HTTP
description:
  - Starts a server process where none answers yet; it ends by itself after O(idle_seconds) without a request.
  - It serves files of C(<cache>/bundles/*/files) by their sha256 and nothing else, to whoever asks, and takes nothing.
author: [The maintainers]
options:
  cache: {description: The cache that holds C(bundles/), type: path, required: true}
  address: {description: Address to listen at, type: str, default: 0.0.0.0}
  port: {description: TCP port, type: int, default: 8742}
  idle_seconds: {description: How long without a request until it ends, type: int, default: 600}
attributes:
  check_mode: {support: full, details: [Starts nothing.]}
"""
RETURN = r"""
pid: {description: Process of the server, returned: when one runs, type: int}
"""

import errno
import http.client
import http.server
import json
import os
import re
import threading
import time
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.bundle_server import who_serves


class Server(http.server.ThreadingHTTPServer):
    """One thread a request."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], cache: Path) -> None:
        """Listen at `address` for files of `cache`."""
        self.cache = cache
        self.last = time.monotonic()
        self.busy = 0
        super().__init__(address, Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET /<sha256>, and GET /healthz with who serves what."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Send one file."""
        self.server.last = time.monotonic()
        name = self.path.strip("/")
        if name == "healthz":
            body = json.dumps({"cache": str(self.server.cache), "pid": os.getpid()}).encode()
            self._head(200, len(body))
            self.wfile.write(body)
            return
        found = self.server.cache.glob(f"bundles/*/files/{name}") if re.fullmatch("[0-9a-f]{64}", name) else iter(())
        path = next(found, None)
        if path is None:
            self._head(404, 0)
            return
        with path.open("rb") as stream:
            self._head(200, os.fstat(stream.fileno()).st_size)
            self.wfile.flush()
            self.server.busy += 1
            try:
                self.connection.sendfile(stream)
            finally:
                self.server.busy -= 1
                self.server.last = time.monotonic()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()


def serve(server: Server, idle_seconds: int) -> t.NoReturn:
    """Serve as a daemon until nobody has asked for a while."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while server.busy or time.monotonic() - server.last < idle_seconds:
        time.sleep(1)
    os._exit(0)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "cache": {"type": "path", "required": True},
            "address": {"type": "str", "default": "0.0.0.0"},  # noqa: S104 - hosts come from anywhere
            "port": {"type": "int", "default": 8742},
            "idle_seconds": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    address, port, cache = module.params["address"], module.params["port"], Path(module.params["cache"])
    # A server that runs is no change of anything that lasts: changed stays false.
    said = who_serves(address, port)
    if said is not None:
        if said.get("cache") != str(cache):
            other = f"another server, of {said['cache']}" if said else "another program"
            module.fail_json(msg=f"{address}:{port} is taken by {other}: set cluster_bundle_port", kind="config")
        module.exit_json(changed=False, pid=said["pid"])
    if module.check_mode:
        module.exit_json(changed=False)
    try:
        server = Server((address, port), cache)
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
            said = who_serves(address, port)  # two runs at once: the other was quicker
            if said and said.get("cache") == str(cache):
                module.exit_json(changed=False, pid=said["pid"])
        module.fail_json(msg=f"cannot serve the bundle at {address}:{port}: {error.strerror}", kind="config")
    pid = os.fork()
    if pid == 0:
        serve(server, module.params["idle_seconds"])
    module.exit_json(changed=False, pid=pid)


if __name__ == "__main__":
    main()
