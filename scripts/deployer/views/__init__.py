# SPDX-License-Identifier: Apache-2.0
"""The three ways to show a run: plain lines, a live view, JSON lines."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Protocol, TextIO

from deployer.happenings import BundleProgress, Happening, Message, Waiting

ReadBundle = Callable[[], BundleProgress | None]


class View(Protocol):
    """Shows happenings as they come."""

    # Whether stages and their times are left standing, so that no table need repeat them.
    shows_stages: bool

    def show(self, happening: Happening) -> None:
        """Show one."""

    def tick(self, _running: tuple[str, ...], /) -> None:
        """Called a few times a second, also when nothing happens, with the hosts that are at work."""

    def close(self) -> None:
        """Leave the screen in order, whatever happened."""


class NoticesView:
    """Shows notices and long waits, on stderr: for a run whose summary is all that one wants to see."""

    shows_stages = True

    def show(self, happening: Happening) -> None:
        """Print a notice, or who is waited for."""
        if isinstance(happening, Waiting):
            from deployer.views.text import waiting_line  # noqa: PLC0415 - rarely needed

            print(waiting_line(happening), file=sys.stderr, flush=True)
        if isinstance(happening, Message) and happening.level == "notice":
            print(happening.text, file=sys.stderr, flush=True)

    def tick(self, _running: tuple[str, ...], /) -> None:
        """Nothing moves."""

    def close(self) -> None:
        """Nothing stays open."""


class LastingView:
    """Another view, of a run that goes on where its reader leaves: a change is not left half done."""

    def __init__(self, view: View) -> None:
        """Show what the other view does."""
        self._view, self.shows_stages = view, view.shows_stages

    def show(self, happening: Happening) -> None:
        """Show it, if anybody reads."""
        with _read_or_not():
            self._view.show(happening)

    def tick(self, running: tuple[str, ...], /) -> None:
        """Show what moves, if anybody reads."""
        with _read_or_not():
            self._view.tick(running)

    def close(self) -> None:
        """Leave the screen in order."""
        self._view.close()


@contextlib.contextmanager
def _read_or_not() -> Iterator[None]:
    """Let all further output go nowhere once nobody reads it."""
    try:
        yield
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """Let what is written to stdout from now on go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_view(
    json: bool, verbose: bool, read_bundle: ReadBundle, *, quiet: bool = False, lasting: bool = False
) -> View:
    """Choose the view that fits what stdout is; only notices where it is `quiet` and not verbose.

    A `lasting` one goes on where its reader leaves.
    """
    view = _chosen(json, verbose, read_bundle, quiet=quiet)
    return LastingView(view) if lasting else view


def _chosen(json: bool, verbose: bool, read_bundle: ReadBundle, *, quiet: bool) -> View:
    if json:
        from deployer.views.jsonlines import JsonView  # noqa: PLC0415 - only what is used

        return JsonView(sys.stdout, read_bundle)
    if quiet and not verbose:
        return NoticesView()
    if is_live_terminal(sys.stdout):
        from deployer.views.live import LiveView  # noqa: PLC0415 - only what is used

        return LiveView(verbose, read_bundle)
    from deployer.views.plain import PlainView  # noqa: PLC0415 - only what is used

    return PlainView(sys.stdout, verbose, read_bundle)


def is_live_terminal(stream: TextIO) -> bool:
    """Say whether this is a terminal that can redraw lines, and whose user wants it."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return (stream.encoding or "").lower().replace("-", "") == "utf8"
