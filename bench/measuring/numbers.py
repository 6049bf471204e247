# SPDX-License-Identifier: Apache-2.0
"""docs/numbers.md, written from the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from measuring.lab import ROOT

PAGE = ROOT / "docs" / "numbers.md"
Results = dict[str, Any]

HEAD = """\
# Numbers

Written by `bench/run`; the command of each row repeats its measurement. Times are the median of several runs, with
the minimum and maximum in brackets. The control machine and the hosts are one machine.

The floor (`bench/floor`) is a plain shell script that creates the same hosts and the same cluster from the same
artifacts and tests it, without any checks or other features: the ratio shows what all that Yunkube adds costs.
The floor copies its artifacts over SSH, as one would by hand, while Yunkube's hosts download theirs; in `floor_http`
its hosts do, too.

| figure | target | measured | holds | command | date | machine |
|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    measure: str
    what: str
    target: str
    value: Callable[[Results], tuple[str, float]]  # as it is written, and what is compared
    limit: float | None = None


def _seconds(key: str) -> Callable[[Results], tuple[str, float]]:
    return lambda result: (_spread(result[key], " s"), result[key]["median"])


def _ratio(result: Results) -> tuple[str, float]:
    return _spread(result["ratio"], ""), result["ratio"]["median"]


def _rate(result: Results) -> tuple[str, float]:
    return _spread(result["rate"], " MB/s"), result["rate"]["median"]


def _on_old_hosts(result: Results) -> tuple[str, float]:
    count = result["results_on_old_hosts"]["to_8"]
    return str(count), count


def _count(key: str) -> Callable[[Results], tuple[str, float]]:
    return lambda result: (str(result[key]), result[key])


def _spread(spread: dict[str, float], unit: str) -> str:
    return f"{spread['median']:g}{unit} ({spread['min']:g} to {spread['max']:g})"


def _changes(result: Results) -> tuple[str, float]:
    changes = sum(result["changed"].values())
    return str(changes), changes


def _commands(result: Results) -> tuple[str, float]:
    commands, actions = result["command_or_shell"], result["in_files"]
    return f"{commands} of {actions}", commands / actions


def _skipped(result: Results) -> tuple[str, float]:
    skipped = result["skipped"]
    return ", ".join(f"{host} {count}" for host, count in skipped.items()), max(skipped.values())


def _lost(key: str) -> Callable[[Results], tuple[str, float]]:
    def value(result: Results) -> tuple[str, float]:
        seen = result[key]
        return f"{seen['lost']} of {seen['sent']}, slowest {seen['slowest_ms']} ms", seen["lost"]

    return value


def _milliseconds(result: Results) -> tuple[str, float]:
    return _spread(result["milliseconds"], " ms"), result["milliseconds"]["median"]


def _minutes(result: Results) -> tuple[str, float]:
    return f"{result['minutes']} min, {result['megabytes']} MB", result["minutes"]


FIGURES = (
    Figure("up", "`up` of bare hosts, one master and one node, warm bundle, proved", "", _seconds("up")),
    Figure("up", "the floor: the same by shell", "", _seconds("floor")),
    Figure("up", "`up` divided by the floor, pair by pair", "≤ 1.5, aim 1.0", _ratio, 1.5),
    Figure("floor_http", "the floor with artifacts fetched over HTTP", "", _seconds("floor")),
    Figure("scale", "`up` with two nodes divided by `up` with one", "≤ 1.15", _ratio, 1.15),
    Figure("add", "`add` of a host to 2 that are there", "", _seconds("to_2")),
    Figure("add", "`add` of a host to 5", "", _seconds("to_5")),
    Figure("add", "`add` of a host to 8 (more do not fit on this machine)", "", _seconds("to_8")),
    Figure("add", "the last divided by the first", "≤ 1.2", _ratio, 1.2),
    Figure("add", "results of tasks on hosts that were there, added to 8", "0", _on_old_hosts, 0),
    Figure("upgrade", "`upgrade` from 1.36.5 to 1.37.2, one master and two nodes", "", _seconds("upgrade")),
    Figure("upgrade", "divided by the `up` that made them, pair by pair", "≤ 2.5", _ratio, 2.5),
    Figure("noop", "second `up`, nothing to do", "≤ 12 s, aim 6", _seconds("up"), 12),
    Figure("noop", "`plan`, nothing to do", "≤ 12 s, aim 6", _seconds("plan"), 12),
    Figure("noop", "changes that a second `up` and `plan` report, all hosts", "0", _changes, 0),
    Figure("doctor", "`doctor` of three healthy hosts", "≤ 3 s", _seconds("doctor"), 3),
    Figure("tasks", "tasks that `ansible-playbook --list-tasks site.yml` lists", "≤ 120", _count("listed"), 120),
    Figure("tasks", "tasks in the files of the roles that it comes to", "≤ 120", _count("in_files"), 120),
    Figure("tasks", "`command` and `shell` among them", "≤ 1 in 8", _commands, 1 / 8),
    Figure("tasks", "tasks skipped on each host by a first `up`", "≤ 40", _skipped, 40),
    Figure("check", "check of an inventory of 100 hosts, the module's own time", "≤ 50 ms", _milliseconds, 50),
    Figure("web", "requests lost by an update of a web service, at 50 a second for 30 s", "0", _lost("update"), 0),
    Figure("web", "requests lost by the deletion of one of its two pods, likewise", "0", _lost("deletion"), 0),
    Figure("web", "requests lost by an update of a ReplicationController, likewise", "0", _lost("controller"), 0),
    Figure("serve", "50 hosts download 32 MB each at once, from the bundle's server on this machine", "", _rate),
    Figure("serve", "divided by what a bare `sendfile` to 50 connections gives, pair by pair", "≥ 0.8", _ratio),
    Figure(
        "serve", "memory that the server takes more than idle, 50 hosts at once, in MB", "≤ 30", _count("memory_mb"), 30
    ),
    Figure("build", "bundle built with an empty cache", "≤ 20 min", _minutes, 20),
)


def write(results: Results) -> None:
    """Write the page."""
    lines = [_line(figure, results[figure.measure]) for figure in FIGURES if figure.measure in results]
    where = "".join(_where(results, name) for name in ("up", "noop", "doctor"))
    PAGE.write_text(HEAD + "".join(lines) + where + _machines(results), encoding="utf-8")


def _line(figure: Figure, result: Results) -> str:
    text, value = figure.value(result)
    holds = "" if figure.limit is None else "yes" if value <= figure.limit else "**no**"
    machine = result["machine"]
    where = f"{machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}, load {machine['load']}"
    cells = (figure.what, figure.target, text, holds, f"`bench/run {figure.measure}`", result["time"][:10], where)
    return f"| {' | '.join(cells)} |\n"


def _machines(results: Results) -> str:
    """Say how long the tests on virtual machines take."""
    if "machines" not in results:
        return ""
    result = results["machines"]
    machine = result["machine"]
    where = f"{machine['cores']} cores, {machine['memory_gib']} GiB, load {machine['load']}"
    tests = {name.removeprefix("tests.machines."): taken for name, taken in result["tests"].items()}
    return (
        f"\n## Tests on virtual machines\n\n`bench/run machines`, {result['time'][:10]}, {where}, QEMU with"
        f" `{result['acceleration']}`. Each ran once.\nMachines boot within the"
        " first test of a file, and within each variant.\n\n| test | seconds |\n|---|---|\n"
        + "".join(f"| {name} | {tests[name]:.0f} |\n" for name in tests)
    )


def _where(results: Results, name: str) -> str:
    """Say where the time of a run goes."""
    if name not in results:
        return ""
    title = {"up": "a first `up`", "noop": "an `up` with nothing to do", "doctor": "`doctor`"}[name]
    rows = "".join(f"| {task} | {seconds} |\n" for task, seconds in results[name]["slowest"].items())
    return f"\n## Where the seconds of {title} go\n\n| task | seconds |\n|---|---|\n{rows}"
