# SPDX-License-Identifier: Apache-2.0
"""The server serves bundle files by their digest, nothing else, and only while a run needs it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.build import server as bundle_server
from ansible.module_utils.yunkube.build.server import (
    ServeError,
    Server,
    ensure_served,
    listening_addresses,
    own_address_to,
    process_mark,
)
from serving import running

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"image" * 100_000
NAME = hashlib.sha256(CONTENT).hexdigest()
# Serve the bundle for a process, as a module on this machine does; print the address of a refusal's remedy.
SERVE = f"""
import pathlib, sys, ansible.module_utils
ansible.module_utils.__path__.append({str(ROOT / "module_utils")!r})
from ansible.module_utils.yunkube.build.server import ensure_served
cache, address, port, run = sys.argv[1:]
print(ensure_served(pathlib.Path(cache), address, int(port), int(run)))
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with one bundle of one file, and what must not be served."""
    files = tmp_path / "bundles/one/files"
    files.mkdir(parents=True)
    (files / NAME).write_bytes(CONTENT)
    (tmp_path / "bundles/one/manifest.json").write_text("{}")
    (tmp_path / "secret").write_text("secret")
    return tmp_path


@pytest.fixture
def server(cache: Path) -> Iterator[Server]:
    """A running server."""
    with running(Server("127.0.0.1", 0, cache)) as server:
        yield server


@pytest.fixture
def port(server: Server) -> int:
    """The port of a running server."""
    return server.server_port


def ask(port: int, path: str, method: str = "GET", address: str = "127.0.0.1") -> tuple[int, bytes]:
    """Return status and body."""
    connection = http.client.HTTPConnection(address, port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    status, body = answer.status, answer.read()
    connection.close()
    return status, body


def test_fifty_hosts_at_once_get_every_byte(port: int) -> None:
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: ask(port, f"/{NAME}"), range(50)))
    assert {(status, hashlib.sha256(body).hexdigest()) for status, body in answers} == {(200, NAME)}


def test_a_file_is_served_by_its_digest(port: int) -> None:
    assert ask(port, f"/{NAME}") == (200, CONTENT)


@pytest.mark.parametrize(
    "path",
    ["/", "/" + "0" * 64, "/manifest.json", "/../../secret", f"/one/files/{NAME}", "/%2e%2e/secret", f"/{NAME[:-1]}*"],
)
def test_nothing_else_is_served(port: int, path: str) -> None:
    assert ask(port, path) == (404, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_is_taken(port: int, method: str) -> None:
    assert ask(port, f"/{NAME}", method)[0] == 501


def test_a_stranger_learns_nothing_of_this_machine(port: int, cache: Path) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    told = f"{answer.headers}{answer.read()!r}"
    connection.close()
    assert "b'ok\\n'" in told
    for secret in (str(cache), str(os.getpid()), "Python"):
        assert secret not in told


def test_who_says_nothing_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_server, "REQUEST_SECONDS", -1.0)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as mute:
        wait_until(lambda: len(server.deadlines) == 1)
        server.end_overdue()
        assert mute.recv(1) == b""
    wait_until(lambda: not server.deadlines)


def test_who_reads_slower_than_allowed_is_cut_off(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = b"x" * (64 << 20)  # more than the kernel keeps for who does not read
    name = hashlib.sha256(large).hexdigest()
    (cache / "bundles/one/files" / name).write_bytes(large)
    monkeypatch.setattr(bundle_server, "BLOCK_SECONDS", -1.0)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as slow:
        slow.sendall(f"GET /{name} HTTP/1.1\r\n\r\n".encode())
        assert slow.recv(12) == b"HTTP/1.1 200"
        server.end_overdue()
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while block := slow.recv(1 << 20):
                received += len(block)
    assert received < len(large)


def test_who_reads_slowly_and_steadily_is_given_more_time(server: Server, cache: Path) -> None:
    large = b"x" * (64 << 20)
    name = hashlib.sha256(large).hexdigest()
    (cache / "bundles/one/files" / name).write_bytes(large)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as slow, slow.makefile("rb") as answer:
        slow.sendall(f"GET /{name} HTTP/1.1\r\n\r\n".encode())
        deadlines = []
        for _ in range(3):
            assert len(answer.read(16 << 20)) == 16 << 20
            deadlines.append(max(server.deadlines.values()))
    assert deadlines == sorted(set(deadlines))


@pytest.mark.parametrize(
    ("asked", "status", "first"),
    [
        ("bytes=7-", 206, 7),
        ("bytes=0-", 200, 0),
        ("bytes=7-9", 200, 0),
        ("bytes=-7", 200, 0),
        ("bytes=500000-", 200, 0),
    ],
)
def test_a_download_that_was_cut_off_goes_on(port: int, asked: str, status: int, first: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", f"/{NAME}", headers={"Range": asked})
    answer = connection.getresponse()
    told = f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}" if first else None
    assert (answer.status, answer.getheader("Content-Range"), answer.read()) == (status, told, CONTENT[first:])
    connection.close()


def test_no_more_threads_run_than_allowed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_server, "CONNECTIONS", 2)
    server = Server("127.0.0.1", 0, cache)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    mute = [socket.create_connection(("127.0.0.1", server.server_port), timeout=10) for _ in range(5)]
    wait_until(lambda: len(server.deadlines) == 2)
    for connection in mute:  # the others wait, and their turn comes
        connection.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert [connection.recv(12) for connection in mute] == [b"HTTP/1.1 200"] * 5
    for connection in mute:
        connection.close()
    server.shutdown()
    thread.join()
    server.server_close()


# -- for as long as a run goes on -----------------------------------------------------------------


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(cache: Path, port: int, run: int, address: str = "127.0.0.1") -> str:
    """Ask for a server in a process of its own, as a module does; return what it says."""
    argv = [sys.executable, "-c", SERVE, str(cache), address, str(port), str(run)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def answers(port: int) -> bool:
    """Say whether a program listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait for what must happen soon."""
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        time.sleep(0.02)


@pytest.fixture
def runs() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes that go on, as two runs."""
    processes = [subprocess.Popen(["sleep", "300"]) for _ in range(2)]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_one_server_serves_all_runs_of_a_cache_and_ends_with_the_last(
    cache: Path, runs: list[subprocess.Popen[bytes]]
) -> None:
    port = free_port()
    assert serve(cache, port, runs[0].pid) == "True"
    assert serve(cache, port, runs[1].pid) == "False"
    assert ask(port, f"/{NAME}") == (200, CONTENT)
    first = cache / f"serve/127.0.0.1-{port}/runs" / str(process_mark(runs[0].pid))
    assert first.exists()
    runs[0].kill()  # without a word, as by the kernel
    wait_until(lambda: not first.exists())
    time.sleep(2.5)  # longer than it takes to see that nobody needs it
    assert ask(port, f"/{NAME}") == (200, CONTENT)
    runs[1].kill()
    runs[1].wait()
    wait_until(lambda: not answers(port))
    assert list((cache / f"serve/127.0.0.1-{port}/runs").iterdir()) == []


def test_a_server_that_was_killed_is_started_again(cache: Path, runs: list[subprocess.Popen[bytes]]) -> None:
    port = free_port()
    assert serve(cache, port, runs[0].pid) == "True"
    listing = subprocess.run(["ss", "-ltnpH", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    os.kill(int(listing.partition("pid=")[2].partition(",")[0]), signal.SIGKILL)
    wait_until(lambda: not answers(port))
    assert serve(cache, port, runs[0].pid) == "True"
    assert ask(port, f"/{NAME}") == (200, CONTENT)


def test_a_server_ends_when_the_cache_is_deleted(cache: Path, runs: list[subprocess.Popen[bytes]]) -> None:
    port = free_port()
    assert serve(cache, port, runs[0].pid) == "True"
    (cache / "serve").rename(cache / "gone")
    wait_until(lambda: not answers(port))


def test_another_cache_has_a_server_of_its_own_at_another_address(
    cache: Path, tmp_path: Path, runs: list[subprocess.Popen[bytes]]
) -> None:
    port = free_port()
    assert serve(cache, port, runs[0].pid) == "True"
    assert serve(tmp_path / "other", port, runs[1].pid, "127.0.0.2") == "True"
    assert ask(port, f"/{NAME}") == (200, CONTENT)
    assert ask(port, f"/{NAME}", address="127.0.0.2") == (404, b"")


def test_a_taken_port_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        with pytest.raises(ServeError, match=rf"cannot serve the bundle at 127\.0\.0\.1:{port}: Address") as refused:
            ensure_served(tmp_path, "127.0.0.1", port, os.getpid())
    assert "set cluster_bundle_port" in refused.value.remedy
    assert f"ss -ltnp 'sport = :{port}'" in refused.value.remedy


def test_an_address_of_another_machine_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"cannot serve the bundle at 192\.0\.2\.1:") as refused:
        ensure_served(tmp_path, "192.0.2.1", free_port(), os.getpid())
    assert refused.value.remedy == "192.0.2.1 is no address of this machine: correct or remove cluster_bundle_address"


def test_it_listens_at_the_addresses_that_hosts_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listening_addresses("", ["127.0.0.1", "127.0.0.5"]) == ["127.0.0.1"]
    assert listening_addresses("10.0.0.1", ["127.0.0.1"]) == ["10.0.0.1"]
    assert own_address_to("no such host") is None
    monkeypatch.setattr(bundle_server, "own_address_to", lambda _host: None)
    with pytest.raises(ServeError) as refused:
        listening_addresses("", ["alias-of-ssh"])
    assert refused.value.remedy == "set cluster_bundle_address to that address"


def test_a_process_that_has_ended_is_no_run() -> None:
    assert (process_mark(os.getpid()) or "").startswith(f"{os.getpid()}-")
    ended = subprocess.Popen(["true"])
    wait_until(lambda: process_mark(ended.pid) is None)  # also before anybody waited for it
    ended.wait()
    assert process_mark(ended.pid) is None
