"""Run a playbook. The only file that knows ansible-runner."""

from __future__ import annotations

import os
import shlex
import shutil
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

    command = _command()
    # A fresh directory each time: what a run leaves in it (extravars, the environment) would
    # become part of the next one. mkdtemp makes it 0700.
    with tempfile.TemporaryDirectory(prefix="yunkube-") as private:
        try:
            runner = ansible_runner.run(
                private_data_dir=private,
                project_dir=str(run.project),
                inventory=str(run.inventory),
                limit=run.limit or None,
                binary=command[0],
                cmdline=shlex.join([*command[1:], *_arguments(run)]),
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


def _command() -> list[str]:
    """Return how ansible-playbook is started: so that it ends when this process is killed."""
    setpriv = shutil.which("setpriv")
    playbook = str(Path(sys.executable).parent / "ansible-playbook")
    return [setpriv, "--pdeathsig", "INT", playbook] if setpriv else [playbook]


def _arguments(run: Run) -> list[str]:
    arguments = [str(run.playbook), *(["--check", "--diff"] if run.check else [])]
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
