# SPDX-License-Identifier: Apache-2.0
"""What is measured. Each function does one measurement and returns its result."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import demo_image
import load
import yaml
from machine_image import Recipe, image
from virtual_machine import acceleration

from measuring import lab
from measuring.results import spread
from measuring.serving import serve

FLOOR = lab.ROOT / "bench" / "floor"
PLAYBOOK = lab.ROOT / ".venv" / "bin" / "ansible-playbook"
OWN_MODULES = {path.stem for part in ("library", "plugins/action") for path in lab.ROOT.glob(f"{part}/*.py")}
Result = dict[str, Any]
# Hosts that are there when one more comes. Ten of them use up the machine's inotify instances (128).
ADDED_TO = (2, 5, 8)
WEB_PORT = 31111
FROM_TO = ("1.36.5", "1.37.2")  # the releases of an upgrade; both have a bundle
JUDGED = 40  # seconds after which the doctor judges the network of hosts whose pods have just started


def up(repeat: int) -> Result:
    """Bare hosts to a proved cluster, against the floor; in turns, so that both meet the same machine."""
    floors: list[dict[str, float]] = []
    runs: list[lab.Run] = []
    for _ in range(repeat):
        floors.append(_floor())
        runs.append(_cold_up())
    pairs = [run.seconds / floor["total"] for run, floor in zip(runs, floors, strict=True)]
    return {
        "up": spread([run.seconds for run in runs]),
        "floor": spread([floor["total"] for floor in floors]),
        "ratio": spread([round(ratio, 2) for ratio in pairs]),
        "floor_steps": floors[-1],
        **_profile(runs),
    }


def floor_http(repeat: int) -> Result:
    """Measure the floor with artifacts fetched over HTTP: what would be left if Ansible cost nothing."""
    floors = [_floor("--http") for _ in range(repeat)]
    return {"floor": spread([floor["total"] for floor in floors]), "floor_steps": floors[-1]}


def scale(repeat: int) -> Result:
    """One more node, in turns."""
    pairs = [(_cold_up(1), _cold_up(2)) for _ in range(repeat)]
    return {
        "one": spread([one.seconds for one, _ in pairs]),
        "two": spread([two.seconds for _, two in pairs]),
        "ratio": spread([round(two.seconds / one.seconds, 2) for one, two in pairs]),
        **_profile([two for _, two in pairs]),
    }


def noop(repeat: int) -> Result:
    """A second `up`, and `plan`, on a cluster to which there is nothing to do."""
    with lab.cluster() as inventory:
        lab.deploy("up", inventory)
        ups = [lab.deploy("up", inventory) for _ in range(repeat)]
        plans = [lab.deploy("plan", inventory) for _ in range(repeat)]
    return {
        "up": spread([run.seconds for run in ups]),
        "plan": spread([run.seconds for run in plans]),
        "changed": {"up": max(run.changed for run in ups), "plan": max(run.changed for run in plans)},
        **_profile(ups),
    }


def doctor(repeat: int) -> Result:
    """`doctor` of a healthy cluster of three hosts, once it judges their network."""
    with lab.cluster(2) as inventory:
        lab.deploy("up", inventory)
        time.sleep(JUDGED)
        runs = [lab.deploy("doctor", inventory) for _ in range(repeat)]
    return {"doctor": spread([run.seconds for run in runs]), **_profile(runs)}


def upgrade(repeat: int) -> Result:
    """From the older release to the newer one, beside the `up` of the older, of a master and two nodes."""
    older, newer = FROM_TO
    pairs = [_upgrade(older, newer) for _ in range(repeat)]
    return {
        "up": spread([up.seconds for up, _ in pairs]),
        "upgrade": spread([upgraded.seconds for _, upgraded in pairs]),
        "ratio": spread([round(upgraded.seconds / up.seconds, 2) for up, upgraded in pairs]),
        **_profile([upgraded for _, upgraded in pairs]),
    }


def _upgrade(older: str, newer: str) -> tuple[lab.Run, lab.Run]:
    with lab.cluster(2) as inventory:
        up = lab.deploy("up", inventory, "-e", f"cluster_kubernetes_version={older}")
        return up, lab.deploy("upgrade", inventory, "--to", newer)


def add(repeat: int) -> Result:
    """One host more, to 2, 5 and 8 that are there: does it cost more when the cluster is large?"""
    rounds = [_adds() for _ in range(repeat)]
    return {
        **{f"to_{count}": spread([adds[count].seconds for adds in rounds]) for count in ADDED_TO},
        "ratio": spread([round(adds[ADDED_TO[-1]].seconds / adds[ADDED_TO[0]].seconds, 2) for adds in rounds]),
        "results_on_old_hosts": {
            f"to_{count}": max(_on_old_hosts(adds[count], count) for adds in rounds) for count in ADDED_TO
        },
        **_profile([adds[ADDED_TO[-1]] for adds in rounds]),
    }


def _adds() -> dict[int, lab.Run]:
    """Return what adding a host took, by the number of hosts that were there; those in between come in one go."""
    with lab.cluster() as inventory:
        lab.deploy("up", inventory)
        runs: dict[int, lab.Run] = {}
        here = 2
        for there in ADDED_TO:
            lab.write_hosts(inventory, there - 1)
            if here < there:
                lab.deploy("add", inventory, *(f"node{number}" for number in range(here, there)))
            lab.write_hosts(inventory, there)
            runs[there] = lab.deploy("add", inventory, f"node{there}")
            here = there + 1
        return runs


def _on_old_hosts(run: lab.Run, there: int) -> int:
    new = ("localhost", f"node{there}")
    return sum(sum(count.values()) for host, count in run.hosts.items() if host not in new)


def tasks(_repeat: int) -> Result:
    """How many tasks the way from bare hosts to a cluster has, as Ansible lists them and as the files hold them."""
    site = str(lab.ROOT / "site.yml")
    with lab.cluster() as inventory:
        command = [str(PLAYBOOK), "-i", str(inventory), "--list-tasks", site]
        listed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=lab.ROOT).stdout
        skipped = {host: count["skipped"] for host, count in lab.deploy("up", inventory).hosts.items()}
    actions = [action for role in _roles() for action in _actions(role)]
    shell = [action for action in actions if action.rpartition(".")[2] in ("command", "shell", "raw", "script")]
    return {
        "listed": len(re.findall(r"(?m)^ +\S.*TAGS: \[.*\]$", listed)) - len(re.findall(r"(?m)^ +play #", listed)),
        "in_files": len(actions),
        "command_or_shell": len(shell),
        "skipped": skipped,
    }


def check(repeat: int) -> Result:
    """Check an inventory of 100 hosts, in the module's own process, without Ansible around it."""
    hosts = {f"n{number}": f"10.9.0.{number + 10}" for number in range(100)}
    with tempfile.TemporaryDirectory(prefix="yunkube-bench-") as folder:
        inventory = Path(folder)
        shutil.copytree(lab.ROOT / "inventory/sample/group_vars", inventory / "group_vars")
        (first, *others) = ({name: {"ansible_host": address}} for name, address in hosts.items())
        groups = {"masters": {"hosts": first}, "nodes": {"hosts": dict(pair for one in others for pair in one.items())}}
        (inventory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}))
        (file,) = (inventory / "group_vars/all").glob("*.yml")
        values = {
            "cluster_name": "bench",
            **{key: value for key, value in yaml.safe_load(file.read_text()).items() if value},
        }
        question = {
            "project_dir": str(lab.ROOT),
            "sources": [folder],
            "values": {"cluster_kubernetes_version": "1.37.2", "cluster_dns_domain": "cluster.local", **values},
            "hosts": hosts,
            "groups": {"masters": ["n0"], "nodes": list(hosts)[1:]},
        }
        seconds = [_check(question) for _ in range(repeat)]
    return {"milliseconds": spread([round(one * 1000, 1) for one in seconds])}


def _check(question: Result) -> float:
    """Return how long the check took, of a process that has read its code and nothing else."""
    script = """
import json, sys, time
import deployer  # lays out module_utils
from ansible.module_utils.yunkube.control import config
import cluster_config
question = json.load(sys.stdin)
began = time.monotonic()
cluster_config.judge(question)
print(time.monotonic() - began)
"""
    argv = [str(lab.ROOT / ".venv/bin/python"), "-c", script]
    environment = os.environ | {"PYTHONPATH": "library:scripts"}
    done = subprocess.run(
        argv, input=json.dumps(question), check=True, capture_output=True, text=True, cwd=lab.ROOT, env=environment
    )
    return float(done.stdout)


def build(_repeat: int) -> Result:
    """Make the bundle with an empty cache: every program compiled."""
    with tempfile.TemporaryDirectory(prefix="yunkube-bench-cache-") as cache, lab.cluster() as inventory:
        began = time.monotonic()
        # The address keeps the server of another cache out of this.
        command = [str(PLAYBOOK), "-i", str(inventory), "-e", "cluster_bundle_url=http://127.0.0.1", "bench/bundle.yml"]
        subprocess.run(command, check=True, cwd=lab.ROOT, env=os.environ | {"XDG_CACHE_HOME": cache})
        seconds = time.monotonic() - began
        [manifest] = Path(cache).glob("yunkube/bundles/*/manifest.json")
        files = [path.stat().st_size for path in (manifest.parent / "files").iterdir()]
        subprocess.run(["chmod", "-R", "u+w", cache], check=True)  # Go's module cache is read-only
    return {"minutes": round(seconds / 60, 1), "files": len(files), "megabytes": round(sum(files) / 1e6)}


def web(_repeat: int) -> Result:
    """Requests lost by an update and by a pod's deletion, at 50 a second for 30 s."""
    service = {"name": "web", "node_port": WEB_PORT, "cpu": "50m", "memory": "64Mi", "probe": {"path": "/healthz"}}
    with lab.cluster(2) as inventory:
        lab.deploy("up", inventory)
        state = Path("~/.local/state/yunkube").expanduser() / lab.NAME
        demo_image.bring(state / "bin/demo", [f"yunkube-{lab.NAME}-node{number}" for number in (1, 2)])

        def apply(version: str, kind: str = "Deployment") -> None:
            declared = json.dumps([{**service, "kind": kind, "image": f"{demo_image.IMAGE}:{version}"}])
            lab.deploy("web", inventory, "apply", "-e", f"web_services={declared}")

        def delete() -> None:
            kubectl = [str(state / "bin/kubectl"), "--kubeconfig", str(state / "kubeconfig")]
            chosen = ["-l", "app.kubernetes.io/name=web", "-o", "name"]
            pods = subprocess.run([*kubectl, "get", "pods", *chosen], check=True, capture_output=True, text=True).stdout
            subprocess.run([*kubectl, "delete", pods.split()[0]], check=True, capture_output=True)

        apply("1")
        result = {"update": _under_load(lambda: apply("2")), "deletion": _under_load(delete)}
        apply("1", "ReplicationController")
        return result | {"controller": _under_load(lambda: apply("2", "ReplicationController"))}


def _under_load(do: Callable[[], None]) -> Result:
    with load.running(f"http://{lab.NETWORK}.21:{WEB_PORT}/who", 50, 30) as seen:
        time.sleep(3)
        do()
    return {"sent": seen.sent, "lost": len(seen.lost), "slowest_ms": round(1000 * seen.slowest), "why": seen.lost[:5]}


def machines(_repeat: int) -> Result:
    """Run all tests on virtual machines, once: how long each takes, boot of the machine included."""
    done = subprocess.run([str(lab.ROOT / "tests/run"), "machines", "--full"], check=False)
    if done.returncode:
        raise lab.MeasureError(f"tests/run machines --full ended with {done.returncode}")
    reports = sorted((lab.ROOT / "artifacts/tests").glob("machines-*.xml"))
    cases = [case for report in reports for case in ET.parse(report).getroot().iter("testcase")]  # noqa: S314 - our own
    booted = image(Recipe())
    return {
        "acceleration": acceleration(booted.kernel, booted.initrd)[1],
        "tests": {f"{case.get('classname')} {case.get('name')}": float(case.get("time", 0)) for case in cases},
    }


MEASURES = {
    each.__name__: each
    for each in (tasks, noop, doctor, up, floor_http, scale, add, upgrade, check, web, serve, build, machines)
}


def _cold_up(nodes: int = 1) -> lab.Run:
    with lab.cluster(nodes) as inventory:
        return lab.deploy("up", inventory)


def _floor(*arguments: str) -> dict[str, float]:
    done = subprocess.run([str(FLOOR), *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise lab.MeasureError(f"{FLOOR} ended with {done.returncode}: {done.stdout}{done.stderr}")
    steps = re.findall(r"(?m)^(.*?) +([\d.]+) s +([\d.]+) s$", done.stdout)
    return {name: float(seconds) for name, seconds, _ in steps} | {"total": float(steps[-1][2])}


def _profile(runs: list[lab.Run]) -> Result:
    """Where the time went in the middle one of some runs."""
    middle = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
    return {
        "stages": middle.stages,
        "slowest": middle.slowest(),
        "cpu_seconds": spread([run.cpu_seconds for run in runs]),
        "outside": round(statistics.median(run.outside for run in runs), 2),
    }


def _roles() -> list[Path]:
    """Return the roles of the way to a cluster on Docker hosts: those that site.yml comes to."""
    text = "".join(path.read_text() for path in _stages())
    names = set(re.findall(r"(?m)^ +(?:- role|name): (\w+)$", text)) | {"docker_hosts"}
    return [folder for name in sorted(names) if (folder := lab.ROOT / "roles" / name).is_dir()]


def _stages() -> list[Path]:
    plays = yaml.safe_load((lab.ROOT / "site.yml").read_text())
    return [lab.ROOT / play["ansible.builtin.import_playbook"] for play in plays]


def _actions(role: Path) -> list[str]:
    """Return the module of every task in a role's files, those of another verb aside."""
    files = [path for part in ("tasks", "handlers") for path in (role / part).glob("*.yml") if path.stem != "absent"]
    return [action for path in files for task in yaml.safe_load(path.read_text()) or [] for action in _of_task(task)]


def _of_task(task: dict[str, Any]) -> list[str]:
    if "block" in task:
        inner = [each for part in ("block", "rescue", "always") for each in task.get(part, [])]
        return [action for each in inner for action in _of_task(each)]
    return [key for key in task if "." in key or key in OWN_MODULES]
