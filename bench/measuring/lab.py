# SPDX-License-Identifier: Apache-2.0
"""A cluster to measure: hosts of its own beside every other cluster, and deploy.py run on it."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAME = "bench"
NETWORK = "10.84.0"


class MeasureError(Exception):
    """A measurement that could not be made."""


@dataclass(frozen=True)
class Run:
    """What one run of deploy.py told."""

    seconds: float
    cpu_seconds: float  # of the control machine's part, which other work on the machine changes less
    stages: dict[str, float]
    hosts: dict[str, dict[str, int]]
    tasks: list[tuple[str, float]] = field(repr=False)

    @property
    def changed(self) -> int:
        """How many tasks changed something, over all hosts."""
        return sum(host["changed"] for host in self.hosts.values())

    def slowest(self, count: int = 15) -> dict[str, float]:
        """Return the tasks that took most, `role/tasks/file: name`, and the time outside of any task."""
        top = dict(sorted(self.tasks, key=lambda task: -task[1])[:count])
        return {name: round(seconds, 2) for name, seconds in top.items()} | {"outside of tasks": self.outside}

    @property
    def outside(self) -> float:
        """Seconds in which no task ran: start of Ansible, of plays, the end."""
        return round(self.seconds - sum(seconds for _, seconds in self.tasks), 2)


@contextmanager
def cluster(nodes: int = 1) -> Iterator[Path]:
    """Give the inventory of a cluster that is not there yet; take the cluster away afterwards."""
    with tempfile.TemporaryDirectory(prefix="yunkube-bench-") as folder:
        inventory = Path(folder) / NAME
        shutil.copytree(ROOT / "inventory" / "docker", inventory)
        write_hosts(inventory, nodes)
        _rename(inventory / "group_vars" / "all")
        clear()
        try:
            yield inventory
        finally:
            clear()


# Ten hosts share the machine's inotify instances; a kubelet that looks for no static pods needs one less.
NODE_VARIABLES = {"node_patches": {"kubeletconfiguration": {"staticPodPath": ""}}}


def write_hosts(inventory: Path, nodes: int) -> None:
    """Write the hosts of the inventory: one master and so many nodes."""
    groups = {
        "masters": {"hosts": {"master1": {"ansible_host": f"{NETWORK}.11"}}},
        "nodes": {
            "hosts": {f"node{i}": {"ansible_host": f"{NETWORK}.{20 + i}"} for i in range(1, nodes + 1)},
            "vars": NODE_VARIABLES,
        },
    }
    (inventory / "hosts.yml").write_text(json.dumps({"all": {"children": groups}}))


def _rename(variables: Path) -> None:
    """Give the copied inventory its own name, state directory and subnet."""
    for path in variables.glob("*.yml"):
        text = path.read_text().replace("/yunkube/docker/", f"/yunkube/{NAME}/")
        path.write_text(text.replace("10.77.0.", f"{NETWORK}."))
    settings = variables / "cluster.yml"
    ours = "cluster_name|docker_hosts_subnet|dashboard_provider|cluster_registry_host"
    text = re.sub(rf"(?m)^({ours}):.*\n", "", settings.read_text())
    # What the floor has, and no more.
    mine = f"cluster_name: {NAME}\ndocker_hosts_subnet: {NETWORK}.0/24\ndashboard_provider: none\n"
    settings.write_text(f"{text}\n{mine}")


def clear() -> None:
    """Remove hosts, network and state, whatever way the last run ended."""
    label = f"label=yunkube.cluster={NAME}"
    for kind, remove in (("ps --all", "rm --force --volumes"), ("network ls", "network rm")):
        found = _docker(*kind.split(), "--quiet", "--filter", label).split()
        if found:
            _docker(*remove.split(), *found)
    shutil.rmtree(Path("~/.local/state/yunkube").expanduser() / NAME, ignore_errors=True)


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


def deploy(verb: str, inventory: Path, *arguments: str) -> Run:
    """Run a verb of deploy.py and time it from outside."""
    began, cpu = time.monotonic(), _cpu_seconds()
    command = [str(ROOT / "scripts" / "deploy.py"), verb, *arguments, "-i", str(inventory), "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    seconds = time.monotonic() - began
    events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    summary = events[-1] if events and events[-1]["type"] == "summary" else {}
    if done.returncode not in ((0, 5) if verb == "plan" else (0,)):
        causes = [f"{each['host']}: {each['task']}: {each['message']}" for each in summary.get("failures", [])]
        raise MeasureError(f"`{' '.join(command)}` ended with {done.returncode}: {'; '.join(causes) or done.stderr}")
    tasks = [(_place(event), float(event["seconds"])) for event in events if event["type"] == "task_ended"]
    stages = {stage["name"]: round(stage["seconds"], 2) for stage in summary["stages"]}
    return Run(round(seconds, 2), round(_cpu_seconds() - cpu, 2), stages, summary["hosts"], tasks)


def _cpu_seconds() -> float:
    """Return the processor time of all that was started from here and has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _place(event: dict[str, Any]) -> str:
    """Return `prepare_host/main.yml:12 Name of the task`."""
    path = re.sub(r"^.*/(?:roles|playbooks)/|/tasks(?=/)", "", event["path"])
    return f"{path} {event['name'].rpartition(' : ')[2]}"
