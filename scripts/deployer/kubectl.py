# SPDX-License-Identifier: Apache-2.0
"""Become the cluster's kubectl, or ask it something."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

from ansible.module_utils.yunkube.control.commands import command

from deployer.cluster import Cluster
from deployer.errors import DeployError, Exit


def become_kubectl(cluster: Cluster, inventory: str, arguments: Sequence[str]) -> NoReturn:
    """Replace this process, so that signals, the terminal and the exit code are kubectl's own."""
    environment = _environment(cluster, inventory)
    os.execve(cluster.kubectl, ["kubectl", *arguments], environment)  # noqa: S606 - no shell is the point


def ask(cluster: Cluster, inventory: str, *arguments: str) -> str:
    """Return what kubectl prints; DeployError with its last line when it fails."""
    argv = [str(cluster.kubectl), *arguments, "--request-timeout=10s"]
    environment = _environment(cluster, inventory)
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["kubectl reported no reason"]
        raise DeployError(f"cluster {cluster.name}: {reason[0]}", f"look: {command('status', inventory)}", Exit.FAILED)
    return done.stdout


def find(cluster: Cluster, inventory: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
    """Return an object of the cluster, None when it is not there."""
    said = ask(cluster, inventory, "get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
    return dict(json.loads(said)) if said.strip() else None


def _environment(cluster: Cluster, inventory: str) -> dict[str, str]:
    for path in (cluster.kubeconfig, cluster.kubectl):
        if not path.exists():
            raise DeployError(
                f"cluster {cluster.name} does not exist yet: {path} is missing",
                f"create it: {command('up', inventory)}",
                Exit.FAILED,
            )
    return environment_of(cluster)


def environment_of(cluster: Cluster) -> dict[str, str]:
    """Return what kubectl runs with: this cluster's kubeconfig, and no proxy on the way to its API.

    A proxy of this shell is for the internet; the hosts are reached without it, too.
    """
    found = re.search(r"(?m)^\s*server:\s*(\S+)", cluster.kubeconfig.read_text(encoding="utf-8"))
    host = urlsplit(found[1].strip("\"'")).hostname if found else None
    direct = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    exceptions = ",".join(filter(None, (direct, host)))
    return {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "NO_PROXY": exceptions, "no_proxy": exceptions}
