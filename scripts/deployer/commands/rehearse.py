# SPDX-License-Identifier: Apache-2.0
"""A restore that changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployer.commands.base import WHOLE, Play, absolute, option

if TYPE_CHECKING:
    from deployer.arguments import Request
    from deployer.cluster import Cluster
    from deployer.errors import Exit

EXAMPLES = """\
examples:
  ./scripts/deploy.py rehearse                 the newest backup in the cluster's state directory
  ./scripts/deploy.py rehearse /srv/backups/prod-20261130T094500Z.db

Starts an etcd from the backup beside the running one, on the control plane host, compares what it holds with what was
noted when it was saved and with the cluster, and removes it. A damaged backup, or one of another cluster, is refused.
"""

DECRYPT = "decrypt it first: openssl cms -decrypt -inform DER -in {0} -out {1} -inkey YOUR.key"
UNCHANGED = "Nothing was changed; use another backup."
READABLE = "Nothing was changed; name a file that is there and that you can read (`backup --list`)."


def adapt(options: dict[str, Any], variables: dict[str, Any]) -> None:
    """Name the file to the play."""
    if options["backup_file"]:
        variables["backup_file"] = options["backup_file"]


def refuse_damaged(request: Request, _cluster: Cluster) -> tuple[Request, Exit]:
    """Refuse a file that is no whole snapshot before anything is asked of a host."""
    from pathlib import Path

    from ansible.module_utils.yunkube.kube import etcd_snapshot

    from deployer.errors import DeployError, Exit

    file = str(request.extra_vars.get("backup_file") or "")
    if file.endswith(".cms"):
        raise DeployError(f"{file} is encrypted", DECRYPT.format(file, file.removesuffix(".cms")))
    try:
        if file:
            etcd_snapshot.refuse_damaged(Path(file), file)
    except etcd_snapshot.SnapshotError as error:
        raise DeployError(str(error), UNCHANGED) from None
    except OSError as error:
        raise DeployError(f"{file}: {error.strerror}", READABLE) from None
    return request, Exit.OK


COMMAND = Play(
    name="rehearse",
    help="test a backup: start an etcd from it, compare, and remove it",
    examples=EXAMPLES,
    options=(
        option(
            "backup_file",
            metavar="FILE",
            nargs="?",
            type=absolute,
            completed_by="files",
            help="the backup; by default the newest",
        ),
    ),
    playbook="playbooks/rehearse.yml",
    report="table",
    limits=False,
    no_limit=WHOLE,
    adapt=adapt,
    before=refuse_damaged,
)
