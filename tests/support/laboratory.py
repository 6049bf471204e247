# SPDX-License-Identifier: Apache-2.0
"""A cluster that things are done to: hosts in Docker, deploy.py as a user runs it, and ways to break both."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "yunkube"
Json = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What a run of deploy.py came to."""

    code: int
    events: list[Json]
    errors: str

    @property
    def summary(self) -> Json:
        """The last event, empty when there was no run."""
        return self.events[-1] if self.events and self.events[-1]["type"] == "summary" else {}

    @property
    def failures(self) -> list[Json]:
        """What failed in the end."""
        return list(self.summary.get("failures", []))

    @property
    def faults(self) -> str:
        """Every fault of every failure, a line each."""
        found = [fault for failure in self.failures for fault in failure["faults"]]
        return "\n".join(f"{fault['where']}: {fault['message']}; {fault['remedy']}" for fault in found)

    @property
    def changed(self) -> dict[str, int]:
        """How much was changed on each host."""
        return {host: count["changed"] for host, count in self.summary["hosts"].items()}


def docker(*arguments: str, check: bool = True) -> str:
    """Return what docker prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def run_module(name: str, options: Json) -> None:
    """Run a module on the control machine."""
    argv = [str(ROOT / ".venv/bin/ansible"), "localhost", "-m", name, "-a", json.dumps(options)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def start_engine() -> None:
    """Start Docker's engine where it does not run, as after a restart of the machine."""
    run_module("docker_engine", {"install": False, "log_file": str(CACHE / "logs/dockerd.log")})


def host_image(distribution: str = "debian12") -> str:
    """Start the engine, install it where it is missing, and build the image of the lab's hosts; return its name."""
    argv = [str(ROOT / ".venv/bin/ansible"), "localhost", "-i", str(ROOT / "inventory/docker")]
    argv += ["-m", "include_role", "-a", "name=docker_hosts tasks_from=image.yml", "-e", f"cluster_cache_dir={CACHE}"]
    argv += ["-e", f"docker_hosts_distribution={distribution}"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"image: (\S+)", done.stdout)
    assert found, done.stdout
    return found[1]


@dataclass
class Lab:
    """The inventory of one cluster, and its hosts."""

    inventory: Path
    name: str
    network: str  # the first three bytes of its /24

    @classmethod
    def at(cls, folder: Path, name: str, network: str, masters: int = 1, nodes: int = 1, settings: str = "") -> Lab:
        """Copy the inventory that users start from, under a name and on a network of this test's own."""
        lab = cls(folder / "inventory", name, network)
        shutil.copytree(ROOT / "inventory/docker", lab.inventory)
        for file in lab.inventory.rglob("*.yml"):
            text = file.read_text().replace("10.77.0.", f"{network}.").replace("yunkube/docker/", f"yunkube/{name}/")
            text = text.replace("cluster_name: docker", f"cluster_name: {name}")
            file.write_text(re.sub(r"(?m)^(dashboard_provider|cluster_registry_host):.*\n", "", text))
        lab.write(f"docker_hosts_subnet: {network}.0/24\n{settings}")
        if "dashboard_provider" not in settings:  # what is no matter of most tests costs them no time
            lab.write("dashboard_provider: none\n")
        lab.declare(masters, nodes)
        return lab

    @property
    def state(self) -> Path:
        """What the control machine keeps for the cluster."""
        return Path("~/.local/state/yunkube").expanduser() / self.name

    @property
    def gateway(self) -> str:
        """The control machine, as the hosts see it."""
        return f"{self.network}.1"

    @property
    def bundle(self) -> Path:
        """The bundle that the hosts install from, once it was made."""
        return (self.state / "bin").resolve().parent

    def containers(self) -> set[str]:
        """Return the names of everything that is called like a host of this cluster."""
        return set(docker("ps", "--all", "--filter", f"name=^yunkube-{self.name}-", "--format", "{{.Names}}").split())

    def declare(self, masters: int, nodes: int) -> None:
        """Write hosts.yml: master1, master2, ... at .11 and on, node1, node2, ... at .21 and on."""

        def group(kind: str, count: int, first: int) -> Json:
            hosts = {
                f"{kind}{number}": {"ansible_host": f"{self.network}.{first + number}"}
                for number in range(1, count + 1)
            }
            return {"hosts": hosts}

        children = {"masters": group("master", masters, 10), "nodes": group("node", nodes, 20)}
        (self.inventory / "hosts.yml").write_text(json.dumps({"all": {"children": children}}, indent=1))

    def write(self, text: str) -> None:
        """Append to cluster.yml."""
        with (self.inventory / "group_vars/all/cluster.yml").open("a") as stream:
            stream.write(text)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Return what the bundle's kubectl prints."""
        argv = [str(self.bundle / "bin/kubectl"), "--kubeconfig", str(self.state / "kubeconfig"), *arguments]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def argv(self, verb: str, **variables: str) -> list[str]:
        """Return the command line of a run."""
        extra = [part for name, value in variables.items() for part in ("-e", f"{name}={value}")]
        return [str(ROOT / "scripts/deploy.py"), *verb.split(), "-i", str(self.inventory), "--json", *extra]

    def deploy(self, verb: str, *options: str, seconds: int = 600, **variables: str) -> Result:
        """Run deploy.py to its end."""
        argv = [*self.argv(verb, **variables), *options]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds)
        return Result(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)

    def kill_when(self, happened: Callable[[], bool], seconds: int = 180, verb: tuple[str, ...] = ("up",)) -> None:
        """Run a verb and kill it, with all that it started, as soon as something has happened."""
        assert not happened(), "it had happened before"
        process = subprocess.Popen(
            [*self.argv(verb[0]), *verb[1:]],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + seconds
            while not happened():
                assert process.poll() is None, f"{verb[0]} ended with {process.returncode} before it could be killed"
                assert time.monotonic() < deadline, "what was waited for did not happen"
                time.sleep(0.05)
        finally:
            kill(process)

    def disturbed(
        self, tasks: int, disturb: Callable[[subprocess.Popen[str]], None], seconds: int = 300
    ) -> tuple[str, int]:
        """Run `up`, call `disturb` when so many tasks have begun; return the last one's name and the exit code.

        A run of fewer tasks ends undisturbed, and the name is empty.
        """
        process = subprocess.Popen(
            self.argv("up"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, text=True
        )
        assert process.stdout is not None
        name = ""
        begun = 0
        with process, killing_after(process, seconds):
            for line in process.stdout:
                event = json.loads(line)
                begun += event["type"] == "task_started"
                if begun == tasks and not name:
                    name = str(event["name"])
                    disturb(process)
        return name, process.returncode

    def clear(self) -> None:
        """Remove what this run or a killed one left, whichever id it had; a lab's name is the tests' own."""
        if shutil.which("docker"):
            if not docker("info", "--format", "{{.ID}}", check=False):
                start_engine()
            if containers := self.containers():
                docker("rm", "--force", "--volumes", *containers)
            if docker("network", "ls", "--quiet", "--filter", f"name=^yunkube-{self.name}$"):
                docker("network", "rm", f"yunkube-{self.name}")
        for trusted in Path("/etc/docker/certs.d").glob(f"*/yunkube-{self.name}.crt"):  # by a push of an image
            trusted.unlink()
        shutil.rmtree(self.state, ignore_errors=True)

    def make_hosts(self, **variables: str) -> None:
        """Create bare hosts."""
        argv = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(self.inventory), str(ROOT / "playbooks/hosts.yml")]
        extra = [part for name, value in variables.items() for part in ("-e", f"{name}={value}")]
        done = subprocess.run([*argv, *extra], cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, host: str, script: str, *options: str) -> str:
        """Run a shell's script on a host, past SSH; return what it prints."""
        return docker("exec", *options, f"yunkube-{self.name}-{host}", "sh", "-c", script)

    def fingerprints(self, hosts: Iterable[str], *left_out: str) -> dict[str, Json]:
        """Return what several hosts are, asked side by side."""
        with ThreadPoolExecutor() as pool:
            asked = {host: pool.submit(self.fingerprint, host, *left_out) for host in hosts}
        return {host: future.result() for host, future in asked.items()}

    def fingerprint(self, host: str, *left_out: str) -> Json:
        """Return all that a host is, as it says itself, but for files whose paths begin like these."""
        argv = ["docker", "exec", "--interactive", f"yunkube-{self.name}-{host}", "python3", "-", *left_out]
        script = (ROOT / "tests/support/fingerprint.py").read_text()
        done = subprocess.run(argv, input=script, capture_output=True, text=True, check=True, timeout=120)
        found: Json = json.loads(done.stdout)
        return found

    def succeeds(self, host: str, script: str) -> bool:
        """Say whether a shell's script succeeds on a host."""
        argv = ["docker", "exec", f"yunkube-{self.name}-{host}", "sh", "-c", script]
        return subprocess.run(argv, capture_output=True, check=False, timeout=60).returncode == 0


def differences(before: Json, after: Json) -> list[str]:
    """Return in which ways a host's fingerprint is another one, a line each."""
    lines = []
    for key in before:
        if isinstance(before[key], dict):
            names = [name for name in {**before[key], **after[key]} if before[key].get(name) != after[key].get(name)]
            lines += [f"{key} {name}: {before[key].get(name)} -> {after[key].get(name)}" for name in names]
        else:
            lines += [f"{key} gone: {entry}" for entry in before[key] if entry not in after[key]]
            lines += [f"{key} new: {entry}" for entry in after[key] if entry not in before[key]]
    return lines


def kill(process: subprocess.Popen[Any]) -> None:
    """Kill a process with all that it started, as a crash would."""
    for pid in [process.pid, *descendants(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def killing_after(process: subprocess.Popen[Any], seconds: float) -> Iterator[None]:
    """Kill a process that has not ended after so long."""
    timer = threading.Timer(seconds, kill, [process])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they started."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


class BundleServer(http.server.ThreadingHTTPServer):
    """Serves the bundle on the hosts' network, and misbehaves on request."""

    daemon_threads = True

    def __init__(self, files: Path, address: str) -> None:
        """Serve files by their names, which are their digests."""
        super().__init__((address, 0), _Handler)
        self.files = files
        self.damaged: set[str] = set()
        self.bytes_left = 1 << 60
        self.gone = threading.Event()
        self.asked = threading.Event()
        self.open = threading.Event()
        self.open.set()

    @property
    def url(self) -> str:
        """Where hosts find it."""
        return f"http://{self.server_address[0]!s}:{self.server_port}"

    def verify_request(self, request: object, client_address: object) -> bool:
        """Answer no request any more once it is gone."""
        del request, client_address
        return not self.gone.is_set()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: BundleServer

    def do_GET(self) -> None:
        """Send a file: whole, with one byte changed, or until the server is gone."""
        self.server.asked.set()
        self.server.open.wait()
        path = self.server.files / self.path.strip("/")
        self.send_response(200)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        with path.open("rb") as stream, contextlib.suppress(ConnectionError):
            if path.name in self.server.damaged:
                self.wfile.write(bytes([stream.read(1)[0] ^ 1]))
            while block := stream.read(1 << 20):
                self.server.bytes_left -= len(block)
                if self.server.bytes_left < 0:
                    self.server.gone.set()
                    return
                self.wfile.write(block)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Log nothing."""


@contextlib.contextmanager
def serving(lab: Lab) -> Iterator[BundleServer]:
    """Run a server of the lab's bundle on its network; nothing here writes to the bundle."""
    with BundleServer(lab.bundle / "files", lab.gateway) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield server
        finally:
            server.open.set()
            server.shutdown()
            thread.join()
