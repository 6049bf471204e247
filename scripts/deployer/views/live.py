# SPDX-License-Identifier: Apache-2.0
"""A live view for a terminal: what is done stands still above, what is under way moves below."""

from __future__ import annotations

import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from deployer.happenings import (
    BundleProgress,
    Diff,
    Failure,
    Happening,
    Message,
    RunStarted,
    StageEnded,
    StageStarted,
    TaskEnded,
    TaskStarted,
    Waiting,
)
from deployer.views import ReadBundle
from deployer.views.plain import first_line
from deployer.views.text import build_text, download_text, duration, enumerate_names, is_told, task_lines

REDRAWS_PER_SECOND = 8
BAR = 20
NAME = 46


@dataclass(frozen=True)
class Now:
    """What is under way; replaced as a whole, since another thread draws it."""

    stage: str = "Starting"
    since: float = 0.0
    task: str = ""
    hosts: tuple[str, ...] = ()
    bundle: BundleProgress | None = None


class LiveView:
    """Keeps two or three moving lines at the bottom of the terminal."""

    shows_stages = True

    def __init__(self, verbose: bool, read_bundle: ReadBundle, console: Console | None = None) -> None:
        """Begin to draw."""
        self._verbose = verbose
        self._read_bundle = read_bundle
        self._console = console or Console(highlight=False)
        self._began = time.monotonic()
        self._spinner = Spinner("dots", style="cyan")
        self._now = Now(since=self._began)
        self._bundle_read = 0.0
        self._live = Live(
            self, console=self._console, refresh_per_second=REDRAWS_PER_SECOND, transient=True, redirect_stderr=False
        )
        self._unquiet = quiet_terminal()
        self._live.start()

    def show(self, happening: Happening) -> None:
        """Note what is under way, and print what is to stay."""
        self._note(happening)
        for text in self._lasting(happening):
            self._console.print(text, soft_wrap=True)

    def _note(self, happening: Happening) -> None:
        match happening:
            case StageStarted():
                self._now = Now(stage=happening.name, since=time.monotonic(), bundle=self._now.bundle)
            case StageEnded():
                self._now = Now(stage="Finishing", since=time.monotonic())
            case TaskStarted():
                self._now = replace(self._now, task=happening.name)
            case Waiting() if happening.awaits:
                self._now = replace(self._now, task=f"{happening.task}, waiting for {happening.awaits}")

    def _lasting(self, happening: Happening) -> Iterator[Text]:
        match happening:
            case RunStarted():
                head = Text.assemble((happening.verb, "bold"), " of cluster ", (happening.cluster, "bold"))
                yield head.append(f"  {happening.inventory}", "dim")
            case StageEnded():
                yield stage_line(happening)
            case TaskEnded() if self._verbose:
                for outcome, text in task_lines(happening, verbose=True):
                    style = "yellow" if outcome == "changed" else "dim"
                    yield Text.assemble("    ", (f"{outcome:8}", style), f" {text}")
            case Diff():
                yield Text(f"    {happening.host}: {happening.task}", "bold")
                yield diff_text(happening.text)
            case Failure():
                where = f" {happening.host}: {happening.task}: "
                yield Text.assemble(("  ✗", "bold red"), (where, "bold"), first_line(happening.message))
            case Message() if is_told(happening, self._verbose):
                yield Text(happening.text, "dim")

    def tick(self, running: tuple[str, ...]) -> None:
        """Note who is at work, and twice a second how far the bundle is."""
        self._now = replace(self._now, hosts=running)
        if time.monotonic() - self._bundle_read > 0.5:
            self._bundle_read = time.monotonic()
            self._now = replace(self._now, bundle=self._read_bundle())

    def close(self) -> None:
        """Take the moving lines away."""
        self._live.stop()
        self._unquiet()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the moving lines, each cut to the terminal's width."""
        now = self._now
        clock = time.monotonic()
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        grid.add_column(justify="right", no_wrap=True)
        grid.add_row(self._spinner, Text(now.stage, "bold"), Text(duration(clock - now.since), "cyan"))
        where = enumerate_names(now.hosts, most=3)
        doing = Text.assemble((where, "cyan"), "  " if where else "", now.task)
        grid.add_row("", doing, Text(f"total {duration(clock - self._began)}", "dim"))
        if now.bundle is not None:
            grid.add_row("", bundle_text(now.bundle), Text(duration(now.bundle.seconds), "dim"))
        yield grid


def quiet_terminal() -> Callable[[], None]:
    """Stop the terminal from echoing, for a ^C or a key would tear the moving lines; return what undoes it."""
    if not sys.stdin.isatty():
        return lambda: None
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    silent = termios.tcgetattr(terminal)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSADRAIN, silent)
    return lambda: termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def stage_line(stage: StageEnded) -> Text:
    """Return the line that stands for a finished stage; 80 columns are enough for it."""
    mark = ("✗", "bold red") if stage.failed else ("-", "yellow") if stage.cut_short else ("✓", "green")
    name = stage.name if len(stage.name) <= NAME else stage.name[: NAME - 1] + "…"
    line = Text.assemble(mark, f" {name:{NAME}} ", (f"{duration(stage.seconds):>8}", "cyan"))
    if stage.changed:
        line.append(f"  {stage.changed} changed", "yellow")
    if stage.failed:
        line.append(f"  {stage.failed} failed", "red")
    if stage.cut_short:
        line.append("  interrupted", "yellow")
    return line


def bundle_text(bundle: BundleProgress) -> Text:
    """Return a bar and what is being made."""
    share = bundle.done / max(1, bundle.total) if bundle.percent is None else bundle.percent / 100
    filled = round(BAR * share)
    bar = Text.assemble(("━" * filled, "cyan"), ("━" * (BAR - filled), "bright_black"))
    bar.append(f"  {bundle.done}/{bundle.total}  ", "dim")
    for text in filter(None, (download_text(bundle), build_text(bundle))):
        bar.append(f"{text}  ", "cyan")
    return bar.append(bundle.what)


def diff_text(diff: str) -> Text:
    """Return a diff, coloured."""
    text = Text()
    for line in diff.splitlines():
        style = "green" if line.startswith("+") else "red" if line.startswith("-") else "dim"
        text.append(f"    {line}\n", style)
    text.right_crop(1)
    return text
