# SPDX-License-Identifier: Apache-2.0
"""A bundle server that misbehaves on request, and an entry of the manifest that it serves."""

from __future__ import annotations

import hashlib
import http.server
import threading
import typing as t
from pathlib import Path

CONTENT = b"\x7fELF program" * 1000


class Web(http.server.ThreadingHTTPServer):
    """A bundle server that misbehaves on request."""

    def __init__(self) -> None:
        """Serve CONTENT by its digest."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {digest(CONTENT): CONTENT}
        self.asked: list[str] = []
        self.cut_after: int | None = None
        self.falls_silent = False  # where it cuts
        self.knows_ranges = True
        self.sent = 0
        self.together: threading.Barrier | None = None
        self.damaged_answers = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with a file whole, damaged or cut short."""

    server: Web

    def do_GET(self) -> None:
        """Send what was asked for."""
        name = self.path.strip("/")
        self.server.asked.append(name)
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        if self.server.together:
            self.server.together.wait()
        if self.server.damaged_answers:
            self.server.damaged_answers -= 1
            content = b"?" + content[1:]
        asked = self.headers["Range"] if self.server.knows_ranges else None
        content = content[int((asked or "bytes=0-")[6:-1]) :]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.server.sent += len(content[: self.server.cut_after])  # before the other side can look
        self.wfile.write(content[: self.server.cut_after])
        if self.server.falls_silent:
            self.rfile.read(1)  # until the other side has enough of it

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Log nothing."""


def digest(content: bytes) -> str:
    """Return the sha256."""
    return hashlib.sha256(content).hexdigest()


def program(path: Path, **given: t.Any) -> dict[str, t.Any]:
    """An entry of the manifest."""
    entry = {"name": path.name, "version": "1", "kind": "kubernetes", "path": str(path), "mode": "0755"}
    return entry | {"sha256": digest(CONTENT), "size": len(CONTENT)} | given
