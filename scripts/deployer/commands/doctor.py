# SPDX-License-Identifier: Apache-2.0
"""Causes of what does not work, and their repair."""

from __future__ import annotations

from argparse import ArgumentError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.commands.base import WHOLE, Play, option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployer.arguments import Request
    from deployer.cluster import Cluster
    from deployer.errors import Exit
    from deployer.happenings import Summary
    from deployer.progress import Progress
    from deployer.views.summary import Printer

EXAMPLES = """\
examples:
  ./scripts/deploy.py doctor                                 causes, evidence, and how to repair them
  ./scripts/deploy.py doctor --fix --dry-run                 list the repairs
  ./scripts/deploy.py doctor --fix                           apply safe repairs, least disruptive first
  ./scripts/deploy.py doctor --fix --only subnet-env-missing
  ./scripts/deploy.py doctor --fix --allow node-cordoned     also an unsafe repair, by fault id
  ./scripts/deploy.py doctor --json | jq 'select(.type == "summary").doctor.findings'

Every fault has a page in docs/faults. Exit code 0: no cluster faults; 6: faults found; 4: no host was reachable.
"""

FAULTS = Path(__file__).parents[3] / "docs/faults"
SEVERITIES = {"critical": "bold red", "error": "red", "warning": "yellow", "workload": "cyan"}


def adapt(options: dict[str, Any], _variables: dict[str, Any]) -> None:
    """Refuse options of a repair without one, and faults that nobody knows."""
    options["fix"] = options["troubleshoot_fix"]
    for flag, name in (
        ("--only", "troubleshoot_only"),
        ("--allow", "troubleshoot_allow"),
        ("--dry-run", "dry_run"),
    ):
        if options[name] and not options["fix"]:
            raise ArgumentError(None, f"{flag} requires --fix")
    for name in [*(options["troubleshoot_only"] or []), *(options["troubleshoot_allow"] or [])]:
        _check_fault(name)


def _check_fault(name: str) -> None:
    known = sorted(page.stem for page in FAULTS.glob("*.md") if page.stem != "README")
    if name not in known:
        from difflib import get_close_matches

        from deployer.errors import DeployError

        near = get_close_matches(name, known, 1)
        raise DeployError(
            f"unknown fault: {name}", f"did you mean {near[0]}?" if near else "docs/faults lists all faults"
        )


def advice(_code: Exit, _request: Request, progress: Progress, _cluster: Cluster) -> str:
    """Say why it did not repair everything."""
    stopped = progress.doctor.get("stopped")
    return f"Stopped: {stopped}." if stopped else ""


def render(out: Printer, summary: Summary) -> None:
    """Show each finding, and what was repaired."""
    doctor = summary.doctor
    for finding in doctor.get("findings", []):
        place = ", ".join(dict.fromkeys(part for part in (finding["host"], finding["target"]) if part))
        out.line("")
        severity = finding["severity"]
        out.styled(f"{severity}  {finding['title']}{f' ({place})' if place else ''}", SEVERITIES[severity])
        for line in doctor_lines(finding):
            out.line(f"  {line}")
    if repaired := doctor.get("repaired"):
        out.line("")
        for key in repaired:
            out.line(f"{'would repair' if summary.dry_run else 'repaired'}  {key}")
    if doctor.get("unjudged"):
        from ansible.module_utils.yunkube.doctor.diagnose import NOT_YET

        out.line("")
        out.line(NOT_YET.format(hosts=", ".join(doctor["unjudged"])))
    if doctor.get("not_compared"):
        from ansible.module_utils.yunkube.doctor.diagnose import NOT_COMPARED

        out.line("")
        out.line(NOT_COMPARED.format(problem=doctor["not_compared"]))
    if doctor.get("healthy") and doctor.get("reached"):
        out.line("")
        out.line("No cluster faults found.")


def doctor_lines(finding: Mapping[str, Any]) -> list[str]:
    """Return what there is to say of a finding, but for its head."""
    lines = [f"evidence  {line}" for line in finding["evidence"]]
    lines += [f"so        {line}" for line in finding["chain"]]
    lines.append(f"remedy    {finding['command'] or finding['remedy']}")
    if finding["command"]:
        lines.append(f"by hand   {finding['remedy']}")
    return [*lines, f"page      {finding['page']}"]


COMMAND = Play(
    name="doctor",
    help="diagnose hosts and cluster; --fix repairs what is safe",
    examples=EXAMPLES,
    options=(
        option("--fix", variable="troubleshoot_fix", action="store_true", help="apply safe repairs, one at a time"),
        option(
            "--only",
            variable="troubleshoot_only",
            metavar="ID",
            action="append",
            completed_by="faults",
            help="with --fix: repair only this fault; may be repeated",
        ),
        option(
            "--allow",
            variable="troubleshoot_allow",
            metavar="ID",
            action="append",
            completed_by="faults",
            help="with --fix: also repair this fault, although its repair is not safe",
        ),
        option("--dry-run", action="store_true", help="with --fix: show the repairs without applying them"),
    ),
    playbook="playbooks/doctor.yml",
    exclusive=False,
    reports=True,
    report="doctor",
    limits=False,
    no_limit=WHOLE,
    claims=True,
    adapt=adapt,
    advice=advice,
    render=render,
)
