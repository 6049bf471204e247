# SPDX-License-Identifier: Apache-2.0
"""Read a host on which nothing may work: programs and files, without an error and without waiting long."""

from __future__ import annotations

import os
import subprocess
import threading
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.patience import scaled

PATIENCE = scaled(1.5)  # seconds for any program or answer
SEARCH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
Found = t.TypeVar("Found")


def run(*argv: str, seconds: float = 0.0) -> str:
    """Return what a program prints; nothing when it is not there, fails or takes longer than these or PATIENCE."""
    environment = {**os.environ, "PATH": SEARCH, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds or PATIENCE,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def once(look: t.Callable[[], Found]) -> t.Callable[[], Found]:
    """Return a look that is taken once, when the first thread asks for it; others wait for what it finds."""
    lock = threading.Lock()
    found: list[Found] = []

    def shared() -> Found:
        with lock:
            if not found:
                found.append(look())
        return found[0]

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
