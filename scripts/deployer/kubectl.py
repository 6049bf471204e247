"""Become the cluster's kubectl."""

from __future__ import annotations

import os
from typing import NoReturn

from deployer.arguments import Request
from deployer.cluster import Cluster
from deployer.errors import DeployError, Exit
from deployer.verbs import command


def become_kubectl(cluster: Cluster, request: Request) -> NoReturn:
    """Replace this process, so that signals, the terminal and the exit code are kubectl's own."""
    up = command("up", request.inventory)
    for path in (cluster.kubeconfig, cluster.kubectl):
        if not path.exists():
            raise DeployError(
                f"there is no cluster {cluster.name} yet: {path} is missing", f"make it: {up}", Exit.FAILED
            )
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    os.execve(cluster.kubectl, ["kubectl", *request.arguments], environment)  # noqa: S606 - no shell is the point
