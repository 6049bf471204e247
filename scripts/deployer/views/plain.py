# SPDX-License-Identifier: Apache-2.0
"""Plain lines: for logs, pipes and terminals that cannot redraw."""

from __future__ import annotations

import time
from typing import TextIO

from deployer.happenings import Diff, Failure, Happening, Message, RunStarted, StageStarted, TaskEnded, Waiting
from deployer.views import ReadBundle
from deployer.views.text import build_text, download_text, is_told, task_lines, waiting_line


class PlainView:
    """Prints a heading per stage, and below it what changed or failed."""

    shows_stages = False

    def __init__(self, out: TextIO, verbose: bool, read_bundle: ReadBundle) -> None:
        """Print to `out`."""
        self._out = out
        self._verbose = verbose
        self._read_bundle = read_bundle
        self._began = time.monotonic()
        self._bundle: tuple[str, int, int, int] = ("", 0, 0, 0)
        self._told = True  # whether changes are told as they happen: a plan tells them at its end

    def show(self, happening: Happening) -> None:
        """Print what is worth a line."""
        match happening:
            case RunStarted():
                self._told = self._verbose or not happening.check
                self._print(f"{happening.verb} of cluster {happening.cluster} ({happening.inventory})")
            case StageStarted():
                self._line(happening.name)
            case TaskEnded() if self._told:
                for outcome, text in task_lines(happening, self._verbose):
                    self._line(f"  {outcome:8} {text}")
            case Waiting():
                self._line(f"  waiting  {waiting_line(happening)}")
            case Diff():
                self._line(f"  diff     {happening.host}: {happening.task}")
                self._print("\n".join("             " + line for line in happening.text.splitlines()))
            case Failure():
                word = "unreachable" if happening.unreachable else "FAILED"
                self._line(f"  {word:8} {happening.host}: {happening.task}: {first_line(happening.message)}")
            case Message() if is_told(happening, self._verbose):
                self._print(happening.text)

    def tick(self, _running: tuple[str, ...]) -> None:
        """Show the progress of the bundle when it has moved on."""
        progress = self._read_bundle()
        if progress is not None and progress.mark != self._bundle:
            self._bundle = progress.mark
            numbers = "; ".join(filter(None, (download_text(progress), build_text(progress))))
            said = f" ({numbers})" if numbers else ""
            self._line(f"  bundle   {progress.done + 1} of {progress.total}: {progress.what}{said}")

    def close(self) -> None:
        """Nothing stays open."""

    def _line(self, text: str) -> None:
        self._print(f"[{time.monotonic() - self._began:7.1f}s] {text}")

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def first_line(text: str) -> str:
    """Return the first line."""
    return text.partition("\n")[0]
