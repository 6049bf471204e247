# SPDX-License-Identifier: Apache-2.0
"""The cluster goes, and its hosts are what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import YES, Play, option

if TYPE_CHECKING:
    from deployer.cluster import Cluster

EXAMPLES = """\
examples:
  ./scripts/deploy.py down                     asks first
  ./scripts/deploy.py down --yes               for scripts
  ./scripts/deploy.py down --dead node3        node3 is permanently unreachable; it is not cleaned up
  ./scripts/deploy.py down --force             also delete the images in the cluster's registry
  ./scripts/deploy.py down --adopt             also a cluster that Yunkube did not create

Removes the whole cluster; to remove a single host, use `remove HOST`. An unreachable host stops the run.
"""

NO_LIMIT = "down removes the whole cluster; to remove a single host, use `deploy.py remove HOST`"


def distrust(cluster: Cluster) -> None:
    """Let this machine's engine forget the registry's authority."""
    from deployer import image

    image.distrust(cluster)


COMMAND = Play(
    name="down",
    help="remove the cluster and restore its hosts",
    examples=EXAMPLES,
    options=(
        YES,
        option(
            "--adopt",
            variable="teardown_adopt",
            action="store_true",
            help="also remove a cluster that Yunkube did not create",
        ),
        option(
            "--dead",
            variable="teardown_dead",
            metavar="HOST",
            action="append",
            help="this host is permanently unreachable; may be repeated",
        ),
        option(
            "--force",
            variable="teardown_force",
            action="store_true",
            help="also delete the images in the cluster's registry",
        ),
    ),
    playbook="playbooks/down.yml",
    next="up",
    limits=False,
    claims=True,
    needs_cluster=False,
    no_limit=NO_LIMIT,
    asks=True,
    after=distrust,
)
