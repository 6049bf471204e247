# SPDX-License-Identifier: Apache-2.0
"""Certificates are renewed before they expire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import WHOLE, Play, option

if TYPE_CHECKING:
    from deployer.arguments import Request
    from deployer.cluster import Cluster
    from deployer.errors import Exit
    from deployer.happenings import Summary
    from deployer.progress import Progress
    from deployer.views.summary import Printer

EXAMPLES = """\
examples:
  ./scripts/deploy.py certs renew --dry-run    what would be renewed
  ./scripts/deploy.py certs renew              what expires within 90 days
  ./scripts/deploy.py certs renew --within 180
  ./scripts/deploy.py certs renew --all        everything, whenever it expires
  ./scripts/deploy.py certs renew --json | jq 'select(.type == "summary").table'

Nothing is written unless every master answers and is healthy. docs/certificates.md says what restarts.
"""
MOST = 36500
CHECK = "Check whether the certificates can be renewed"  # the task before which and in which nothing is written


def days(text: str) -> int:
    """Read a number of days."""
    number = int(text)
    if not 0 < number <= MOST:
        raise ValueError
    return number


days.__name__ = "number of days"  # argparse says: invalid number of days value


def advice(_code: Exit, _request: Request, progress: Progress, _cluster: Cluster) -> str:
    """Say of a run that the check ended that nothing was changed."""
    if progress.failures and all(failure.task.endswith(CHECK) for failure in progress.failures):
        return "Nothing was changed."
    return ""


def render(out: Printer, summary: Summary) -> None:
    """Show each certificate with the days that it had left, and has now."""
    rows = [
        [
            (str(row["check"]), ""),
            (str(row["target"]), ""),
            ("" if row.get("before") is None else str(row["before"]), ""),
            (str(row.get("after", "")), "" if row.get("ok") else "bold red"),
            (str(row.get("detail") or ""), "dim"),
        ]
        for row in summary.table
    ]
    after = "Would be" if summary.dry_run else "Days after"
    out.rows(rows, ["Certificate", "Host", "Days before", after, ""], right=(2, 3))
    if rows and not summary.failures and not any(count.changed for count in summary.hosts.values()):
        out.line("")
        out.line("Nothing was due.")


COMMAND = Play(
    name="certs renew",
    help="renew certificates that expire soon, one master at a time, without stopping the API",
    examples=EXAMPLES,
    options=(
        option(
            "--within",
            variable="cluster_renew_days",
            metavar="DAYS",
            type=days,
            alternative="due",
            help="renew what expires within so many days (90)",
        ),
        option(
            "--all", variable="cluster_renew_all", action="store_true", alternative="due", help="renew all certificates"
        ),
        option("--dry-run", action="store_true", help="show what would be renewed, without changing anything"),
    ),
    playbook="playbooks/certs_renew.yml",
    report="table",
    next="status",
    claims=True,
    limits=False,
    no_limit=WHOLE,
    advice=advice,
    render=render,
)
