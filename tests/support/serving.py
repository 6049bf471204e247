# SPDX-License-Identifier: Apache-2.0
"""Servers of a test's own, for as long as it asks them."""

from __future__ import annotations

import contextlib
import socketserver
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

SomeServer = TypeVar("SomeServer", bound=socketserver.BaseServer)


@contextlib.contextmanager
def running(server: SomeServer) -> Iterator[SomeServer]:
    """Run a server, and close it in the end."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class HttpsServer:
    """A server on a free port of 127.0.0.1, with certificates in a folder."""

    def __init__(self, folder: Path, handler: type[BaseHTTPRequestHandler]) -> None:
        """Start it."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens, with the scheme."""
        return f"https://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
