# SPDX-License-Identifier: Apache-2.0
"""A content-addressed store: results named by a digest of what they were made from.

A result is a folder that appears under its final name only when whole, so a killed build leaves
nothing that a later one could mistake for a result, and every finished part is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.file_lock import locked

RESULT_SECONDS = 3600.0  # how long to wait for another run that makes the same result


def digest_of(value: object) -> str:
    """Return the sha256 of a JSON-able value, the same for the same value on every machine."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_tree(folder: Path) -> str:
    """Return the sha256 over names and contents of the files of a folder (not of its subfolders)."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        total.update(f"{path.name}\0{digest_file(path)}\n".encode())
    return total.hexdigest()


def files_below(folder: Path) -> t.Iterator[Path]:
    """Return all files under a folder, however deep; what is removed meanwhile is passed over."""
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent, name)


class Store:
    """Folders of results under one root."""

    def __init__(self, root: Path) -> None:
        """Use `root`, made when it is not there yet."""
        self.root = root
        self.used: set[str] = set()  # names of the results that were asked for and are there
        root.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, key: str) -> Path | None:
        """Return the result's folder when it is there."""
        folder = self._folder(name, key)
        if not folder.is_dir():
            return None
        self.used.add(folder.name)
        return folder

    def put(self, name: str, key: str, make: t.Callable[[Path], None]) -> Path:
        """Return the result's folder; where it is missing, let `make` fill an empty one first."""
        folder = self._folder(name, key)
        with locked(self.root / f".{folder.name}.lock", RESULT_SECONDS):
            if folder.is_dir():
                self.used.add(folder.name)
                return folder
            part = self.root / f".{folder.name}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            for path in part.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    with path.open("rb") as stream:
                        os.fsync(stream.fileno())
            part.rename(folder)
        self.used.add(folder.name)
        return folder

    def drop(self, name: str, key: str) -> None:
        """Forget a result, to have it made again."""
        shutil.rmtree(self._folder(name, key), ignore_errors=True)

    def _folder(self, name: str, key: str) -> Path:
        return self.root / f"{name}-{key[:16]}"


def results_of(root: Path, file: Path) -> list[Path]:
    """Return the results of a store that a file is a name of, or a link to, be it one to nothing."""
    inode = file.stat().st_ino if file.exists() else None
    others = (other for other in root.glob("[!.]*/*") if inode is not None and other.is_file())
    found = {other.parent for other in others if other.stat().st_ino == inode}
    target = file.resolve()
    if target.parent.parent == root.resolve() and target.parent.is_dir():
        found.add(root / target.parent.name)
    return sorted(found)


def discard(result: Path) -> None:
    """Remove a result. Under its name, half of it would pass for a whole one."""
    part = result.with_name(f".{result.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    result.rename(part)
    shutil.rmtree(part)


def discard_results_of(cache: Path, file: Path) -> None:
    """Remove the results that share a damaged file; programs of bundles that are links to their other files stay."""
    for result in results_of(cache / "store", file):
        for link in (cache / "bundles").glob("*/bin/*"):
            kept = link.is_symlink() and link.exists() and link.resolve().parent == result.resolve()
            if kept and not (file.exists() and link.samefile(file)):
                part = link.with_name(f".{link.name}.{os.getpid()}")
                os.link(link.resolve(), part)
                part.replace(link)
        with locked(result.with_name(f".{result.name}.lock"), RESULT_SECONDS):
            if result.is_dir():
                discard(result)
