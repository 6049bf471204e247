# SPDX-License-Identifier: Apache-2.0
"""The state of a cluster, also of one whose API is silent: nodes, workloads, pods, certificates."""

from __future__ import annotations

import datetime as dt
import subprocess
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError, instant, read_kubeconfig
from ansible.module_utils.yunkube.kube.health import (
    Wanted,
    address_of,
    kubelet_of,
    node_problem,
    pod_problem,
    see,
    workload_problem,
)
from ansible.module_utils.yunkube.kube.kubeadm import COMPONENTS, kubelet_active
from ansible.module_utils.yunkube.kube.x509 import read_certificate

SOON = constants.EXPIRES_SOON_SECONDS // 86400  # days
ROLE = "node-role.kubernetes.io/"


def node_row(node: Json | None, name: str, version: str, now: dt.datetime) -> Json:
    """Return what there is to say about one node."""
    if node is None:
        return {"name": name, "ready": False, "roles": [], "problem": node_problem(None)}
    problem = node_problem(node, version)
    labels = node["metadata"].get("labels") or {}
    made = instant(node["metadata"]["creationTimestamp"])
    return {
        "name": name,
        "ready": not problem or not problem.startswith("not ready"),
        "cordoned": bool(node.get("spec", {}).get("unschedulable")),
        "roles": sorted(label.removeprefix(ROLE) for label in labels if label.startswith(ROLE)) or ["node"],
        "version": kubelet_of(node),
        "address": address_of(node),
        "age_days": round((now - made).total_seconds() / 86400, 1),
        "problem": problem,
    }


def certificates(root: Path, now: dt.datetime) -> list[Json]:
    """Return the days that are left of every certificate of the control plane, the shortest first."""
    folder = root / "etc/kubernetes"
    texts = {str(path.relative_to(root)): path.read_text() for path in sorted(folder.glob("pki/**/*.crt"))}
    for name in ("admin.conf", "controller-manager.conf", "scheduler.conf"):
        if (folder / name).exists():
            texts[f"etc/kubernetes/{name}"] = read_kubeconfig(str(folder / name)).certificate.decode()
    found = [{"name": name, "days": (read_certificate(text).not_after - now).days} for name, text in texts.items()]
    return sorted(found, key=lambda entry: t.cast("int", entry["days"]))


def what_the_host_knows(root: Path) -> str:
    """Say what on this host may explain a silent API."""
    if not (root / "etc/kubernetes/admin.conf").exists():
        return "there is no control plane on this host yet"
    missing = [name for name in COMPONENTS if not (root / f"etc/kubernetes/manifests/{name}.yaml").exists()]
    if missing:
        return f"the control plane is not complete: no static pod of {', '.join(missing)}"
    if not kubelet_active():
        return "kubelet is not running: see `journalctl -u kubelet`"
    argv = [
        "/usr/local/bin/crictl",
        "--runtime-endpoint",
        constants.CRI_ENDPOINT,
        "ps",
        "--all",
        "--name",
        "^(kube-apiserver|etcd)$",
        "--label",
        constants.OF_SYSTEM,
        "--output",
        "table",
    ]
    try:
        listed = subprocess.run(
            argv, check=False, capture_output=True, text=True, timeout=scaled(10)
        ).stdout.splitlines()[1:]
    except (OSError, subprocess.TimeoutExpired):
        return "kubelet runs, but containerd does not answer: see `journalctl -u containerd`"
    running = [
        name for name in ("etcd", "kube-apiserver") if any(name in line and "Running" in line for line in listed)
    ]
    down = [name for name in ("etcd", "kube-apiserver") if name not in running]
    if down:
        return f"kubelet runs, but not {' and '.join(down)}: see `crictl ps -a` and `crictl logs`"
    return "kubelet, etcd and kube-apiserver run; the API may be starting"


def read_status(root: Path, wanted: Wanted, now: dt.datetime) -> Json:
    """Return everything that can be said."""
    status: Json = {"nodes": [], "workloads": [], "pods": [], "certificates": []}
    try:
        with KubeApi.from_file(str(root / "etc/kubernetes/admin.conf"), timeout=5) as api:
            version = str(api.get("/version").get("gitVersion", "")).removeprefix("v")
            seen = see(api, wanted)
            pods = api.items("/api/v1/pods")
        status["api"] = {"answers": True, "server": api.server, "version": version, "detail": ""}
    except KubeError as error:
        hint = "; it answers, but is not healthy" if error.status else ""
        if error.silent:
            hint = f"; {what_the_host_knows(root)}"
        status["api"] = {"answers": False, "server": "", "version": "", "detail": f"{error}{hint}"}
    else:
        there = {node["metadata"]["name"]: node for node in seen.nodes}
        names = dict.fromkeys([*wanted.nodes, *there])
        status["nodes"] = [node_row(there.get(name), name, wanted.version, now) for name in names]
        for name, found in seen.workloads.items():
            detail = workload_problem(found)
            status["workloads"].append({"name": name, "ok": not detail, "detail": detail})
        status["pods"] = [
            {"target": f"{pod['metadata']['namespace']}/{pod['metadata']['name']}", "detail": detail}
            for pod in pods
            if (detail := pod_problem(pod))
        ]
    try:
        status["certificates"] = certificates(root, now)
    except (KubeError, ValueError, OSError) as error:
        status["certificates_problem"] = str(error)
    return status


def is_healthy(status: Json) -> bool:
    """Say whether nothing is wrong."""
    return bool(
        status["api"]["answers"]
        and not any(node["problem"] for node in status["nodes"])
        and all(workload["ok"] for workload in status["workloads"])
        and not status["pods"]
        and not any(entry["days"] < SOON for entry in status["certificates"])
        and "certificates_problem" not in status  # nobody has looked at them
    )


def as_lines(status: Json) -> list[str]:
    """Return the status as lines of text."""
    api = status["api"]
    lines = [f"API   {api['server']} {api['version']}" if api["answers"] else f"API   does not answer: {api['detail']}"]
    for node in status["nodes"]:
        facts = (
            f"{','.join(node['roles'])}, {node['version']}, {node['address']}, {node['age_days']} days"
            if node["roles"]
            else ""
        )
        cordoned = " cordoned" if node.get("cordoned") else ""
        lines.append(f"node  {node['name']} {node['problem'] or 'ready'}{cordoned}{f' ({facts})' if facts else ''}")
    lines += [f"      {entry['name']} {entry['detail'] or 'rolled out'}" for entry in status["workloads"]]
    lines += [f"pod   {entry['target']} {entry['detail']}" for entry in status["pods"]]
    soon = [entry for entry in status["certificates"] if entry["days"] < SOON]
    for entry in soon or status["certificates"][:1]:
        lines.append(f"cert  /{entry['name']} expires in {entry['days']} days" + ("" if soon else ", all others later"))
    if "certificates_problem" in status:
        lines.append(f"cert  {status['certificates_problem']}")
    return lines
