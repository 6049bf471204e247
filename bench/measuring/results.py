# SPDX-License-Identifier: Apache-2.0
"""Where results go: one file a day, with what one must know of the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measuring.lab import ROOT

RESULTS = ROOT / "bench" / "results"


def machine() -> dict[str, Any]:
    """Return what decides how fast this machine is, and how busy it was."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "kernel": platform.release(),
        "cgroup": 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        "load": round(os.getloadavg()[0], 1),
    }


def spread(values: list[float]) -> dict[str, Any]:
    """Return the least, the middle and the greatest of some values, and the values."""
    numbers = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, 2) for name, value in numbers.items()} | {"all": values}


def busy() -> str:
    """Say so when other work on this machine would spoil what is measured."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"the machine is busy (load {load:.1f} on {cores} cores): times will be too long" if load > cores else ""


def store(name: str, result: dict[str, Any]) -> Path:
    """Put the result of one measurement into today's file, in place of an earlier one."""
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y-%m-%d}.json"
    RESULTS.mkdir(exist_ok=True)
    results = json.loads(path.read_text()) if path.exists() else {}
    results[name] = {"time": f"{now:%Y-%m-%dT%H:%MZ}", "commit": _commit(), "machine": machine()} | result
    path.write_text(json.dumps(results, indent=2) + "\n")
    return path


def latest() -> dict[str, Any]:
    """Return the newest result of every measurement."""
    merged: dict[str, Any] = {}
    for path in sorted(RESULTS.glob("*.json")):
        merged |= json.loads(path.read_text())
    return merged


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
