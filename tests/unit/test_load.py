# SPDX-License-Identifier: Apache-2.0
"""The load that updates are tried under counts what it should."""

from __future__ import annotations

import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import load
import pytest
from serving import running


class _Handler(BaseHTTPRequestHandler):
    """Answers; every fifth request in the way that its server is configured."""

    def do_GET(self) -> None:
        server = t.cast("_Server", self.server)
        server.asked += 1
        fault = server.fault if server.asked % 5 == 0 else ""
        if fault == "closed":
            return
        self.send_response(503 if fault == "refused" else 200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_arguments: t.Any) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    asked = 0
    fault = ""
    connections = 0

    def process_request(self, request: t.Any, client_address: t.Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)


@pytest.fixture
def server() -> t.Iterator[_Server]:
    with running(_Server(("127.0.0.1", 0), _Handler)) as server:
        yield server


@pytest.mark.parametrize(("fault", "lost"), [("", 0), ("refused", 4), ("closed", 4)])
def test_every_request_is_counted_on_a_connection_of_its_own(server: _Server, fault: str, lost: int) -> None:
    server.fault = fault
    seen = load.run(f"http://127.0.0.1:{server.server_port}/", 100, load.Load(0.2))
    assert (seen.sent, len(seen.lost), server.connections) == (20, lost, 20)
    assert seen.answers == ["hello"] * (20 - lost)
    assert f"20 sent, {lost} lost" in str(seen)


def test_it_lasts_from_before_what_is_done_meanwhile_until_after_it(server: _Server) -> None:
    with load.around(f"http://127.0.0.1:{server.server_port}/", 100, 0.1) as seen:
        before = seen.due
    assert 0 < before < seen.due == seen.sent == server.connections
    assert seen.due - before >= 9


def test_where_nothing_listens_all_are_lost() -> None:
    seen = load.run("http://127.0.0.1:9/", 100, load.Load(0.05))
    assert (seen.sent, len(seen.lost)) == (5, 5)
    assert "ConnectionRefusedError" in seen.lost[0]
