# SPDX-License-Identifier: Apache-2.0
"""Run a playbook. The only file that knows ansible-runner."""

from __future__ import annotations

import contextlib
import errno
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
from ansible.module_utils.yunkube.control import state_lock

from deployer import passwords
from deployer.errors import DeployError, Exit
from deployer.notes import Notes
from deployer.passwords import Passwords
from deployer.stop import Stop, is_alive, tied

# What a run writes at least into the state directory: its events go through files there.
SPACE = 16 << 20

MEMORY = "yunkube-run-"

# How often, in seconds, the run looks up: for Ctrl-C, the timeout, the live view.
TICK = 0.2


@dataclass(frozen=True)
class Run:
    """A playbook with everything it is run with."""

    project: Path
    playbook: Path
    inventory: Path
    typed: str  # the inventory as it was typed, for commands that a run suggests
    cluster: str
    state_dir: Path
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

    command = tied([str(Path(sys.executable).parent / "ansible-playbook")], "INT")
    with _private_directory(run.state_dir / "run") as private, _events_directory(private) as events:
        notes = Notes(Path(events, "notes"))
        try:
            runner = ansible_runner.run(
                private_data_dir=private,
                artifact_dir=events,
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
                status_handler=_hide_environment,
            )
        except OSError as error:  # ansible-runner notes how it went, at the end
            if error.errno != errno.ENOSPC:
                raise
            return "failed"
        finally:
            stop.sweep()
        return str(runner.status)


class _Unwritten(dict[str, str]):
    """An environment that counts as empty: json then writes an empty one."""

    def __bool__(self) -> bool:
        return False


def _hide_environment(status: Mapping[str, Any], runner_config: Any) -> None:
    """Keep keys of a cloud off the disk: ansible-runner notes the whole environment beside its events."""
    if status["status"] == "starting":
        runner_config.env = _Unwritten(runner_config.env)


def check_space(state_dir: Path) -> None:
    """Refuse to begin on a full disk, where nobody would be told what happens."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DeployError(
            f"{state_dir} cannot be created: {error.strerror}: {error.filename}",
            "is HOME correct? Create it, or set cluster_state_dir to a writable place",
        ) from error
    free = _free(state_dir)
    if free < SPACE:
        raise DeployError(
            f"the disk of {state_dir} is full: {free >> 20} MiB are free, but a run needs {SPACE >> 20}",
            f"free space there, or set cluster_state_dir to another disk; see df -h {state_dir}",
            Exit.FAILED,
        )


def _free(path: Path) -> int:
    space = os.statvfs(path)
    return space.f_bavail * space.f_frsize


@contextlib.contextmanager
def _private_directory(scratch: Path) -> Iterator[str]:
    """Give a fresh directory, 0700: what one run leaves (extravars, the environment) would be part of the next.

    It is named by this process, so that what a killed run could not remove goes with the next.
    """
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_old(scratch)
    with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=scratch) as private:
        yield private


@contextlib.contextmanager
def _events_directory(private: str) -> Iterator[str]:
    """Give a directory for the files through which events go: in memory, for a disk that fills up would hide them."""
    for memory in filter(None, (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm")):  # noqa: S108 - a random name, 0700
        if os.access(memory, os.W_OK) and _free(Path(memory)) >= SPACE:
            _remove_old(Path(memory), MEMORY)
            with tempfile.TemporaryDirectory(prefix=f"{MEMORY}{os.getpid()}-", dir=memory) as folder:
                yield folder
            return
    yield private


def _remove_old(folder: Path, prefix: str = "") -> None:
    """Remove what runs that were killed have left; beside it may stand a lost+found, or what is another user's."""
    for old in folder.glob(f"{prefix}*"):
        pid = old.name.removeprefix(prefix).partition("-")[0]
        if pid.isdecimal() and not is_alive(int(pid)) and old.lstat().st_uid == os.geteuid():
            shutil.rmtree(old, ignore_errors=True)


def _arguments(run: Run) -> list[str]:
    arguments = [str(run.playbook), *(["--check"] if run.check else []), *(["--diff"] if run.diff else [])]
    for file in run.extra_files:
        arguments += ["-e", f"@{file}"]
    return arguments


def _environment(run: Run, notes: Notes) -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {
        # Whatever project this shell is set up for, and whatever locale came with an SSH login and is not there.
        "ANSIBLE_CONFIG": str(run.project / "ansible.cfg"),
        "LC_ALL": "C.UTF-8",
        # ansible-runner switches it off unless it is told.
        "ANSIBLE_HOST_KEY_CHECKING": os.environ.get("ANSIBLE_HOST_KEY_CHECKING") or "True",
        # ansible-runner puts its own folder in place of that of ansible.cfg.
        "ANSIBLE_CALLBACK_PLUGINS": str(run.project / "plugins/callback"),
        **passwords.environment(),
        "YUNKUBE_RUN_NOTES": str(notes.path),
        "YUNKUBE_INVENTORY": run.typed,
        state_lock.CLUSTER: run.cluster,
        state_lock.STATE_DIR: str(run.state_dir),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)]),
    }
