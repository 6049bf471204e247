# SPDX-License-Identifier: Apache-2.0
"""Gather logs, states and files of a host for a support bundle: each part cut to its end, and nothing secret."""

from __future__ import annotations

import concurrent.futures
import json
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.doctor.collect_cluster import SYSTEM
from ansible.module_utils.yunkube.doctor.read_host import ProgramTimeoutError, output, text
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError

JOURNAL = ("journalctl", "--no-pager", "--output", "short-iso", "--lines", "3000", "--unit")
COMMANDS = {
    "journal/kubelet.log": (*JOURNAL, "kubelet"),
    "journal/containerd.log": (*JOURNAL, "containerd"),
    "state/units.txt": ("systemctl", "list-units", "--no-pager", "--all", "kubelet*", "containerd*"),
    "state/failed.txt": ("systemctl", "list-units", "--no-pager", "--failed"),
    "state/disks.txt": ("df", "--human-readable"),
    "state/inodes.txt": ("df", "--inodes"),
    "state/memory.txt": ("free", "--mebi"),
    "state/listeners.txt": ("ss", "-H", "-l", "-t", "-u", "-n", "-p"),
    "state/containers.txt": ("crictl", "ps", "--all"),
    "state/images.txt": ("crictl", "images"),
    "network/addresses.txt": ("ip", "-details", "address"),
    "network/routes.txt": ("ip", "route", "show", "table", "all"),
    "network/rules.txt": ("iptables-save",),
}
FILES = (
    "etc/os-release",
    "etc/resolv.conf",
    "etc/hosts",
    "etc/crictl.yaml",
    "etc/containerd/config.toml",
    "etc/cni/net.d/*",
    "etc/kubernetes/manifests/*.yaml",
    "var/lib/kubelet/config.yaml",
    "run/flannel/subnet.env",
    "proc/version",
    "proc/swaps",
    "proc/mounts",
)
# Never Secrets.
OBJECTS = {
    "nodes": "/api/v1/nodes",
    "pods": "/api/v1/pods",
    "events": "/api/v1/events",
    "services": "/api/v1/services",
    "endpointslices": "/apis/discovery.k8s.io/v1/endpointslices",
    "deployments": "/apis/apps/v1/deployments",
    "daemonsets": "/apis/apps/v1/daemonsets",
    "configmaps-kube-system": "/api/v1/namespaces/kube-system/configmaps",
    "configmaps-kube-flannel": "/api/v1/namespaces/kube-flannel/configmaps",
}
UNREAD = ("managedFields", "kubectl.kubernetes.io/last-applied-configuration")
NAMESPACES = tuple(f"{name}_" for name in SYSTEM)


def end_of(whole: str, limit: int) -> str:
    """Return the end of a text, from the start of a line, and say what was left out."""
    if len(whole) <= limit:
        return whole
    kept = whole[-limit:].partition("\n")[2]
    return f"[{len(whole) - len(kept)} characters before this were left out]\n{kept}"


def logs(root: Path) -> dict[str, str]:
    """Return the logs of the containers of the cluster's own pods, of each the newest two."""
    found = {}
    for folder in sorted((root / "var/log/pods").glob("*/*")):
        if folder.parent.name.startswith(NAMESPACES):
            namespace, pod, _ = folder.parent.name.split("_", 2)
            for log in sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)[-2:]:
                found[f"logs/{namespace}/{pod}/{folder.name}.{log.stem}.log"] = text(log)
    return found


def plain(found: t.Any, name: str = "") -> t.Any:
    """Return an object without bookkeeping fields, and without the values of containers' environment."""
    if isinstance(found, list):
        return [plain(one, name) for one in found]
    if not isinstance(found, dict):
        return found
    if name == "env" and "value" in found:
        return {**found, "value": "[redacted]"}
    return {key: plain(value, key) for key, value in found.items() if key not in UNREAD}


def objects(root: Path) -> dict[str, str]:
    """Return what the API holds, or why it does not answer."""
    found: dict[str, str] = {}
    try:
        with KubeApi.from_file(str(root / "etc/kubernetes/admin.conf"), timeout=10) as api:
            for name, path in OBJECTS.items():
                items = [json.dumps(plain(one), sort_keys=True) for one in api.items(path)]
                found[f"api/{name}.jsonl"] = "\n".join([*items, ""])
    except KubeError as error:
        found["api/error.txt"] = f"{error}\n"
    return found


def printed(argv: t.Sequence[str]) -> str:
    """Return what a program prints, or that it hangs."""
    try:
        return output(*argv)
    except ProgramTimeoutError as error:
        return f"{error}\n"


def collect(root: Path, *, master: bool, limit: int) -> dict[str, str]:
    """Return all parts that are not empty."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        said = dict(zip(COMMANDS, pool.map(printed, COMMANDS.values())))
    files = {f"files/{path.relative_to(root)}": text(path) for name in FILES for path in sorted(root.glob(name))}
    parts: dict[str, str] = {**said, **files, **logs(root), **(objects(root) if master else {})}
    return {name: end_of(part, limit) for name, part in parts.items() if part.strip()}
