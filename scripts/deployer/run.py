"""Run a playbook. The only file that knows ansible-runner."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner

from deployer import passwords
from deployer.notes import Notes
from deployer.passwords import Passwords
from deployer.stop import Stop, is_alive

# How often, in seconds, the run looks up: for Ctrl-C, the timeout, the live view.
TICK = 0.2


@dataclass(frozen=True)
class Run:
    """A playbook with everything it is run with."""

    project: Path
    scratch: Path
    playbook: Path
    inventory: Path
    typed: str  # the inventory as it was typed, for commands that a run suggests
    limit: str = ""
    extra_vars: Mapping[str, Any] = field(default_factory=dict, repr=False)
    extra_files: Sequence[Path] = ()
    check: bool = False
    diff: bool = False
    verbosity: int = 0
    passwords: Passwords = field(default=Passwords(), repr=False)


def run_playbook(run: Run, handle: Callable[[dict[str, Any]], None], stop: Stop, tick: Callable[[], None]) -> str:
    """Run it, hand every event to `handle`, and return ansible-runner's status."""

    def on_event(event: dict[str, Any]) -> bool:
        notes.add_to(event)
        handle(event)
        return False  # write no event files

    def look_up() -> bool:
        tick()
        return stop.poll()

    command = _command()
    with _private_directory(run.scratch) as private:
        notes = Notes(Path(private, "notes"))
        try:
            runner = ansible_runner.run(
                private_data_dir=private,
                project_dir=str(run.project),
                inventory=str(run.inventory),
                limit=run.limit or None,
                binary=command[0],
                cmdline=shlex.join([*command[1:], *_arguments(run), *run.passwords.options(Path(private))]),
                extravars=dict(run.extra_vars),
                verbosity=run.verbosity or None,
                envvars=_environment(run, notes),
                settings={"pexpect_timeout": TICK, "suppress_output_file": True},
                fact_cache_type="memory",
                quiet=True,
                event_handler=on_event,
                cancel_callback=look_up,
            )
        finally:
            stop.sweep()
        return str(runner.status)


@contextlib.contextmanager
def _private_directory(scratch: Path) -> Iterator[str]:
    """Give a fresh directory, 0700: what one run leaves (extravars, the environment) would be part of the next.

    It is named by this process, so that what a killed run could not remove goes with the next.
    """
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in scratch.iterdir():
        if not is_alive(int(old.name.partition("-")[0])):
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=scratch) as private:
        yield private


def _command() -> list[str]:
    """Return how ansible-playbook is started: so that it ends when this process is killed."""
    setpriv = shutil.which("setpriv")
    playbook = str(Path(sys.executable).parent / "ansible-playbook")
    return [setpriv, "--pdeathsig", "INT", playbook] if setpriv else [playbook]


def _arguments(run: Run) -> list[str]:
    arguments = [str(run.playbook), *(["--check"] if run.check else []), *(["--diff"] if run.diff else [])]
    for file in run.extra_files:
        arguments += ["-e", f"@{file}"]
    return arguments


def _environment(run: Run, notes: Notes) -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {
        "ANSIBLE_CONFIG": os.environ.get("ANSIBLE_CONFIG") or str(run.project / "ansible.cfg"),
        # ansible-runner switches it off unless it is told.
        "ANSIBLE_HOST_KEY_CHECKING": os.environ.get("ANSIBLE_HOST_KEY_CHECKING") or "True",
        # ansible-runner puts its own folder in place of that of ansible.cfg.
        "ANSIBLE_CALLBACK_PLUGINS": str(run.project / "plugins/callback"),
        **passwords.environment(),
        "YUNKUBE_RUN_NOTES": str(notes.path),
        "YUNKUBE_INVENTORY": run.typed,
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)]),
    }
