# SPDX-License-Identifier: Apache-2.0
"""The end of a run: tables on stdout, failures on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deployer.commands import PLAYS
from deployer.fates import DONE
from deployer.happenings import Failure, HostCount, StageEnded, Summary
from deployer.views import is_live_terminal
from deployer.views.text import duration

# Wide enough that nothing is cut where there is no terminal to ask.
PLAIN_WIDTH = 200

Cell = tuple[str, str]  # text and style


def print_summary(summary: Summary, stages_shown: bool) -> None:
    """Print tables; the stages only where the view did not leave them standing."""
    out = Printer(sys.stdout)
    if render := PLAYS[summary.verb].render:
        render(out, summary)
    else:
        _print_run(out, summary, stages_shown)
    out.line("")
    out.pair("Time", duration(summary.seconds))
    out.pair("Log", summary.log)
    if summary.next:
        out.pair("Next", summary.next)


def print_failures(summary: Summary, advice: str) -> None:
    """Print on stderr what failed, last, so that it is what one sees; with cause and remedy."""
    console = Console(stderr=True, highlight=False, soft_wrap=True, no_color=not is_live_terminal(sys.stderr))
    for failure in summary.failures:
        head, *lines = failure_lines(failure)
        console.print(Text("\n" + head, "bold red"))
        console.print(Text("\n".join(lines)))
    stopped = any(count.fate.startswith(("not tried", "stopped")) for count in summary.hosts.values())
    unreachable = not PLAYS[summary.verb].reports and any(failure.unreachable for failure in summary.failures)
    if (stopped or unreachable) and (others := others_line(summary)):
        console.print(Text("\n" + others))
    if advice:
        console.print(Text("\n" + advice))


def failure_lines(failure: Failure) -> list[str]:
    """Return a failure as lines: where, why, what to do."""
    if failure.faults:
        what = "to remove" if failure.kind == "removals" else "to fix"
        lines = [f"{failure.task}: {len(failure.faults)} {what}"]  # each names its own place; the task's host is any
        return lines + [f"  {fault}" for fault in failure.faults]
    head = f"{failure.host} is unreachable" if failure.unreachable else f"{failure.host}: {failure.task} failed"
    cause = failure.message.splitlines() or ["no reason given"]
    lines = [head, f"  at      {failure.path}", f"  cause   {cause[0]}"]
    if failure.origin:
        lines.insert(1, f"  for     {failure.origin}: {failure.task}")
    lines += [f"          {line}" for line in cause[1:]]
    if failure.remedy:
        lines.append(f"  remedy  {failure.remedy}")
    return lines


def others_line(summary: Summary) -> str:
    """Say what became of the hosts that could be reached."""
    fate: list[str] = []
    for host, count in summary.hosts.items():
        if not count.unreachable:
            end = "failed" if count.failed else f"done so far ({count.changed} changed)"
            end = end if count.fate in ("", DONE) else count.fate
            fate.append(f"{host} {end}")
    return f"The others: {', '.join(fate)}." if fate else ""


def _verify_rows(table: Iterable[Mapping[str, Any]]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for row in table:
        good = bool(row.get("ok"))
        seconds = row.get("seconds")
        took = f"{float(seconds):.1f}s" if isinstance(seconds, (int, float)) else ""
        verdict = ("ok", "green") if good else ("FAILED", "bold red")
        rows.append(
            [(_str(row, "check"), ""), (_str(row, "target"), ""), verdict, (took, ""), (_str(row, "detail"), "dim")]
        )
    return rows


def _print_run(out: Printer, summary: Summary, stages_shown: bool) -> None:
    out.rows(_verify_rows(summary.table), ["Check", "Target", "", "Time", "Detail"], right=(3,))
    if summary.stages and not stages_shown:
        out.rows(_stage_rows(summary.stages), ["Stage", "Time", "Changed"], right=(1, 2))
    if summary.hosts:
        changed = "To change" if summary.dry_run else "Changed"
        heads = ["Host", "Ok", changed, "Failed", "Unreachable"]
        heads += ["Outcome"] if any(count.fate for count in summary.hosts.values()) else []
        out.rows(_host_rows(summary.hosts), heads, right=(1, 2, 3, 4))


def print_watch_head(summary: Summary, interval: float) -> None:
    """Begin a new look: on an empty screen of a terminal, in a fresh block elsewhere."""
    clear = "\x1b[2J\x1b[H" if is_live_terminal(sys.stdout) else "\n"
    print(f"{clear}{datetime.now().astimezone():%H:%M:%S}  {summary.verb}, every {interval:g} s; press Ctrl-C to stop")


def any_of(items: Iterable[Mapping[str, Any]], name: str) -> bool:
    """Say whether any of the things has something to say under a key."""
    return any(item.get(name) not in (None, "", False) for item in items) or name == "ready"


def _status_cell(column: str, value: Any) -> Cell:
    if isinstance(value, bool):
        bad = column in ("ready", "ok") and not value
        return ("yes" if value else "no", "bold red" if bad else "green" if column in ("ready", "ok") else "")
    if isinstance(value, list):
        return (", ".join(str(item) for item in value), "")
    return ("" if value is None else str(value), "")


def _stage_rows(stages: Iterable[StageEnded]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for stage in stages:
        style = "bold red" if stage.failed else ""
        rows.append([(stage.name, style), (duration(stage.seconds), ""), (_count(stage.changed), "yellow")])
    return rows


def _host_rows(hosts: Mapping[str, HostCount]) -> list[list[Cell]]:
    return [
        [
            (host, "bold red" if count.failed or count.unreachable else ""),
            (str(count.ok), ""),
            (_count(count.changed), "yellow"),
            (_count(count.failed), "bold red"),
            (_count(count.unreachable), "bold red"),
            *([(count.fate, "" if count.fate == DONE else "bold red")] if count.fate else []),
        ]
        for host, count in hosts.items()
    ]


def _count(number: int) -> str:
    return str(number) if number else "-"


def _str(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return "" if value is None else str(value)


class Printer:
    """Prints tables with rich on a terminal, and the same without any ANSI elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = is_live_terminal(out)
        # Rendered into text first: rich fills every line with blanks to the right.
        self._console = Console(
            highlight=False,
            force_terminal=self._live,
            no_color=not self._live,
            width=None if self._live else PLAIN_WIDTH,
        )

    def rows(self, rows: list[list[Cell]], heads: list[str], right: tuple[int, ...] = ()) -> None:
        """Print a table, or nothing when it is empty."""
        if not rows:
            return
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for index, head in enumerate(heads):
            # The last column may wrap; the others stay whole.
            last = index == len(heads) - 1
            table.add_column(head, justify="right" if index in right else "left", no_wrap=not last)
        for row in rows:
            table.add_row(*(Text(text, style) for text, style in row))
        with self._console.capture() as capture:
            self._console.print(table)
        self.line("")
        for line in capture.get().splitlines():
            self.line(line.rstrip())

    def table(self, title: str, items: list[Mapping[str, Any]]) -> None:
        """Print a table of things that have the same keys; a column without any value is left out."""
        columns = [name for name in dict.fromkeys(name for item in items for name in item) if any_of(items, name)]
        heads = [title, *(column.replace("_", " ").capitalize() for column in columns[1:])]
        self.rows([[_status_cell(column, item.get(column)) for column in columns] for item in items], heads)

    def pair(self, name: str, value: str) -> None:
        """Print a name and its value."""
        self.line(f"{name:5} {value}")

    def styled(self, text: str, style: str) -> None:
        """Print a line in a style, where there is a terminal."""
        with self._console.capture() as capture:
            self._console.print(Text(text, style), soft_wrap=True)
        self.line(capture.get().rstrip())

    def line(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._out, flush=True)
