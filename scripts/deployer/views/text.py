# SPDX-License-Identifier: Apache-2.0
"""Words that more than one view uses."""

from __future__ import annotations

from collections.abc import Mapping

from deployer.happenings import BundleProgress, Message, Outcome, TaskEnded, Waiting

# What is worth a line unless --verbose asks for all.
TOLD: tuple[Outcome, ...] = ("changed",)
TOLD_VERBOSE: tuple[Outcome, ...] = ("changed", "ok", "skipped", "ignored")


def download_text(bundle: BundleProgress) -> str:
    """Return how much of a download has come, how fast, and how long it will take; nothing without one."""
    if not bundle.received:
        return ""
    of_all = f" of {bundle.size / 1e6:.0f}" if bundle.size else ""
    rate = f", {bundle.rate / 1e6:.1f} MB/s" if bundle.rate else ""
    left = "" if bundle.left is None else f", {duration(bundle.left)} left"
    return f"{bundle.received / 1e6:.0f}{of_all} MB{rate}{left}"


def build_text(bundle: BundleProgress) -> str:
    """Return how much is built, and how long the rest will take once that is known; nothing at the start."""
    left = "" if bundle.time_left is None else f", {about(bundle.time_left)} left"
    return f"{bundle.percent} % built{left}" if bundle.percent else ""


def about(seconds: float) -> str:
    """Return what an estimate is worth: 40 s, 4 min."""
    return f"about {max(10, round(seconds, -1)):.0f} s" if seconds < 95 else f"about {seconds / 60:.0f} min"


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


def waiting_line(waiting: Waiting) -> str:
    """Return who is waited for, how long already, and for what."""
    took = f"{waiting.seconds:.0f} s" if waiting.seconds < 60 else duration(waiting.seconds)
    awaits = f"; waiting for {waiting.awaits}" if waiting.awaits else ""
    return f"{enumerate_names(waiting.hosts)}: {waiting.task}, {took} so far{awaits}"


def task_lines(task: TaskEnded, verbose: bool) -> list[tuple[Outcome, str]]:
    """Return one line per outcome worth telling, its hosts joined; failures are told when they happen."""
    told = TOLD_VERBOSE if verbose else TOLD
    lines: list[tuple[Outcome, str]] = []
    for outcome in told:
        names = [host for host, this in task.hosts.items() if this == outcome]
        took = f" ({task.seconds:.1f}s)" if verbose else ""
        for changes, hosts in grouped({host: task.changes.get(host, ()) for host in names}).items():
            said = f": {'; '.join(changes)}" if changes and outcome == "changed" else ""
            lines.append((outcome, f"{enumerate_names(hosts)}: {task.name}{said}{took}"))
    return lines


def grouped(words: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, ...], list[str]]:
    """Return the hosts by what is said of them, so that the same is said once."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for host, said in words.items():
        groups.setdefault(said, []).append(host)
    return groups


def enumerate_names(names: list[str] | tuple[str, ...], most: int = 4) -> str:
    """Return the names joined, or the first ones and how many more."""
    if len(names) <= most:
        return ", ".join(names)
    return ", ".join(names[: most - 1]) + f" and {len(names) - most + 1} more"
