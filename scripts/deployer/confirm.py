"""Ask before something is destroyed, and say what that is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from deployer.arguments import Request
from deployer.cluster import Cluster
from deployer.errors import DeployError

SYSTEM = ("kube-system", "kube-flannel", "kube-public", "kube-node-lease")
MOST = 12  # names in a line


def confirmed(request: Request, cluster: Cluster) -> bool:
    """Say what would go and ask, on a terminal; without one, only --yes will do."""
    if not sys.stdin.isatty():
        raise DeployError(f"{request.verb} needs --yes where it cannot ask", "add --yes to go on without a question")
    for line in consequences(request, cluster.name, ask(cluster, "nodes"), ask(cluster, "pods")):
        print(line)
    return agreed()


def removal_confirmed(names: Sequence[str]) -> bool:
    """Show every object that would be removed, and ask."""
    print("\nNo longer declared in web_services, and would be removed:")
    for name in names:
        print(f"  {name}")
    return agreed()


def agreed() -> bool:
    """Ask whether to go on."""
    try:
        return input("Go on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def consequences(request: Request, cluster: str, nodes: Sequence[Any] | None, pods: Sequence[Any] | None) -> list[str]:
    """Return what is about to happen, in lines; None is what the API did not answer."""
    if request.verb == "remove":
        lines = [f"This takes {listed(request.hosts)} out of the cluster {cluster}, and Kubernetes off it."]
        running = [pod for pod in pods or [] if pod["spec"].get("nodeName") in request.hosts]
        what = "Pods that move or end"
    else:
        lines = [f"This takes the cluster {cluster} away, with everything that runs in it."]
        running, what = list(pods or []), "Pods that end"
        if nodes is not None:
            lines.append(f"Nodes: {listed([node['metadata']['name'] for node in nodes])}")
    if pods is None:
        return [*lines, "Its API does not answer, so what runs in it is not known."]
    names = [name_of(pod["metadata"]) for pod in running if pod["metadata"]["namespace"] not in SYSTEM]
    return [*lines, f"{what}: {listed(names) or 'none'}"]


def name_of(metadata: Mapping[str, Any]) -> str:
    """Return namespace/name."""
    return f"{metadata['namespace']}/{metadata['name']}"


def listed(names: Sequence[str]) -> str:
    """Return names in a line, the first of many."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more


def ask(cluster: Cluster, kind: str) -> list[Any] | None:
    """Return all objects of a kind; None when there is no cluster, or it does not answer in a few seconds."""
    argv = [str(cluster.kubectl), "--kubeconfig", str(cluster.kubeconfig), "--request-timeout=4s"]
    try:
        done = subprocess.run(
            [*argv, "get", kind, "--all-namespaces", "-o", "json"], capture_output=True, check=True, timeout=6
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found: list[Any] = json.loads(done.stdout)["items"]
    return found
