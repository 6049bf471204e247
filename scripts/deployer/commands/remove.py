# SPDX-License-Identifier: Apache-2.0
"""Hosts leave the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployer.commands.base import HOSTS, YES, Play, option, whole_seconds

if TYPE_CHECKING:
    from deployer.arguments import Request
    from deployer.cluster import Cluster
    from deployer.errors import Exit
    from deployer.progress import Progress

EXAMPLES = """\
examples:
  ./scripts/deploy.py remove node3             asks first; evicts pods within their disruption budgets
  ./scripts/deploy.py remove node3 --yes --drain-timeout 600
  ./scripts/deploy.py remove node3 --force     also deletes unmanaged pods and ignores budgets
  ./scripts/deploy.py remove node3 --delete-emptydir-data      pods lose their data on this host
  ./scripts/deploy.py remove node3 --dead      permanently unreachable

Then remove it from the inventory's hosts.yml; otherwise the next `up` adds it again.
"""


def adapt(options: dict[str, Any], variables: dict[str, Any]) -> None:
    """Name the hosts that leave; the run is about the whole cluster."""
    options["hosts"] = tuple(dict.fromkeys(options["hosts"]))
    variables["node_leaving"] = list(options["hosts"])


def advice(code: Exit, request: Request, progress: Progress, cluster: Cluster) -> str:
    """Say what is left to do by hand."""
    from deployer.errors import Exit

    hosts = ", ".join(request.hosts)
    if code == Exit.UNREACHABLE:
        changed = (
            "The removal has begun, and continues with the same command" if progress.changes else "Nothing was changed"
        )
        return f"{changed}. To remove a permanently lost host, use --dead."
    if code != Exit.OK:
        return ""
    text = f"Take {hosts} out of {request.inventory} now; otherwise the next `up` adds them again."
    if cluster.variables.get("cluster_provider") == "alicloud":
        text = f"`cloud up` releases the instances of {hosts} if fewer are declared; otherwise it adds them again."
    if request.extra_vars.get("node_leave_dead"):
        text += (
            f"\nLeft on {hosts}, as it was not reached: the kubelet and its pods (which keep running if only its "
            "network failed), the node's certificate, and all data.\nIf it comes back: put its line back and remove it "
            "without --dead, or reinstall it."
        )
    return text


DRAIN = (
    YES,
    option(
        "--force",
        variable="node_leave_force",
        action="store_true",
        help="delete unmanaged pods, ignore PodDisruptionBudgets, delete registry images",
    ),
    option(
        "--delete-emptydir-data",
        variable="node_leave_delete_emptydir_data",
        action="store_true",
        help="evict pods with data on the host: in emptyDir, hostPath or node-local volumes",
    ),
    option(
        "--drain-timeout",
        variable="node_drain_timeout_seconds",
        metavar="SECONDS",
        type=whole_seconds,
        help="how long to wait for a host's pods to be evicted (120)",
    ),
)

COMMAND = Play(
    name="remove",
    help="drain hosts, reset them, and remove them from the cluster",
    examples=EXAMPLES,
    options=(
        HOSTS,
        *DRAIN,
        option(
            "--dead",
            variable="node_leave_dead",
            action="store_true",
            help="the hosts are permanently unreachable; nothing on them is cleaned up",
        ),
    ),
    playbook="playbooks/remove.yml",
    next="status",
    limits=False,
    claims=True,
    no_limit="name the hosts themselves, as in `deploy.py remove node3`",
    asks=True,
    adapt=adapt,
    advice=advice,
)
