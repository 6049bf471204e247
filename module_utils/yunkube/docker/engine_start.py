# SPDX-License-Identifier: Apache-2.0
"""Start the Docker engine of this machine, and install it where it is missing."""

from __future__ import annotations

import os
import subprocess
import time
import typing as t
from http import HTTPStatus
from pathlib import Path

from ansible.module_utils.yunkube.build.system_packages import PackageError, install, missing
from ansible.module_utils.yunkube.docker.engine import DEFAULT_SOCKET, Docker, DockerError, socket_path
from ansible.module_utils.yunkube.host.file_lock import LockError, locked

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

INSTALL_SECONDS = 600  # that another run may take to install the packages
PROGRAM = {"dockerd": ["docker.io"]}

# A machine that went down without systemd keeps them, and the engine takes any process of that
# number for its own.
PID_FILES = {"/var/run/docker.pid": "dockerd", "/var/run/docker/containerd/containerd.pid": "containerd"}

SYSTEMD = Path("/run/systemd/system")  # there where systemd is the first process


class EngineError(Exception):
    """There is no engine and this machine cannot be given one; the message says what to do."""


class Brought(t.NamedTuple):
    """What it took to have an engine that answers, or would take."""

    changes: list[str]
    before: str = ""  # the engine's state
    none: str = ""  # why there is none, where it need not be installed


def refusal(*, answer: str, forbidden: bool, elsewhere: bool, installed: bool, may_install: bool, root: bool) -> str:
    """Return why nothing can be done about an engine that does not answer, or nothing."""
    if forbidden or elsewhere:
        return answer
    if not installed and not may_install:
        return "There is no Docker engine here"
    if installed and not root:
        return f"{answer}; start it: sudo systemctl start docker"
    return ""


def last_line(log: str) -> str:
    """Return the line in which an engine that gave up says why."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    fatal = [line for line in lines if "failed to start daemon" in line or "level=fatal" in line]
    return (fatal or lines or ["it wrote nothing"])[-1]


def forget_stale_pids(pid_files: dict[str, str], proc: Path = Path("/proc")) -> None:
    """Remove the pid files whose number belongs to no such program any more."""
    for name, program in pid_files.items():
        path = Path(name)
        if not path.exists():
            continue
        comm = proc / path.read_text().strip() / "comm"
        if not comm.is_file() or comm.read_text().strip() != program:
            path.unlink()


def start(module: AnsibleModule) -> None:
    """Start the engine and return when it answers."""
    daemon: subprocess.Popen[bytes] | None = None
    log_file = Path(module.params["log_file"])
    if SYSTEMD.is_dir():
        code, out, err = module.run_command(["systemctl", "start", "docker"])
        if code != 0:
            raise EngineError(
                f"systemd could not start the Docker engine: {(err or out).strip()}; see: journalctl -u docker"
            )
    else:
        forget_stale_pids(PID_FILES)
        log_file.parent.mkdir(parents=True, exist_ok=True)
        dockerd = module.get_bin_path("dockerd", required=True, opt_dirs=["/usr/sbin", "/usr/local/sbin"])
        with log_file.open("wb") as log:
            daemon = subprocess.Popen(
                [dockerd], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
    deadline = time.monotonic() + module.params["timeout_seconds"]
    while True:
        try:
            Docker(DEFAULT_SOCKET)
            return
        except DockerError as error:
            if daemon and daemon.poll() is not None:
                reason = last_line(log_file.read_text(errors="replace"))
                raise EngineError(
                    f"The Docker engine exited immediately: {reason} (all of it in {log_file})"
                ) from error
            if time.monotonic() > deadline:
                raise EngineError(f"The Docker engine was started, but does not answer: {error}") from error
            time.sleep(0.1)


def provide(module: AnsibleModule) -> bool:
    """Install and start the engine, False where another run did so meanwhile: of two engines, the second one fails."""
    log_file = Path(module.params["log_file"])
    with locked(log_file.with_suffix(".lock"), INSTALL_SECONDS + module.params["timeout_seconds"]):
        try:
            Docker(socket_path())
        except DockerError:
            install(module, PROGRAM)
            start(module)
            return True
    return False


def bring_engine(module: AnsibleModule) -> Brought:
    """See to it that an engine answers; EngineError where none can."""
    try:
        Docker(socket_path())
    except DockerError as error:
        refused = refusal(
            answer=str(error),
            forbidden=error.status == HTTPStatus.FORBIDDEN,
            elsewhere="DOCKER_HOST" in os.environ,
            installed=not missing(PROGRAM),
            may_install=module.params["install"],
            root=os.geteuid() == 0,
        )
    else:
        return Brought([])
    if refused and not module.params["install"] and missing(PROGRAM):
        return Brought([], none=refused)
    if refused:
        raise EngineError(refused)
    packages = [name for names in missing(PROGRAM).values() for name in names]
    if not module.check_mode:
        try:
            if not provide(module):
                return Brought([])
        except (LockError, PackageError, OSError) as error:
            raise EngineError(str(error)) from error
    changes = [f"install the Docker engine ({', '.join(packages)})"] if packages else []
    return Brought([*changes, "start the Docker engine"], "not installed" if packages else "stopped")
