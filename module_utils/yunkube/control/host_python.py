# SPDX-License-Identifier: Apache-2.0
"""A host's Python: modules do not even start under one that is missing or too old, so a shell has to be asked."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.result import Fault

CHECK = "python"
OLDEST = ".".join(map(str, constants.OLDEST_PYTHON))
NAMES = [f"python3.{minor}" for minor in range(constants.OLDEST_PYTHON[1], 20)]
_READ = "import sys; print('found %d.%d.%d' % sys.version_info[:3])"


def question(python: str, folders: t.Sequence[str] = ("/usr/local/bin", "/usr/bin")) -> str:
    """Return the command of a shell that says whether a Python is there, its version, and which others run.

    Others are looked for where every user has them: a shim of the user who logs in is none of root.
    """
    asked = shlex.quote(python)
    others = " ".join(f"{folder}/{name}" for name in NAMES for folder in folders)
    return (
        f"command -v {asked} >/dev/null && echo there; {asked} -c {shlex.quote(_READ)} 2>/dev/null; "
        f'for path in {others}; do $path -c "" 2>/dev/null && echo "other $path"; done; true'
    )


def fault(python: str, answer: str) -> Fault | None:
    """Return what is wrong with a host's Python by the answer to the question; None if it is new enough, or broken."""
    lines = answer.splitlines()
    found = re.search(r"^found ((\d+)\.(\d+)\.\d+)", answer, re.MULTILINE)
    others = [line.removeprefix("other ") for line in lines if line.startswith("other /")]
    if found and (int(found[2]), int(found[3])) >= constants.OLDEST_PYTHON:
        return None
    if not found and "there" in lines:
        return None  # what it said itself tells more
    has = f"has Python {found[1]} at {python}" if found else f"has no Python at {python}"
    newer = [path for path in others if path != python]
    remedy = (
        f"set ansible_python_interpreter to {newer[-1]}, which the host has"
        if newer
        else f"install Python {OLDEST} or newer on it, and set ansible_python_interpreter if it is not {python}"
    )
    return Fault(CHECK, f"{has}; {constants.PYTHON_NEEDED}", remedy)
