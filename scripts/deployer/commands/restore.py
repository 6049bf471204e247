# SPDX-License-Identifier: Apache-2.0
"""Etcd's data comes back from a backup."""

from __future__ import annotations

from argparse import ArgumentError
from typing import Any

from deployer.commands.base import WHOLE, Play, absolute, option
from deployer.commands.rehearse import adapt as name_file
from deployer.commands.rehearse import refuse_damaged

EXAMPLES = """\
examples:
  ./scripts/deploy.py restore /srv/backups/prod-20261130T094500Z.db --yes
  ./scripts/deploy.py restore FILE --yes --rollback      a healthy cluster goes back to the backup

After etcd's data was lost or damaged on the masters. What was written since the backup is lost. Nodes are not reset,
and the data that is there is kept on each master, in /var/lib/etcd/before-restore-*. All masters of the inventory must
be reachable. A damaged backup, or one of another cluster, is refused before anything changes.
"""


def adapt(options: dict[str, Any], variables: dict[str, Any]) -> None:
    """Name the file, and ask for consent."""
    name_file(options, variables)
    if not options["yes"]:
        raise ArgumentError(None, "it replaces etcd's data on all masters: add --yes; `rehearse FILE` tests the backup")


COMMAND = Play(
    name="restore",
    help="bring etcd's data back from a backup, after loss or damage",
    examples=EXAMPLES,
    options=(
        option("backup_file", metavar="FILE", type=absolute, completed_by="files", help="the backup"),
        option("--yes", action="store_true", help="replace etcd's data on all masters"),
        option(
            "--rollback",
            variable="backup_rollback",
            action="store_true",
            help="also when etcd holds the cluster or may hold it: what was written since the backup is lost",
        ),
    ),
    playbook="playbooks/restore.yml",
    next="status",
    limits=False,
    no_limit=WHOLE,
    claims=True,
    adapt=adapt,
    before=refuse_damaged,
)
