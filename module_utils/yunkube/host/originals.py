# SPDX-License-Identifier: Apache-2.0
"""Files of the host that a cluster overwrites: the first version is kept, and put back when the cluster goes.

Only what the host's record names is the host's; everything else was written by the cluster itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host import state as host_state

ORIGINALS = "original"
WRITTEN_BY_OTHERS = "etc/firewalld/"  # what they hold by now may be somebody's: see `firewalld_zones`


def keep(path: Path, root: Path = Path("/")) -> None:
    """Copy a file with mode, owner and times, before it is overwritten for the first time.

    `root` is what paths of the record are relative to.
    """
    name = str(path.relative_to(root))
    kept = _folder() / name
    record = host_state.read_record() if os.path.lexists(path) and not os.path.lexists(kept) else None
    # A record without `trees` is of a version that kept nothing: what is there now may be the cluster's already.
    if record is None or "trees" not in record or f"/{name}" not in record["files"]:
        return
    _folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    _copy(path, kept)


def copy_of(path: Path) -> Path | None:
    """Return where the first version of the file is kept."""
    copy = _folder() / str(path).lstrip("/")
    return copy if os.path.lexists(copy) else None


def is_kept(path: Path) -> bool:
    """Whether a first version of the file is kept, that is: the cluster has overwritten it."""
    return copy_of(path) is not None


def kept(root: Path = Path("/")) -> dict[Path, Path]:
    """Return every path that the cluster has overwritten, with where its first version is, unless that is back."""
    found = {}
    for parent, folders, names in os.walk(_folder()):
        for name in [*names, *(folder for folder in folders if Path(parent, folder).is_symlink())]:
            copy = Path(parent, name)
            path = root / copy.relative_to(_folder())
            if copy.name.endswith(PART) or str(copy.relative_to(_folder())).startswith(WRITTEN_BY_OTHERS):
                continue
            if _state(copy) != _state(path):
                found[path] = copy
    return found


def restore(root: Path = Path("/")) -> None:
    """Put the kept versions back."""
    for path, copy in kept(root).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _copy(copy, path)


def put_back(copy: Path, path: Path) -> None:
    """Put one version back, unless it is back already."""
    if _state(copy) != _state(path):
        _copy(copy, path)


PART = ".yunkube-part"


def _folder() -> Path:
    return host_state.FOLDER / ORIGINALS


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a symbolic link; `target` appears whole or not at all."""
    part = target.with_name(f".{target.name}{PART}")
    part.unlink(missing_ok=True)
    shutil.copy2(source, part, follow_symlinks=False)
    about = source.lstat()
    os.chown(part, about.st_uid, about.st_gid, follow_symlinks=False)
    if not part.is_symlink():
        part.chmod(stat.S_IMODE(about.st_mode))  # again: chown drops setuid
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
    part.replace(target)


def _state(path: Path) -> tuple[t.Any, ...]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        about = path.lstat()
        if stat.S_ISLNK(about.st_mode):
            content = os.fsencode(path.readlink())
        else:
            content = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
        return (about.st_mode, about.st_uid, about.st_gid, content)
    return ()
