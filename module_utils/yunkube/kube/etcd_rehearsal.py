# SPDX-License-Identifier: Apache-2.0
"""A snapshot of etcd put to the test: an etcd is started from it, asked what it holds, and removed."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.kube import etcd, etcd_snapshot
from ansible.module_utils.yunkube.result import Fault
from ansible.module_utils.yunkube.words import joined

CHECK = "snapshot"
UNCHANGED = "nothing was changed; use another snapshot (`backup --list`)"
# Resources whose objects come and go by themselves.
RESTLESS = ("events", "leases", "masterleases", "peerserverleases", "endpointslices")
MOST = 6  # resources in a line

Json = dict[str, t.Any]


class Live(t.NamedTuple):
    """What this host's own etcd says."""

    state: str  # ours, another or silent
    objects: t.Mapping[str, int]


def same(found: t.Mapping[str, int], expected: t.Mapping[str, int]) -> list[str]:
    """Return the differences between numbers of objects, in words."""
    names = sorted({*found, *expected})
    return [
        f"{name}: {found.get(name, 0)}, not {expected.get(name, 0)}"
        for name in names
        if found.get(name, 0) != expected.get(name, 0)
    ]


def since(found: t.Mapping[str, int], now: t.Mapping[str, int]) -> str:
    """Say how the live cluster differs from a snapshot."""
    differing = [
        f"{name} {found.get(name, 0)} → {now.get(name, 0)}"
        for name in sorted({*found, *now})
        if found.get(name, 0) != now.get(name, 0) and name.split("/")[-1] not in RESTLESS
    ]
    if not differing:
        return "as many objects of each resource as the cluster has now"
    more = f" and {len(differing) - MOST} more" if len(differing) > MOST else ""
    return f"the cluster has other numbers now: {', '.join(differing[:MOST])}{more}"


def look_live(own: etcd.Etcd, cluster_id: str) -> Live:
    """Ask this host's etcd whether it holds this cluster; one without a quorum is silent, as is none."""
    try:
        own.members()
        found = etcd_snapshot.cluster_of(own.ask)
        state = "ours" if found.id == cluster_id else "another"
        return Live(state, etcd_snapshot.objects(own.ask) if state == "ours" else {})
    except (etcd.EtcdError, ValueError, KeyError):
        return Live("silent", {})


class Rehearsal:
    """The test of one file."""

    def __init__(self, path: Path, name: str, cluster_id: str, expected: Json) -> None:
        """Test a file against what was noted of it when it was saved; nothing is expected of one without notes."""
        self.path = path
        self.name = name
        self.cluster_id = cluster_id
        self.expected = expected

    def run(self, programs: etcd_snapshot.Programs, folder: Path, ca: str) -> Json:
        """Return what the snapshot holds; raise SnapshotError where it cannot be used."""
        digest = etcd_snapshot.refuse_damaged(self.path, self.name)
        status = programs.status(self.path, self.name)
        with etcd_snapshot.workshop(folder) as made, programs.started(self.path, made) as ask:
            if why := etcd_snapshot.objection(etcd_snapshot.cluster_of(ask), self.cluster_id, ca):
                raise etcd_snapshot.SnapshotError(f"{self.name} {why}")
            found = {**status, "sha256": digest, "objects": etcd_snapshot.objects(ask, status["revision"])}
        self._compare(found)
        return found

    def _compare(self, found: Json) -> None:
        """Refuse what is not what was noted."""
        notes = self.expected
        wrong = [
            f"{word} {found[key]}, not {notes[key]}"
            for key, word in (("revision", "revision"), ("sha256", "digest"))
            if key in notes and notes[key] != found[key]
        ]
        wrong += same(found["objects"], notes["objects"]) if notes.get("objects") and not wrong else []
        if wrong:
            raise etcd_snapshot.SnapshotError(f"{self.name} is not what was saved: it has {joined(wrong[:MOST])}")


def in_words(found: Json, live: Live, *, noted: bool) -> str:
    """Say what was found."""
    count = sum(found["objects"].values())
    checked = ", as many of each resource as when it was saved" if noted else ""
    now = f"; {since(found['objects'], live.objects)}" if live.state == "ours" else ""
    return f"etcd starts with it: revision {found['revision']}, {count} objects{checked}{now}"


def refused(message: str) -> Fault:
    """Return a fault of the snapshot."""
    return Fault(CHECK, message, UNCHANGED)


def objection_live(live: Live) -> Fault | None:
    """Return why nothing is restored while the cluster is there."""
    if live.state != "ours":
        return None
    count = sum(live.objects.values())
    message = f"etcd answers and holds this cluster, {count} objects; a restore would lose what was written since"
    return Fault("restore", message, "to go back to the snapshot anyway, add --rollback; nothing was changed")


@contextlib.contextmanager
def ready(run: etcd_snapshot.Run, ctr: str, folder: Path) -> t.Iterator[etcd_snapshot.Programs]:
    """Mount the image that this host's etcd runs from."""
    with etcd_snapshot.mounted(run, ctr, etcd_snapshot.read_manifest().image, folder) as programs:
        yield programs
