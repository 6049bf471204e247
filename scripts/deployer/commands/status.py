# SPDX-License-Identifier: Apache-2.0
"""How the cluster is."""

from __future__ import annotations

from argparse import ArgumentError
from typing import TYPE_CHECKING, Any

from ansible.module_utils.yunkube import constants

from deployer.commands.base import WHOLE, Play, option, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployer.happenings import Summary
    from deployer.views.summary import Printer

EXAMPLES = """\
examples:
  ./scripts/deploy.py status
  ./scripts/deploy.py status --watch           again every 5 seconds, until Ctrl-C
  ./scripts/deploy.py status --json | jq 'select(.type == "summary").status.pods'

Exit code 0: healthy, and hosts are as declared; 6: not healthy; 5: healthy, but hosts are not as declared.
With --watch, the exit code is that of the last refresh.
"""

SOON = constants.EXPIRES_SOON_SECONDS // 86400  # days before its end from which a certificate is worth a line


def adapt(options: dict[str, Any], _variables: dict[str, Any]) -> None:
    """Refuse the time between refreshes where there are none."""
    if options["interval"] and not options["watch"]:
        raise ArgumentError(None, "--interval requires --watch")


def render(out: Printer, summary: Summary) -> None:
    """Show the API, what is not ready, certificates, and whether hosts are as declared."""
    if status := summary.status:
        api = status["api"]
        out.pair("API", f"{api['server']}, {api['version']}" if api["answers"] else f"does not answer: {api['detail']}")
        out.table("Node", status["nodes"])
        out.table("Workload", [entry for entry in status["workloads"] if not entry["ok"]])
        out.table("Pod", status["pods"])
        out.line("")
        if api["answers"] and not status["pods"]:
            out.pair("Pods", "every pod is ready")
        for line in certificate_lines(status):
            out.pair("Certs", line)
    for line in drift_lines(summary):
        out.pair("Hosts", line)


def certificate_lines(status: Mapping[str, Any]) -> list[str]:
    """Say when the first certificate ends, or each that ends soon."""
    found = status["certificates"]
    lines = [f"/{entry['name']} expires in {entry['days']} days" for entry in found if entry["days"] < SOON]
    if found and not lines:
        lines = [f"the first of {len(found)} to expire is /{found[0]['name']}, in {found[0]['days']} days"]
    return [*lines, status["certificates_problem"]] if "certificates_problem" in status else lines


def drift_lines(summary: Summary) -> list[str]:
    """Say which hosts are as declared, and what would make the others so."""
    from deployer.views.text import enumerate_names, grouped

    if not summary.plan:
        return (
            []
            if summary.failures or not summary.status
            else ["not compared: their bundle is not in this machine's cache"]
        )
    return [
        f"{enumerate_names(hosts)}: {'; '.join(f'would {word}' for word in words) or 'as declared'}"
        for words, hosts in grouped(summary.plan).items()
    ]


COMMAND = Play(
    name="status",
    help="show nodes, pods and certificates, and whether hosts are as declared",
    examples=EXAMPLES,
    options=(
        option("--watch", action="store_true", help="refresh until Ctrl-C"),
        option("--interval", metavar="SECONDS", type=seconds, help="with --watch: time between refreshes (5)"),
    ),
    playbook="playbooks/status.yml",
    exclusive=False,
    reports=True,
    report="status",
    limits=False,
    no_limit=WHOLE,
    next_on_changes="up",
    adapt=adapt,
    render=render,
)
