# SPDX-License-Identifier: Apache-2.0
"""Backups in a folder of the control machine: which one is meant, what was noted of it, how a new one gets there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.kube import etcd_snapshot
from ansible.module_utils.yunkube.kube.etcd import EtcdError

Json = dict[str, t.Any]

STAMP = r"\d{8}T\d{6}Z"
KINDS: dict[str, type] = {"revision": int, "sha256": str, "objects": dict, "cluster_id": str}


class Chosen(t.NamedTuple):
    """A backup, and what was noted when it was saved."""

    path: str
    notes: Json
    folder: str  # a name that no other run has, for the copy on a host


def choose(file: str, newest: str, where: Path) -> Chosen:
    """Return the backup that is meant: a file, or the newest."""
    path = file or newest
    if not path:
        raise EtcdError(
            f"there is no backup in {where}: save one first (`backup`), or name a file", commands=("backup",)
        )
    return Chosen(path, read_notes(Path(path)), f"incoming-{secrets.token_hex(8)}")


def own(table: t.Iterable[Json], cluster: str) -> list[str]:
    """Return the paths of a listing that `backup` saved of a cluster, the newest first; of all without a name."""
    mine = re.compile(rf"{re.escape(cluster)}-{STAMP}\.db" if cluster else r".+\.db")
    return [str(row["path"]) for row in table if mine.fullmatch(str(row["target"]))]


def last_notes(table: t.Iterable[Json], cluster: str) -> Json:
    """Return what was noted of the newest of a cluster's backups that has notes, empty where none has."""
    noted = (notes_of(Path(path)) for path in own(table, cluster))
    return next((notes for notes in noted if "revision" in notes), {})


def read_notes(path: Path) -> Json:
    """Return what was noted beside a backup, empty where nothing was; raise where that is no note of ours."""
    beside = path.with_suffix(".json")
    if path.suffix != ".db" or not beside.is_file():
        return {}
    try:
        notes = json.loads(beside.read_text(encoding="utf-8"))
    except OSError as error:
        raise EtcdError(f"{beside}: {error.strerror}; make it readable") from error
    except ValueError as error:
        raise EtcdError(f"{beside} {_wrong('no JSON')}") from error
    if not isinstance(notes, dict):
        raise EtcdError(f"{beside} {_wrong('a list or a text')}")
    wrong = [key for key, kind in KINDS.items() if key in notes and not _is(notes[key], kind)]
    if "objects" not in wrong and not all(_is(number, int) for number in (notes.get("objects") or {}).values()):
        wrong.append("objects")
    if wrong:
        raise EtcdError(f"{beside} {_wrong('wrong in ' + ', '.join(wrong))}")
    return {**notes, "name": path.name}


def notes_of(path: Path) -> Json:
    """Return what was noted beside a backup, empty where it cannot be read."""
    with contextlib.suppress(EtcdError):
        return read_notes(path)
    return {}


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _wrong(what: str) -> str:
    return f"is {what}, not the notes that are saved beside a backup; move it away to use the backup without it"


def part_of(path: Path) -> Path:
    """Return where a backup is while it is copied."""
    return path.with_name(f"{path.name}.part")


def begin(path: Path) -> list[str]:
    """Create an empty file for the owner alone, in which a copy is to arrive; return what killed runs had left."""
    missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700)
    cluster = re.sub(rf"-{STAMP}\.db$", "", path.name)
    left = etcd_snapshot.sweep(path.parent, re.compile(rf"{re.escape(cluster)}-{STAMP}\.db\.part"))
    part_of(path).unlink(missing_ok=True)
    os.close(os.open(part_of(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return left


def keep(path: Path, notes: Json) -> None:
    """Give a whole copy its name, after its notes; raise where it is not what was saved."""
    part = part_of(path)
    if etcd_snapshot.refuse_damaged(part) != notes["sha256"]:
        raise EtcdError(f"{part} is not what was saved on the host: run `backup` again", commands=("backup",))
    write_atomic(path.with_suffix(".json"), json.dumps(notes, indent=4, sort_keys=True) + "\n", 0o600)
    part.chmod(0o600)
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    part.replace(path)
    with contextlib.suppress(OSError):  # not every file system can
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
