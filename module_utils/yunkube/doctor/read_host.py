# SPDX-License-Identifier: Apache-2.0
"""Read a host on which nothing may work: programs and files, without an error and without waiting long."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import threading
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.patience import scaled

PATIENCE = scaled(1.5)  # seconds for an answer over the network, or on a socket
PROGRAM = scaled(10.0)  # seconds for a program that lists what the host knows; where it is at work, or the list is long
SEARCH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
Found = t.TypeVar("Found")


class ProgramTimeoutError(Exception):
    """A program did not end in time, so that nothing is known of what it would list; the message names it."""


def output(*argv: str, seconds: float = 0.0) -> str:
    """Return what a program prints; nothing when it is not there or fails.

    Raises ProgramTimeoutError when it takes longer than these seconds, or than PROGRAM: an answer that is missing is
    not an empty one.
    """
    environment = {**os.environ, "PATH": SEARCH, "LC_ALL": "C"}
    allowed = seconds or PROGRAM
    try:
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=allowed,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramTimeoutError(
            f"{' '.join((Path(argv[0]).name, *argv[1:4]))} did not end in {allowed:g} s"
        ) from error
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def run(*argv: str, seconds: float) -> str:
    """Return what a program prints; nothing as well when it takes longer."""
    try:
        return output(*argv, seconds=seconds)
    except ProgramTimeoutError:
        return ""


def once(look: t.Callable[[], Found]) -> t.Callable[[], Found]:
    """Return a look that is taken once, when the first thread asks for it; others wait for what it finds or raises."""
    lock = threading.Lock()
    taken: list[concurrent.futures.Future[Found]] = []

    def shared() -> Found:
        with lock:
            if not taken:
                taken.append(concurrent.futures.Future())
                try:
                    taken[0].set_result(look())
                except Exception as error:  # raised below, for each who asks
                    taken[0].set_exception(error)
        return taken[0].result()

    return shared


def text(path: Path) -> str:
    """Return a file's text, nothing when it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def subnet_env(path: Path) -> dict[str, str] | None:
    """Return what flanneld wrote for the CNI plugin, None if there is no file."""
    if not path.exists():
        return None
    return {key: value for key, equals, value in (line.partition("=") for line in text(path).splitlines()) if equals}
