# SPDX-License-Identifier: Apache-2.0
"""When a Docker engine is available, and the message if none is."""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import subprocess
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
from ansible.module_utils.yunkube.build import system_packages
from ansible.module_utils.yunkube.docker import engine_start
from ansible.module_utils.yunkube.docker.engine import Docker, DockerError, socket_path
from serving import running

ROOT = Path(__file__).resolve().parents[2]

CASE = {
    "answer": "no answer",
    "forbidden": False,
    "elsewhere": False,
    "installed": False,
    "may_install": True,
    "root": True,
}


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({}, ""),
        ({"installed": True}, ""),
        ({"forbidden": True}, "no answer"),
        ({"elsewhere": True}, "no answer"),
        ({"may_install": False}, "There is no Docker engine here"),
        ({"installed": True, "root": False}, "no answer; start it: sudo systemctl start docker"),
    ],
)
def test_what_stands_in_the_way_is_said(case: dict[str, bool], message: str) -> None:
    assert engine_start.refusal(**{**CASE, **case}) == message  # type: ignore[arg-type]


def test_the_line_that_matters_is_found_in_the_log() -> None:
    log = 'level=info msg="up"\nfailed to start daemon: no space left\nlevel=info msg="bye"\n'
    assert engine_start.last_line(log) == "failed to start daemon: no space left"
    assert engine_start.last_line("") == "it wrote nothing"


def test_pid_files_of_processes_that_are_gone_or_others_are_removed(tmp_path: Path) -> None:
    for pid, program in {"10": "dockerd", "11": "bash"}.items():
        (tmp_path / "proc" / pid).mkdir(parents=True)
        (tmp_path / "proc" / pid / "comm").write_text(f"{program}\n")
    files = {str(tmp_path / name): "dockerd" for name in ("alive", "other", "gone", "missing")}
    for name, pid in {"alive": "10", "other": "11", "gone": "12"}.items():
        (tmp_path / name).write_text(pid)
    engine_start.forget_stale_pids(files, tmp_path / "proc")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["alive"]


def test_an_engine_elsewhere_is_refused() -> None:
    assert socket_path({}) == "/var/run/docker.sock"
    assert socket_path({"DOCKER_HOST": "unix:///run/user/1/docker.sock"}) == "/run/user/1/docker.sock"
    with pytest.raises(DockerError, match="unset it"):
        socket_path({"DOCKER_HOST": "tcp://build:2375"})


def test_missing_programs_are_named_with_their_packages() -> None:
    wanted = {"sh": ["dash"], "no-such-program": ["some-package"]}
    assert system_packages.missing(wanted) == {"no-such-program": ["some-package"]}


class Engine(http.server.BaseHTTPRequestHandler):
    """Speaks as an engine does."""

    def do_GET(self) -> None:  # the library's name
        ping = self.path == "/_ping"
        self._answer(200 if ping else 404, b"OK" if ping else b'{"message": "No such\\nimage"}\n')

    def do_POST(self) -> None:  # the library's name
        self._answer(200, b'{"status": "half"}\r\n{"error": "unexpected EOF"}\r\n')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the library's name
        """Log nothing."""

    def address_string(self) -> str:
        return "socket"


@pytest.fixture
def engine(tmp_path: Path) -> t.Iterator[Docker]:
    path = str(tmp_path / "docker.sock")
    with running(socketserver.ThreadingUnixStreamServer(path, Engine)):
        yield Docker(path)


def test_an_answer_that_something_is_missing_is_no_fault_where_it_may_be(engine: Docker) -> None:
    assert engine.find("/images/x/json") is None
    with pytest.raises(DockerError, match=r"^No such image$") as error:
        engine.get("/images/x/json")
    assert error.value.status == 404


def test_a_stream_that_ends_in_an_error_is_a_fault(engine: Docker) -> None:
    with pytest.raises(DockerError, match="unexpected EOF"):
        engine.post("/images/create", b"tar")


def test_an_engine_that_answers_before_it_has_all_is_heard(engine: Docker) -> None:
    with pytest.raises(DockerError, match="unexpected EOF"):
        engine.post("/images/create", bytes(32 << 20))  # more than the socket holds: it is closed before


# One of these at a time, as of the real one; it answers after a while.
DAEMON = """#!{python}
import http.server, os, socketserver, sys, time
try:
    os.close(os.open("{folder}/pid", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    sys.exit("failed to start daemon: another one is running")
class Engine(http.server.BaseHTTPRequestHandler):
    address_string = lambda self: "socket"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Length", "0")
        self.end_headers()
time.sleep(0.5)
server = socketserver.UnixStreamServer("{folder}/docker.sock", Engine)
server.timeout = 5
for _ in range(3):
    server.handle_request()
"""


# An engine outlives the run that starts it.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <function Popen:pytest.PytestUnraisableExceptionWarning")
def test_two_runs_that_start_the_engine_at_once_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = tmp_path / "dockerd"
    daemon.write_text(DAEMON.format(python=sys.executable, folder=tmp_path))
    daemon.chmod(0o755)
    monkeypatch.setattr(engine_start, "DEFAULT_SOCKET", str(tmp_path / "docker.sock"))
    monkeypatch.setattr(engine_start, "SYSTEMD", tmp_path / "none")
    monkeypatch.setattr(engine_start, "PID_FILES", {})
    monkeypatch.setattr(engine_start, "install", lambda *_: None)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    module = mock.Mock(params={"log_file": str(tmp_path / "dockerd.log"), "timeout_seconds": 10})
    module.get_bin_path.return_value = str(daemon)
    with ThreadPoolExecutor(2) as pool:
        started = [*pool.map(lambda _: engine_start.provide(module), range(2))]
    assert sorted(started) == [False, True]


def test_no_engine_is_said_with_its_socket(tmp_path: Path) -> None:
    with pytest.raises(DockerError, match=str(tmp_path)):
        Docker(str(tmp_path / "docker.sock"))


def test_down_of_a_cluster_that_was_never_made_starts_no_engine(tmp_path: Path) -> None:
    (tmp_path / "inventory/group_vars").mkdir(parents=True)
    hosts = {"masters": {"hosts": {"master1": {"ansible_host": "10.101.99.11"}}}, "nodes": {}}
    (tmp_path / "inventory/hosts.yml").write_text(json.dumps({"all": {"children": hosts}}))
    settings = f"cluster_name: never\ncluster_provider: docker\ncluster_state_dir: {tmp_path}/state\n"
    (tmp_path / "inventory/group_vars/all.yml").write_text(settings)
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", f"{tmp_path}/inventory", "playbooks/down.yml"]
    environment = {
        **os.environ,
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "1",
        "DOCKER_HOST": f"unix://{tmp_path}/none.sock",
    }
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    task = done.stdout.partition("Ensure that the Docker engine runs, if there is one]")[2].splitlines()[1]
    assert task == "skipping: [localhost]"
