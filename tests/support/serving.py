"""Servers of a test's own, for as long as it asks them."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from typing import TypeVar

SomeServer = TypeVar("SomeServer", bound=socketserver.BaseServer)


@contextlib.contextmanager
def running(server: SomeServer) -> Iterator[SomeServer]:
    """Let a server answer, and close it in the end."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
