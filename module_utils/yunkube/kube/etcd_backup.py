# SPDX-License-Identifier: Apache-2.0
"""A snapshot of this host's etcd, checked, with notes of what it holds; and what there is of snapshots in a folder."""

from __future__ import annotations

import re
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.kube import etcd, etcd_snapshot

SCHEDULED = Path("/var/lib/yunkube/backups")  # where the timer of role backup puts them
PASSING = re.compile(r"\d{8}T\d{6}Z-backup\.(db|part)")  # what `backup` copies from here, where it was not killed
NAME = re.compile(r".+-(?P<stamp>\d{8}T\d{6}Z)\.db(?P<sealed>\.cms)?")

Json = dict[str, t.Any]


def healthy(own: etcd.Etcd, name: str) -> str:
    """Return why this host's member is not healthy; empty where it is."""
    try:
        members = own.members()
        mine = etcd.member_of(members, name)
        if mine is None or not etcd.is_healthy(mine, own.healthy(members)):
            return "etcd on this host does not answer a proposal: it has no quorum, or has just started"
    except etcd.EtcdError as error:
        return str(error)
    return ""


def save(
    own: etcd.Etcd, programs: etcd_snapshot.Programs, cluster_id: str, newest: Json | None = None
) -> tuple[Path, Json]:
    """Save a snapshot of a healthy member; return where it is, and notes of what it holds.

    An etcd whose revision is lower than that of the newest backup is another than the one that was saved then.
    """
    etcd_snapshot.sweep(etcd.SNAPSHOTS, PASSING)
    static = etcd_snapshot.read_manifest()
    if why := healthy(own, static.name):
        raise etcd.EtcdError(why)
    if why := etcd_snapshot.objection(etcd_snapshot.cluster_of(own.ask), cluster_id, ""):
        message = f"what etcd holds {why}: its data was lost or replaced; bring it back with `restore FILE`"
        raise etcd.EtcdError(message, commands=("restore FILE",))
    if why := older(own.status()[1], cluster_id, newest or {}):
        remedy = "Bring it back with `restore FILE`, or keep what is there: `backup --to` a new folder"
        raise etcd.EtcdError(f"{why}. {remedy}", commands=("restore FILE", "backup --to FOLDER"))
    path = own.snapshot("backup")
    try:
        digest = etcd_snapshot.refuse_damaged(path)
        status = programs.status(path)
        # Still there at the moment of the snapshot, as the API compacts what is five minutes old.
        objects = etcd_snapshot.objects(own.ask_all, status["revision"])
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    saved = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    notes = {"cluster_id": cluster_id, "member": static.name, "saved": saved, "size": path.stat().st_size}
    return path, {**notes, "sha256": digest, **status, "objects": objects}


def older(revision: int, cluster_id: str, newest: Json) -> str:
    """Return why a snapshot must not become the newest backup; empty where it may."""
    before = newest.get("revision") or 0
    if newest.get("cluster_id") != cluster_id or revision >= before:
        return ""
    return (
        f"etcd is at revision {revision}, and the newest backup {newest.get('name', '')} at {before}: etcd lost its "
        "data and was filled again"
    )


def in_words(notes: Json) -> str:
    """Say what was saved."""
    count = sum(notes["objects"].values())
    return (
        f"save a snapshot of etcd: {size_of(notes['size'])}, hash {notes['hash']}, revision {notes['revision']}, "
        f"{notes['keys']} keys, {count} objects"
    )


def size_of(size: int) -> str:
    """Return a number of bytes in MB."""
    return f"{size / 1e6:.1f} MB"


def age_of(seconds: float) -> str:
    """Return an age in the largest unit that has two of them."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def listing(folder: Path, where: str, now: float, only: str = "") -> list[Json]:
    """Return the snapshots in a folder, the newest first, as rows of a table."""
    rows = []
    for path in folder.glob("*.db*") if folder.is_dir() else ():
        found = NAME.fullmatch(path.name)
        if found and path.is_file() and only in ("", path.name):
            state = path.stat()
            sealed = ", encrypted" if found["sealed"] else ""
            rows.append(
                {
                    "check": "backup",
                    "target": path.name,
                    "ok": True,
                    "detail": f"{where}: {size_of(state.st_size)}, {age_of(now - state.st_mtime)} old{sealed}",
                    "path": str(path),
                    "stamp": found["stamp"],
                    "size": state.st_size,
                    "age": round(now - state.st_mtime),
                    "encrypted": bool(sealed),
                }
            )
    return sorted(rows, key=lambda row: str(row["stamp"]), reverse=True)
