# SPDX-License-Identifier: Apache-2.0
"""Bring the kubeconfig of one cluster to a file: under kubectl's lock, in one step, the former one kept beside it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.control import kubeconfig
from ansible.module_utils.yunkube.control.kubeconfig import KubeconfigError

LOCK_SECONDS = 10


def known_authorities(source: Path) -> set[str]:
    """Return the authorities of this cluster: of its kubeconfig and of the former ones that are kept beside it."""
    found = set()
    for path in [source, *source.parent.glob(f"{source.name}.*")]:
        with contextlib.suppress(OSError, KubeconfigError):
            found.add(kubeconfig.authority(kubeconfig.parse(path.read_text())))
    return found - {""}


def real_path(path: Path) -> Path:
    """Return the file behind a link, which stays; refuse a link of another user."""
    if path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid()):
        raise KubeconfigError("it is a link that another user made")
    return Path(os.path.realpath(path))


def make_folder(folder: Path) -> None:
    """Create what is missing, for its owner alone; leave what exists."""
    for missing in [one for one in (*reversed(folder.parents), folder) if not one.exists()]:
        missing.mkdir(mode=0o700)


@contextlib.contextmanager
def locked(path: Path) -> t.Iterator[None]:
    """Hold the lock that kubectl takes before it writes a kubeconfig."""
    lock = path.with_name(f"{path.name}.lock")
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise KubeconfigError(f"{lock} exists: kubectl is writing it, or was killed; remove it then") from None
            time.sleep(0.2)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def write(path: Path, text: str) -> None:
    """Replace the file in one step, readable to its owner alone."""
    owner = path.stat() if path.exists() else None
    number, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "w") as stream:
            stream.write(text)
            if owner and owner.st_uid != os.geteuid():
                os.fchown(number, owner.st_uid, owner.st_gid)
        Path(part).replace(path)
    finally:
        Path(part).unlink(missing_ok=True)


def keep(path: Path) -> Path:
    """Copy the file beside itself under a name with the time in it."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    numbers = (f"-{number}" if number else "" for number in range(1000))
    copy = next(one for one in (path.with_name(f"{path.name}.{stamp}{more}") for more in numbers) if not one.exists())
    with os.fdopen(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as stream:
        stream.write(path.read_bytes())
    return copy


def wanted(options: t.Mapping[str, t.Any], there: str | None) -> str | None:
    """Return the text that the file should have; None where there should be none."""
    source, name = Path(options["source"]), options["cluster"]
    known = known_authorities(source)
    if options["state"] == "absent":
        if there is None:
            return None
        before = kubeconfig.parse(there)
        after = kubeconfig.remove(before, name, known)
        return there if after == before else None if kubeconfig.is_empty(after) else kubeconfig.render(after)
    text = options["content"] or source.read_text()
    if not options["merge"]:
        return t.cast("str", text)
    before = kubeconfig.parse(there or "")
    after = kubeconfig.merge(before, kubeconfig.parse(text), name, known)
    return there if after == before else kubeconfig.render(after)


def bring(options: t.Mapping[str, t.Any], *, check_mode: bool) -> tuple[list[str], str]:
    """Bring the file to what is wanted; return what was done, in words, and where the former one is kept."""
    path = real_path(Path(options["path"]))
    if options["state"] == "present" and not check_mode:
        make_folder(path.parent)
    if not path.parent.exists():
        return ([f"write {path}"] if options["state"] == "present" else []), ""
    with contextlib.nullcontext() if check_mode else locked(path):
        there = path.read_text() if path.exists() else None
        text = wanted(options, there)
        if text == there:
            return [], ""
        action = f"merge cluster {options['cluster']} into" if options["merge"] else "write"
        words = f"{action} {path}" if text is not None else f"remove {path}"
        if options["state"] == "absent" and text is not None:
            words = f"remove cluster {options['cluster']} from {path}"
        if check_mode:
            return [words], ""
        copy = "" if there is None else str(keep(path))
        if text is None:
            path.unlink()
        else:
            write(path, text)
    return [f"{words}; the former one is kept as {copy}" if copy else words], copy
