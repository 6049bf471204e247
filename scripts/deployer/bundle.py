# SPDX-License-Identifier: Apache-2.0
"""How far the bundle's builder is, by the file that it keeps while it works."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from deployer.happenings import BundleProgress
from deployer.stop import is_alive

# The longest that one component may take without a word.
STALE_AFTER = 1800.0


def cache() -> Path:
    """Return the directory of what every cluster of this machine shares."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "yunkube"


def progress_file() -> Path:
    """Return where the builder writes its progress."""
    return cache() / "progress.json"


def read_progress(path: Path, now: float | None = None) -> BundleProgress | None:
    """Return the progress when it is fresh and its writer is alive, else nothing."""
    now = time.time() if now is None else now
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        fresh = now - float(told["updated"]) < STALE_AFTER and is_alive(int(told["pid"]))
        seconds = max(0.0, now - float(told["started"]))
        progress = BundleProgress(
            str(told["what"]),
            int(told["done"]),
            int(told["total"]),
            round(seconds, 1),
            int(told.get("received", 0)),
            int(told.get("size", 0)),
            int(told.get("rate", 0)),
            None if told.get("left") is None else float(told["left"]),
            None if told.get("percent") is None else int(told["percent"]),
            None if told.get("time_left") is None else float(told["time_left"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return progress if fresh and progress.done < progress.total else None
