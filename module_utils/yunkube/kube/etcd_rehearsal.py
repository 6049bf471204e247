# SPDX-License-Identifier: Apache-2.0
"""A snapshot of etcd is tested: an etcd is started from it, asked what it holds, and removed."""

from __future__ import annotations

import contextlib
import re
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube import etcd, etcd_snapshot
from ansible.module_utils.yunkube.result import Fault
from ansible.module_utils.yunkube.words import joined

CHECK = "snapshot"
UNCHANGED = "nothing was changed; use another snapshot (`backup --list`)"
# Resources whose objects come and go by themselves.
RESTLESS = ("events", "leases", "masterleases", "peerserverleases", "endpointslices")
MOST = 6  # resources in a line
ELECTION = scaled(10.0)  # seconds for an etcd that has just started to answer, and to have a leader
GAP = 1_000_000_000  # revisions between what was and what comes
# What API servers, controllers and kubelets write by themselves into an etcd that lost everything.
BORN = (
    "apiregistration.k8s.io/apiservices", "certificatesigningrequests", "clusterrolebindings", "clusterroles",
    "clustertrustbundles", "configmaps", "csinodes", "endpointslices", "events", "flowschemas", "ipaddresses", "leases",
    "masterleases", "minions", "namespaces", "peerserverleases", "pods", "priorityclasses",
    "prioritylevelconfigurations", "ranges", "rolebindings", "roles", "serviceaccounts", "servicecidrs",
    "services/endpoints", "services/specs",
)  # fmt: skip
MADE = ("/registry/configmaps/kube-system/kubeadm-config",)  # by `kubeadm init`, which a lost etcd has not seen again
# Of these resources, that is what they write: the kubelet its static pods, controllers the API server's authority.
ONLY = {
    "clustertrustbundles": "/registry/clustertrustbundles/kubernetes.io:kube-apiserver-serving:",
    "pods": "/registry/pods/kube-system/",
}
INCOMING = re.compile(r"incoming(-[0-9a-f]{16})?")  # the folder of a copy that a run brought
LOST = ("absent", "leaderless", "empty")

Json = dict[str, t.Any]


class Live(t.NamedTuple):
    """What this host's own etcd says: that it holds this cluster (ours), another, nothing of a cluster (empty).

    It may have no container (absent) or no quorum (leaderless); all else is unclear.
    """

    state: str
    objects: t.Mapping[str, int] = {}
    detail: str = ""
    revision: int = 0


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


def look_live(own: etcd.Etcd, cluster_id: str, seconds: float = ELECTION) -> Live:
    """Ask this host's etcd what it holds; one that has just started is given time."""
    deadline = time.monotonic() + seconds
    while True:
        found = _look(own, cluster_id)
        if found.state not in ("leaderless", "unclear") or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def _look(own: etcd.Etcd, cluster_id: str) -> Live:
    revision = 0
    try:
        if not own.container():
            return Live("absent")
        leader, revision = own.status()
        if not leader:
            return Live("leaderless", {}, "it has no quorum", revision)
        found = etcd_snapshot.cluster_of(own.ask)
        if cluster_id and found.id == cluster_id:
            return Live("ours", _counted(own), "it holds this cluster", revision)
        if found.id:
            return Live("another", {}, f"it {etcd_snapshot.objection(found, cluster_id, '')}", revision)
        keys = own.ask("get", etcd_snapshot.REGISTRY, "--prefix", "--keys-only").splitlines()
        if kept := written(keys):
            return Live("unclear", {}, f"it holds {kept}, and no ConfigMap kube-system/yunkube with an id", revision)
    except (etcd.EtcdError, ValueError, LookupError, TypeError) as error:
        if own.leaderless():
            return Live("leaderless", {}, "it has no quorum", revision)
        return Live("unclear", {}, str(error) or "it answers something else", revision)
    return Live("empty", {}, "it is empty", revision)


def _counted(own: etcd.Etcd) -> t.Mapping[str, int]:
    """Return how many objects it has; nothing where that takes too long, which says nothing about whose they are."""
    try:
        return etcd_snapshot.objects(own.ask)
    except etcd.EtcdError:
        return {}


def written(keys: t.Iterable[str]) -> str:
    """Return a key that somebody made, and that no control plane makes by itself; empty where there is none."""
    for key in filter(None, keys):
        resource = etcd_snapshot.resource_of(key) if key.startswith(etcd_snapshot.REGISTRY) else ""
        if key in MADE or resource not in BORN or not key.startswith(ONLY.get(resource, "")):
            return key
    return ""


class Rehearsal:
    """The test of one file."""

    def __init__(self, path: Path, name: str, cluster_id: str, expected: Json) -> None:
        """Test a file against what was noted of it when it was saved; nothing is expected of one without notes."""
        self.path = path
        self.name = name
        self.cluster_id = cluster_id
        self.expected = expected

    def beside(self, own: etcd.Etcd, run: etcd_snapshot.Run, ctr: str) -> tuple[Json, Live]:
        """Run it on this host, whose etcd goes on; return what the snapshot holds, and what that etcd does."""
        etcd_snapshot.sweep(etcd.SNAPSHOTS, INCOMING)
        live = look_live(own, self.cluster_id, 0)
        ca = etcd_snapshot.CA.read_text() if etcd_snapshot.CA.exists() else ""
        with ready(run, ctr, etcd.SNAPSHOTS) as programs:
            return self.run(programs, etcd.SNAPSHOTS, ca), live

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
    """Say what was found; `noted` where numbers of objects were compared."""
    count = sum(found["objects"].values())
    checked = ", as many of each resource as when it was saved" if noted else ""
    now = f"; {since(found['objects'], live.objects)}" if live.objects else ""
    return f"etcd starts with it: revision {found['revision']}, {count} objects{checked}{now}"


def refused(message: str) -> Fault:
    """Return a fault of the snapshot."""
    return Fault(CHECK, message, UNCHANGED)


def objection_live(masters: t.Mapping[str, Json]) -> Fault | None:
    """Return why nothing is restored: unless every master's etcd is known to be lost, it may hold the cluster."""
    told = {host: (str(said.get("state") or "unclear"), str(said.get("told") or "")) for host, said in masters.items()}
    holding = [host for host, (state, _) in told.items() if state == "ours"]
    if holding:
        message = f"etcd holds this cluster on {joined(holding)}; a restore would lose what was written since"
        return Fault("restore", message, "to go back to the snapshot anyway, add --rollback; nothing was changed")
    doubtful = [f"{host}: {detail or state}" for host, (state, detail) in told.items() if state not in LOST]
    if not doubtful:
        return None
    message = f"it is not certain that etcd lost the cluster: {'; '.join(doubtful[:MOST])}"
    return Fault("restore", message, "to replace what is there anyway, add --rollback; nothing was changed")


def continue_at(snapshot: int, masters: t.Iterable[Json], now: float) -> int:
    """Return the revision at which all masters go on, higher than any that a client of this cluster saw.

    It is the time in milliseconds: etcd does not write a thousand times a second for long, so a later one is higher.
    """
    highest = max(snapshot, *(int(said.get("revision") or 0) for said in masters), 0)
    milliseconds = int(now * 1000)
    return milliseconds if milliseconds > highest else highest + GAP  # the latter where the clock is wrong


@contextlib.contextmanager
def ready(run: etcd_snapshot.Run, ctr: str, folder: Path) -> t.Iterator[etcd_snapshot.Programs]:
    """Mount the image that this host's etcd runs from."""
    image = etcd_snapshot.read_manifest().image
    with etcd_snapshot.orderly_end(), etcd_snapshot.mounted(run, ctr, image, folder) as programs:
        yield programs
