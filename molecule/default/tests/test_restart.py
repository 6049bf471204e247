# SPDX-License-Identifier: Apache-2.0
"""What goes down comes back by itself, as the node that it was."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
from pathlib import Path

from scenario import PROJECT, Cluster, eventually, full

testinfra_hosts = ["local://"]


def time_of(text: str) -> dt.datetime:
    """Read a time of the API."""
    return dt.datetime.fromisoformat(text)


def is_back(cluster: Cluster, host: str, since: dt.datetime) -> bool:
    """Say whether the node reported Ready and all its pods started again since then."""
    node = cluster.get("node", host)
    ready = next(condition for condition in node["status"]["conditions"] if condition["type"] == "Ready")
    pods = cluster.get("pods", "--all-namespaces", f"--field-selector=spec.nodeName={host}")["items"]
    states = [status for pod in pods for status in pod["status"]["containerStatuses"]]
    return (
        ready["status"] == "True"
        and time_of(ready["lastHeartbeatTime"]) >= since
        and len(states) >= 2
        and all(state["ready"] and time_of(state["state"]["running"]["startedAt"]) >= since for state in states)
    )


def now() -> dt.datetime:
    """The API counts whole seconds."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def test_a_restarted_node_comes_back_by_itself(cluster: Cluster) -> None:
    since = now()
    argv = ["docker", "restart", "--time", "20", cluster.container("node2")]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    eventually(lambda: is_back(cluster, "node2", since), 120, "node2 is Ready and its pods run")


@full
def test_a_restart_of_the_engine_brings_every_host_back(cluster: Cluster) -> None:
    since = now()
    if Path("/run/systemd/system").exists():
        subprocess.run(["systemctl", "restart", "docker"], check=True, timeout=120)
    else:
        engine = int(subprocess.run(["pidof", "dockerd"], capture_output=True, check=True).stdout.split()[0])
        os.kill(engine, signal.SIGTERM)
        eventually(lambda: not Path(f"/proc/{engine}").exists(), 60, "the engine ended")
        module = ["-m", "docker_engine", "-a", "log_file=/tmp/dockerd-after-restart.log"]
        argv = [".venv/bin/ansible", "localhost", "-c", "local", "-e", "ansible_python_interpreter=/usr/bin/python3"]
        subprocess.run([*argv, *module], cwd=PROJECT, check=True, capture_output=True, timeout=120)
    eventually(lambda: all(is_back(cluster, host, since) for host in cluster.hosts), 300, "all are Ready, all pods run")
