# SPDX-License-Identifier: Apache-2.0
"""What `up` would change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.commands.base import Play

if TYPE_CHECKING:
    from deployer.happenings import Summary
    from deployer.views.summary import Printer

EXAMPLES = """\
examples:
  ./scripts/deploy.py plan                     exit code 0: no changes; 5: changes pending
  ./scripts/deploy.py plan -v                  every change with its diff
  ./scripts/deploy.py plan --json | jq 'select(.type == "summary").plan'
  ./scripts/deploy.py plan -i inventory/mine --limit node3
"""


def render(out: Printer, summary: Summary) -> None:
    """Show what each host would have changed."""
    from deployer.errors import Exit
    from deployer.views.text import grouped

    for words, hosts in grouped(summary.plan).items():
        out.line("")
        out.line(", ".join(hosts))
        for word in words:
            out.line(f"  would {word}")
    if summary.pending:
        out.line("")
        them = "it has" if len(summary.pending) == 1 else "they have"
        out.line(f"{', '.join(summary.pending)}: not checked, as {them} to be created or started first")
    if summary.exit_code == Exit.OK:
        out.line("")
        out.line("No changes.")


COMMAND = Play(
    name="plan",
    help="show what `up` would change, without changing anything",
    examples=EXAMPLES,
    playbook="site.yml",
    check=True,
    needs_cluster=False,
    next_on_changes="up",
    render=render,
)
