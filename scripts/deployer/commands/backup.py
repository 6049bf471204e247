# SPDX-License-Identifier: Apache-2.0
"""A snapshot of etcd, on the control machine."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from deployer.commands.base import WHOLE, Play, absolute, option

EXAMPLES = """\
examples:
  ./scripts/deploy.py backup                   into the cluster's state directory
  ./scripts/deploy.py backup --to /srv/backups
  ./scripts/deploy.py backup --list            here and on the masters, with size and age

A backup holds every Secret of the cluster: keep it like one. It does not hold the certificates in /etc/kubernetes/pki.
Test it with `rehearse`. `backup_schedule` in cluster.yml lets masters save one by themselves.
"""


def rehearsal(table: Sequence[Mapping[str, Any]]) -> str:
    """Return how the newest backup of this machine is tested; nothing without one."""
    here = (row for row in table if str(row.get("detail", "")).startswith("control machine:"))
    newest = next((str(row["path"]) for row in here if row.get("path") and not row.get("encrypted")), "")
    return f"rehearse {shlex.quote(newest)}" if newest else ""


COMMAND = Play(
    name="backup",
    help="save a snapshot of etcd on this machine, or list what there is",
    examples=EXAMPLES,
    options=(
        option(
            "--to",
            variable="backup_to",
            metavar="DIR",
            type=absolute,
            completed_by="files",
            help="the folder on this machine",
        ),
        option("--list", variable="backup_list", action="store_true", help="list the backups, and save none"),
    ),
    playbook="playbooks/backup.yml",
    limits=False,
    no_limit=WHOLE,
    follow=rehearsal,
)
