# SPDX-License-Identifier: Apache-2.0
"""What runs for the cluster on a host: pods, their shims, and what else uses the same containerd."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.host.state import Run

CTR = "/usr/local/bin/ctr"
NAMESPACE = "k8s.io"


def is_our_shim(words: t.Sequence[str]) -> bool:
    """Say whether a command line is that of a shim of our containerd, for Kubernetes."""
    options = dict(zip(words[1:], words[2:]))
    return (
        words[0].endswith("/containerd-shim-runc-v2")
        and options.get("-namespace") == NAMESPACE
        and options.get("-address") == constants.CONTAINERD_SOCKET
    )


def shims(proc: Path = Path("/proc")) -> set[int]:
    """Return the shims of our containerd; those in containers of this host (kind, k3s, another lab) are others'."""
    found = set()
    for folder in proc.glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            if is_our_shim(words) and _namespaces(folder) == _namespaces(proc / "1"):
                found.add(int(folder.name))
        except OSError:  # ended meanwhile
            continue
    return found


def _namespaces(process: Path) -> list[str]:
    return [str((process / "ns" / kind).readlink()) for kind in ("mnt", "pid")]


def networks(proc: Path = Path("/proc")) -> set[int]:
    """Return the network namespaces in which something runs, by inode."""
    found = set()
    for namespace in proc.glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):  # ended meanwhile
            found.add(namespace.stat().st_ino)
    return found


def members(groups: t.Iterable[Path]) -> set[int]:
    """Return the processes in control groups and in those below; a group whose last one ends meanwhile has none."""
    found: set[int] = set()
    for group in groups:
        for folder, _, _ in os.walk(group):
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in Path(folder, "cgroup.procs").read_text().split()}
    return found


def from_folder(folder: Path, proc: Path = Path("/proc")) -> set[int]:
    """Return the processes of this host whose program is below a folder; those in its containers are others'."""
    found = set()
    for process in proc.glob("[0-9]*"):
        try:
            program = (process / "exe").readlink()
            if folder in program.parents and _namespaces(process) == _namespaces(proc / "1"):
                found.add(int(process.name))
        except OSError:  # ended meanwhile, or a thread of the kernel
            continue
    return found


def end(processes: t.Collection[int]) -> None:
    """Kill processes, and wait until they have ended."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + scaled(5)
    while time.monotonic() < deadline and any(Path("/proc", str(process)).exists() for process in processes):
        time.sleep(0.05)


def end_pods() -> None:
    """Kill what outlived kubelet and containerd, and remove the pods' control groups."""
    groups = [path for pattern in ("kubepods*", "*/kubepods*") for path in Path("/sys/fs/cgroup").glob(pattern)]
    end(shims() | members(groups))
    for group in groups:
        for folder_name, _, _ in os.walk(group, topdown=False):
            try:
                Path(folder_name).rmdir()
            except OSError:  # a process that is still ending; the next start of the host removes it
                break


def other_users(run: Run, root: Path = Path("/")) -> dict[str, str]:
    """Return what our containerd holds beside Kubernetes, by its namespace: Docker's and nerdctl's things."""
    found: dict[str, str] = {}
    ctr = [CTR, "--connect-timeout", "10s", "--timeout", "20s"]
    names = (
        run([*ctr, "namespaces", "list", "--quiet"]).split()
        if (root / constants.CONTAINERD_SOCKET.lstrip("/")).exists()
        else []
    )
    if names:
        for name in [name for name in names if name != NAMESPACE]:
            holds = {
                what: len(run([*ctr, "--namespace", name, what, "list", "--quiet"]).split())
                for what in ("containers", "images")
            }
            if any(holds.values()):
                found[name] = " and ".join(f"{count} {what}" for what, count in holds.items() if count)
        return found
    # It does not run: what it ran last is seen in its folders.
    for folder in (root / "var/lib/containerd").glob("io.containerd.runtime.v2.task/*"):
        if folder.name != NAMESPACE and any(folder.iterdir()):
            found[folder.name] = f"{len(list(folder.iterdir()))} containers"
    return found
