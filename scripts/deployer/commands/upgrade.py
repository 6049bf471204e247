# SPDX-License-Identifier: Apache-2.0
"""A running cluster goes to another release."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deployer.commands.base import WHOLE, Play, option, whole_seconds

if TYPE_CHECKING:
    from deployer.arguments import Request
    from deployer.cluster import Cluster
    from deployer.errors import Exit
    from deployer.progress import Progress

EXAMPLES = """\
examples:
  ./scripts/deploy.py upgrade --dry-run        the plan, and why it cannot begin if it cannot
  ./scripts/deploy.py upgrade                  to the cluster_kubernetes_version in cluster.yml
  ./scripts/deploy.py upgrade --to 1.37.2
  ./scripts/deploy.py upgrade --batch 3        three nodes at a time

Nothing is written unless every host passed the check. An upgrade that stopped is continued by the same command.
docs/upgrade.md says what happens in which order.
"""
KEY = "cluster_kubernetes_version"
# The tasks of the check, in which nothing is written.
CHECKS = (
    "Compare the cluster with the release",
    "Compare the cluster with the release and the bundle",
    "Check whether the control plane can be upgraded",
    "Refuse values that differ from those of the running cluster",
)


def release(text: str) -> str:
    """Read a release."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", text.removeprefix("v")):
        raise ValueError
    return text.removeprefix("v")


def batch(text: str) -> str:
    """Read a number of hosts, or a share of them."""
    found = re.fullmatch(r"([1-9]\d{0,5})(%?)", text)
    if not found or (found[2] and int(found[1]) > 100):
        raise ValueError
    return text


release.__name__ = "release"  # argparse says: invalid release value
batch.__name__ = "number or share of hosts"


def advice(code: Exit, request: Request, progress: Progress, cluster: Cluster) -> str:
    """Say what is left to do by hand, and of a run that the check ended that nothing was changed."""
    from deployer.errors import Exit
    from deployer.versions import default_release

    if progress.failures and all(failure.task.endswith(CHECKS) for failure in progress.failures):
        return "Nothing was changed."
    wanted = str(request.extra_vars.get(KEY) or "")
    written = [entry for entry in cluster.source.files.entries if entry.key == KEY]
    declared = str(written[-1].value) if written else default_release()
    if code != Exit.OK or request.dry_run or not wanted or wanted == declared:
        return ""
    where = f"{written[-1].file}:{written[-1].line}" if written else f"the cluster.yml of {request.inventory}"
    return f'Write `{KEY}: "{wanted}"` in {where} now; until then `up` refuses to run.'


COMMAND = Play(
    name="upgrade",
    help="bring a running cluster to another Kubernetes release, host by host",
    examples=EXAMPLES,
    options=(
        option("--to", variable=KEY, metavar="RELEASE", type=release, help="the release, in place of the inventory's"),
        option(
            "--batch",
            variable="upgrade_batch",
            metavar="HOSTS",
            type=batch,
            help="how many nodes are upgraded at a time, as a number or a share (20%%)",
        ),
        option(
            "--force",
            variable="upgrade_force",
            action="store_true",
            help="delete unmanaged pods, and those that a PodDisruptionBudget still protects when the time is up",
        ),
        option(
            "--delete-emptydir-data",
            variable="upgrade_delete_emptydir_data",
            action="store_true",
            help="drain pods although they lose what they have in an emptyDir",
        ),
        option(
            "--allow-removed-apis",
            variable="upgrade_allow_removed_apis",
            action="store_true",
            help="upgrade although clients use APIs that the release does not serve",
        ),
        option(
            "--drain-timeout",
            variable="upgrade_drain_timeout_seconds",
            metavar="SECONDS",
            type=whole_seconds,
            help="how long to wait for a host's pods to be evicted (120)",
        ),
        option("--dry-run", action="store_true", help="show the plan, without changing anything"),
    ),
    playbook="playbooks/upgrade.yml",
    next="status",
    claims=True,
    limits=False,
    no_limit=WHOLE,
    advice=advice,
)
