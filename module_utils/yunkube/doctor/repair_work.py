# SPDX-License-Identifier: Apache-2.0
"""What all repairs share: report changes, keep a copy of what was there, run programs, wait."""

from __future__ import annotations

import datetime as dt
import shutil
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.doctor.facts import Json
from ansible.module_utils.yunkube.doctor.read_host import SEARCH
from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube.api import KubeError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

KEPT = Path("/var/lib/yunkube/doctor")


def now() -> dt.datetime:
    """Return the time, as hosts' Python 3.9 knows it, too."""
    return dt.datetime.now(dt.timezone.utc)


class RepairError(Exception):
    """A repair failed."""


class Work:
    """One repair: its changes, the copies of what was there before, and how it waits."""

    def __init__(self, module: AnsibleModule, fault: str, patches: t.Sequence[Json] = ()) -> None:
        """Start without changes; `patches` are those of kubeadm for this host."""
        self.module, self.fault, self.patches = module, fault, patches
        self.changes: list[str] = []
        self.diff: list[dict[str, str]] = []
        self.backup = ""

    @property
    def dry(self) -> bool:
        """Say whether this is check mode."""
        return bool(self.module.check_mode)

    def note(self, change: str, before: str = "", after: str = "") -> bool:
        """Record a change; return whether to make it."""
        self.changes.append(change)
        self.shows(change, before, after)
        return not self.dry

    def shows(self, change: str, before: str, after: str) -> None:
        """Add what a change does to a text to the diff."""
        if before != after:
            self.diff.append({"before_header": change, "after_header": change, "before": before, "after": after})

    def keep(self, *paths: Path) -> None:
        """Copy files before they change."""
        there = [path for path in paths if path.exists()]
        if self.dry or not there:
            return
        if not self.backup:
            self.backup = str(KEPT / f"{now():%Y%m%dT%H%M%SZ}-{self.fault}")
        for path in there:
            copy = Path(self.backup) / str(path).lstrip("/")
            for folder in reversed([copy.parent, *copy.parent.parents]):
                if folder.is_relative_to(KEPT) and not folder.exists():
                    folder.mkdir(mode=0o700, parents=True)
            shutil.copy2(path, copy)

    def keep_text(self, name: str, there: str) -> None:
        """Keep a copy of what is in no file before it changes."""
        KEPT.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(KEPT / name, there, 0o600)
        self.keep(KEPT / name)

    def write(self, path: Path, wanted: str, mode: int = 0o644) -> None:
        """Write a file, and keep a copy of the old one."""
        there = path.read_text(errors="replace") if path.exists() else ""
        self.keep(path)
        if self.note(f"write {path}", there, wanted):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, wanted, mode)

    def program(self, name: str) -> str:
        """Find a program."""
        return str(self.module.get_bin_path(name, required=True, opt_dirs=SEARCH.split(":")))

    def run(self, *argv: str, data: str = "") -> str:
        """Run a program, with `data` as its input; fail if it fails."""
        code, out, err = self.module.run_command([self.program(argv[0]), *argv[1:]], data=data or None)
        if code != 0:
            raise RepairError(f"{' '.join(argv[:4])}: {(err or out).strip()[-300:]}")
        return str(out)

    def wait(self, done: t.Callable[[], bool], otherwise: str, seconds: float = 60) -> None:
        """Wait until something is done; `otherwise` says what is wrong if it is not in time."""
        limit = scaled(seconds)
        deadline = time.monotonic() + limit
        while not self.dry:
            try:
                if done():
                    return
            except KubeError as error:
                if not error.silent and error.status < 500:
                    raise
            if time.monotonic() > deadline:
                raise RepairError(f"{otherwise} after {limit:.0f} s")
            time.sleep(0.5)
