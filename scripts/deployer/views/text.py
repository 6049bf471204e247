"""Words that more than one view uses."""

from __future__ import annotations

from collections.abc import Mapping

from deployer.happenings import Message, Outcome, TaskEnded

# What is worth a line unless --verbose asks for all.
TOLD: tuple[Outcome, ...] = ("changed",)
TOLD_VERBOSE: tuple[Outcome, ...] = ("changed", "ok", "skipped", "ignored")


def duration(seconds: float) -> str:
    """Return 4.2s, 1m 05s or 2h 03m."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def is_told(message: Message, verbose: bool) -> bool:
    """Say whether a message is shown: notices always, Ansible's warnings when asked for."""
    return message.level == "notice" or (verbose and message.level != "verbose")


def task_lines(task: TaskEnded, verbose: bool) -> list[tuple[Outcome, str]]:
    """Return one line per outcome worth telling, its hosts joined; failures are told when they happen."""
    told = TOLD_VERBOSE if verbose else TOLD
    lines: list[tuple[Outcome, str]] = []
    for outcome in told:
        if hosts := hosts_with(task.hosts, outcome):
            took = f" ({task.seconds:.1f}s)" if verbose else ""
            lines.append((outcome, f"{hosts}: {task.name}{took}"))
    return lines


def hosts_with(outcomes: Mapping[str, Outcome], outcome: Outcome) -> str:
    """Return the hosts that ended so; many are counted, not listed."""
    hosts = [host for host, this in outcomes.items() if this == outcome]
    return enumerate_names(hosts)


def enumerate_names(names: list[str] | tuple[str, ...], most: int = 4) -> str:
    """Return the names joined, or the first ones and how many more."""
    if len(names) <= most:
        return ", ".join(names)
    return ", ".join(names[: most - 1]) + f" and {len(names) - most + 1} more"
