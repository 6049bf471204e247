# SPDX-License-Identifier: Apache-2.0
"""One module at a time changes a host, and one run at a time changes a cluster.

A module goes on after its run was stopped or lost its connection, so a module that changes a host holds a lock there,
and the kernel frees it when the module has ended. A run holds a claim, a file on the control plane host: runs on other
control machines see it. It is renewed when a module of the run begins and ends there, and given up by the last one; of
a run that failed, deploy.py gives it back. That of a killed one expires.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.result import Fault

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

FOLDER = Path("/run/yunkube")
# Seconds to wait for a module of an earlier run: as long as the slowest step of kubeadm may take, and a bit.
WAIT = scaled(420.0)
# Seconds without a module on the control plane host after which a claim counts no more: a step on other hosts may take
# as long as a module is waited for. What they do longer keeps others away by their own locks.
EXPIRY = WAIT + 60

# The run that a module belongs to, as scripts/deployer/lock.py describes it; empty where the run changes nothing.
RUN_SPEC: dict[str, dict[str, t.Any]] = {"run": {"type": "dict", "default": {}}}

Json = dict[str, t.Any]


class BusyError(Exception):
    """Another run or module is active on this host or in the cluster."""

    def __init__(self, message: str, remedy: str) -> None:
        """Keep both apart for a fault."""
        super().__init__(f"{message}; {remedy}")
        self.message, self.remedy = message, remedy


def take(module: AnsibleModule, *, last: bool = False) -> None:
    """Keep other modules from changing the host until this one ends; fail where that cannot be had.

    With the option `run`, this host holds the run's claim; the last module of a run gives it up.
    """
    try:
        _take(module, last=last)
    except BusyError as error:
        module.fail_json(msg=str(error))


def fault(module: AnsibleModule) -> Fault | None:
    """Do the same for a module that reports faults, and return one in place of failing."""
    try:
        _take(module)
    except BusyError as error:
        return Fault("other run", error.message, error.remedy)
    return None


def claim_only(module: AnsibleModule, *, last: bool = False) -> None:
    """Hold the run's claim, and let other modules change the host meanwhile."""
    run = module.params["run"]
    if module.check_mode or not run:
        return
    try:
        with held(_name(module)):
            claim(run)
    except BusyError as error:
        module.fail_json(msg=str(error))
    if last:
        atexit.register(give_back, run)


def verb(module: AnsibleModule) -> str:
    """Return the verb or playbook that the run is of; empty where it changes nothing."""
    return str((module.params.get("run") or {}).get("verb", ""))


def _take(module: AnsibleModule, *, last: bool = False) -> None:
    run = module.params.get("run") or {}
    if module.check_mode and not run:  # the first look of a run that will change the host is in check mode, too
        return
    stack = contextlib.ExitStack()
    stack.enter_context(held(_name(module)))
    atexit.register(stack.close)
    if run:
        claim(run)
    else:
        renew()
    # What took long was no silence.
    stack.callback(release, run) if last and run else stack.callback(renew)


def _name(module: AnsibleModule) -> str:
    return str(getattr(module, "_name", "a module"))  # there is no public way


@contextlib.contextmanager
def held(name: str, seconds: float = WAIT, folder: Path | None = None) -> t.Iterator[None]:
    """Hold the host's lock; it leaves no file behind, unless its holder is killed."""
    path = (folder or FOLDER) / "host.lock"
    descriptor = _acquire(path, seconds)
    try:
        holder = {"module": name, "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock is free: who waits for it sees that the file is another one
        os.close(descriptor)
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _acquire(path: Path, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o700)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # a holder has just removed the folder
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
            os.close(descriptor)
        except FileNotFoundError:
            os.close(descriptor)
        except BlockingIOError:
            text = os.pread(descriptor, 1000, 0).decode(errors="replace")
            if time.monotonic() < deadline:
                time.sleep(0.1)
                os.close(descriptor)
                continue
            os.close(descriptor)
            raise BusyError(*_holder(text, seconds)) from None


def _holder(text: str, seconds: float) -> tuple[str, str]:
    """Return who holds the lock, and what to do about it."""
    try:
        holder = json.loads(text)
        name = f"{holder['module']} of an earlier run (pid {holder['pid']}, since {holder['since']})"
        remedy = f"run the same command again when it has finished, or stop it on this host: kill {holder['pid']}"
    except (ValueError, KeyError, TypeError):  # it has only just taken the lock
        name, remedy = "another module", "run the same command again when it has finished"
    return f"{name} still changes this host after {seconds:.0f} s", remedy


def claim(run: Json, folder: Path | None = None) -> None:
    """Note on this host that the run works on the cluster. The host's lock must be held."""
    path = (folder or FOLDER) / "run.json"
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    other = _read(path)
    if other and other["origin"] != run["origin"]:
        idle = now - other["seen"]
        expiry = other["expiry"]  # by the other run's own cluster_slow_factor
        if 0 <= idle < expiry:
            left = expiry - idle
            until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + left))
            raise BusyError(
                f"`{other['verb']}` of {other['owner']} has been running on this cluster since {other['since']}, "
                f"and was last seen here {idle:.0f} s ago",
                f"wait for it to end. If it no longer runs, its claim expires at {until}, in {left:.0f} s, "
                f"or remove {path} on this host",
            )
    _write(
        path, {**{key: str(run[key]) for key in ("origin", "owner", "verb", "since")}, "seen": now, "expiry": EXPIRY}
    )


def renew(folder: Path | None = None) -> None:
    """Renew the claim of the run that holds it: only its modules reach this point."""
    path = (folder or FOLDER) / "run.json"
    found = _read(path)
    if found:
        _write(path, {**found, "seen": time.clock_gettime(time.CLOCK_BOOTTIME)})


def release(run: Json, folder: Path | None = None) -> None:
    """Release the run's claim."""
    path = (folder or FOLDER) / "run.json"
    if _read(path).get("origin") == run["origin"]:
        path.unlink(missing_ok=True)


def give_back(run: Json) -> None:
    """Release the run's claim, unless one of its modules is still active here; then it expires."""
    if _read(FOLDER / "run.json").get("origin") == run["origin"]:  # else not even the lock is touched
        with contextlib.suppress(BusyError), held("release", 10):
            release(run)


def _read(path: Path) -> Json:
    """Return the claim; nothing if there is none or it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        times = {"seen": float(found["seen"]), "expiry": float(found.get("expiry", EXPIRY))}
        return {key: found[key] for key in ("origin", "owner", "verb", "since")} | times
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(path: Path, content: Json) -> None:
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        json.dump(content, stream)
    part.replace(path)
