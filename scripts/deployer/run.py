"""Run a playbook. The only file that knows ansible-runner."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner

from deployer.stop import Stop

# How often, in seconds, the run looks up: for Ctrl-C, the timeout, the live view.
TICK = 0.2


@dataclass(frozen=True)
class Run:
    """A playbook with everything it is run with."""

    project: Path
    playbook: Path
    inventory: Path
    limit: str = ""
    extra_vars: Mapping[str, Any] = field(default_factory=dict, repr=False)
    extra_files: Sequence[Path] = ()
    check: bool = False
    verbosity: int = 0


def run_playbook(run: Run, handle: Callable[[dict[str, Any]], None], stop: Stop, tick: Callable[[], None]) -> str:
    """Run it, hand every event to `handle`, and return ansible-runner's status."""

    def on_event(event: dict[str, Any]) -> bool:
        handle(event)
        return False  # write no event files

    def look_up() -> bool:
        tick()
        return stop.poll()

    # A fresh directory each time: what a run leaves in it (extravars, the environment) would
    # become part of the next one. mkdtemp makes it 0700.
    with tempfile.TemporaryDirectory(prefix="yunkube-") as private:
        try:
            runner = ansible_runner.run(
                private_data_dir=private,
                project_dir=str(run.project),
                playbook=str(run.playbook),
                inventory=str(run.inventory),
                limit=run.limit or None,
                cmdline=shlex.join(_arguments(run)) or None,
                extravars=dict(run.extra_vars),
                verbosity=run.verbosity or None,
                envvars=_environment(run.project),
                settings={"pexpect_timeout": TICK, "suppress_output_file": True},
                fact_cache_type="memory",
                quiet=True,
                event_handler=on_event,
                cancel_callback=look_up,
            )
        finally:
            stop.sweep()
        return str(runner.status)


def _arguments(run: Run) -> list[str]:
    arguments = ["--check", "--diff"] if run.check else []
    for file in run.extra_files:
        arguments += ["-e", f"@{file}"]
    return arguments


def _environment(project: Path) -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {
        "ANSIBLE_CONFIG": os.environ.get("ANSIBLE_CONFIG") or str(project / "ansible.cfg"),
        # ansible-runner switches it off unless it is told.
        "ANSIBLE_HOST_KEY_CHECKING": os.environ.get("ANSIBLE_HOST_KEY_CHECKING") or "True",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)]),
    }
