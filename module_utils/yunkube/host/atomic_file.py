# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def make_parents(path: Path) -> None:
    """Create the missing folders above a path with mode 0755, whatever the umask of the login."""
    for folder in [folder for folder in reversed(path.parents) if not folder.exists()]:
        folder.mkdir()
        folder.chmod(0o755)


def write_atomic(path: Path, text: str, mode: int | None = None) -> None:
    """Write a file so that its final name never shows half of it.

    The mode does not depend on the login's umask; without one, it is that of the file that is there, or 0644.
    """
    if mode is None:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fchmod(stream.fileno(), mode)
        os.fsync(stream.fileno())
    part.replace(path)
