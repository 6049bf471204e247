"""The server gives files of bundles by their digest, to whoever asks, and nothing else."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.yunkube.bundle_server import who_serves
from bundle_serve import Server

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"image" * 100_000
# Run a module with the project's module_utils in place.
AS_ANSIBLE_DOES = f"""
import runpy, sys, ansible.module_utils
ansible.module_utils.__path__.append({str(ROOT / "module_utils")!r})
runpy.run_path(sys.argv.pop(), run_name="__main__")
"""
NAME = hashlib.sha256(CONTENT).hexdigest()


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
def port(cache: Path) -> Iterator[int]:
    """The port of a running server."""
    server = Server(("127.0.0.1", 0), cache)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def ask(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    status, body = answer.status, answer.read()
    connection.close()
    return status, body


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


def test_it_says_whose_files_it_serves(port: int, cache: Path) -> None:
    said = who_serves("127.0.0.1", port)
    assert said is not None
    assert said["cache"] == str(cache)


def test_an_empty_port_and_a_stranger_are_told_apart() -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        port = stranger.getsockname()[1]
        assert who_serves("127.0.0.1", port) is None
        stranger.listen()

        def hang_up() -> None:
            stranger.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert who_serves("127.0.0.1", port) == {}
        thread.join()


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(cache: Path, port: int, idle_seconds: int = 60, **more: bool) -> dict[str, Any]:
    """Run the module as Ansible does on this machine, and return what it answers."""
    options = {"cache": str(cache), "address": "127.0.0.1", "port": port, "idle_seconds": idle_seconds} | more
    done = subprocess.run(
        [sys.executable, "-c", AS_ANSIBLE_DOES, ROOT / "library/bundle_serve.py"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_check_starts_nothing(cache: Path) -> None:
    port = free_port()
    assert run(cache, port, _ansible_check_mode=True)["changed"] is False
    assert who_serves("127.0.0.1", port) is None


def test_it_runs_once_and_outlives_who_started_it(cache: Path) -> None:
    port = free_port()
    started = run(cache, port)
    try:
        assert run(cache, port)["pid"] == started["pid"]
        assert ask(port, f"/{NAME}") == (200, CONTENT)
        refused = run(cache / "bundles", port)
        assert refused["kind"] == "config"
        assert refused["msg"].endswith(f"another server, of {cache}: set cluster_bundle_port")
    finally:
        os.kill(started["pid"], signal.SIGTERM)


def test_it_ends_when_nobody_asks_any_more(cache: Path) -> None:
    pid = run(cache, free_port(), idle_seconds=1)["pid"]
    deadline = time.monotonic() + 20
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    if runs(pid):
        os.kill(pid, signal.SIGTERM)
        pytest.fail("it still ran after 20 s")


def runs(pid: int) -> bool:
    """Say whether a process is there, and not only waiting to be buried."""
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()
