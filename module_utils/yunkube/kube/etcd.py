# SPDX-License-Identifier: Apache-2.0
"""The etcd of the control plane, asked through the etcdctl of its own container on this host."""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import shutil
import time
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host.patience import scaled

MANIFEST = Path("/etc/kubernetes/manifests/etcd.yaml")
DATA = Path("/var/lib/etcd")  # mounted into the container at the same place
SNAPSHOTS = Path("/var/lib/yunkube/etcd-snapshots")
PKI = "/etc/kubernetes/pki/etcd"
TLS = (("cacert", "ca.crt"), ("cert", "healthcheck-client.crt"), ("key", "healthcheck-client.key"))
OWN = f"https://127.0.0.1:{constants.ETCD_PORTS[0]}"  # where this host's own member answers
METRICS = 2381  # where etcd shows its numbers to this host, as kubeadm has it
PATIENCE = scaled(60.0)  # seconds for a member to leave and the others to be healthy
REMEDY = "correct that on this host, and run the same command again"

Run = t.Callable[[list[str]], tuple[int, str, str]]


class EtcdError(Exception):
    """etcd did not do what it was asked; the message says what, and `commands` are those that it names."""

    def __init__(self, message: str, commands: t.Sequence[str] = ()) -> None:
        """Say what happened."""
        super().__init__(message)
        self.commands = tuple(commands)


class Member(t.NamedTuple):
    """A member, as `etcdctl member list` shows it. One that never started has neither a name nor a client URL."""

    id: str  # hexadecimal, as etcdctl takes it
    name: str
    peers: tuple[str, ...]  # hosts of the peer URLs
    clients: tuple[str, ...]  # client URLs
    learner: bool = False
    peer_urls: tuple[str, ...] = ()


def parse_members(listing: str) -> list[Member]:
    """Read `etcdctl member list --write-out=json`."""
    return [
        Member(
            f"{entry['ID']:x}",
            str(entry.get("name") or ""),
            tuple(urlsplit(url).hostname or "" for url in entry.get("peerURLs") or ()),
            tuple(entry.get("clientURLs") or ()),
            bool(entry.get("isLearner")),
            tuple(entry.get("peerURLs") or ()),
        )
        for entry in json.loads(listing)["members"]
    ]


def parse_health(listing: str) -> set[str]:
    """Return the endpoints that `etcdctl endpoint health --write-out=json` calls healthy."""
    try:
        return {str(entry["endpoint"]) for entry in json.loads(listing) if entry.get("health")}
    except (ValueError, KeyError, TypeError):
        return set()


def member_of(members: t.Sequence[Member], name: str, address: str = "") -> Member | None:
    """Return the member of a node: by its name, or by its address where it never started."""
    named = next((member for member in members if member.name == name), None)
    unnamed = (member for member in members if not member.name and address and address in member.peers)
    return named or next(unnamed, None)


def in_removal_order(leaving: t.Iterable[Member], healthy: t.Container[str]) -> list[Member]:
    """Return the members in the order that keeps the quorum the longest: what is dead first."""
    return sorted(leaving, key=lambda member: is_healthy(member, healthy))


def is_healthy(member: Member, healthy: t.Container[str]) -> bool:
    """Say whether one of the member's endpoints is among the healthy ones."""
    return any(url in healthy for url in member.clients)


def objection(members: t.Sequence[Member], healthy: t.Container[str], leaving: t.Sequence[Member]) -> str:
    """Return why the members must not be removed, one after the other; empty when the quorum holds at every step."""
    left = list(members)
    for gone in (None, *in_removal_order(leaving, healthy)):
        left = [member for member in left if member != gone]
        voters = [member for member in left if not member.learner]
        well = [member for member in voters if is_healthy(member, healthy)]
        quorum = len(voters) // 2 + 1
        if len(well) < quorum:
            unhealthy = ", ".join(sorted(label(member) for member in voters if member not in well))
            when = f"without {label(gone)} etcd would have" if gone else "etcd has"
            return f"{when} {len(voters)} members, {len(well)} of them healthy, and needs {quorum} for its quorum" + (
                f"; not healthy: {unhealthy}" if unhealthy else ""
            )
    return ""


def addresses(members: t.Iterable[Member]) -> dict[str, str]:
    """Return the URLs at which the members reach each other, by name."""
    return {member.name: ",".join(member.peer_urls) for member in members}


def trouble(error: OSError, remedy: str = REMEDY) -> str:
    """Say what this host refused, and what to do about it."""
    where = f"{error.filename}: " if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{where}{error.strerror or error}; {'free some space there, then ' if full else ''}{remedy}"


def refuse_full(folder: Path, needed: float, what: str) -> None:
    """Raise where a file system has less room than needed."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EtcdError(f"{folder} has {free >> 20} MB left, and {what} needs {int(needed) >> 20} MB: free some")


def label(member: Member) -> str:
    """Return what a member is called in a message."""
    return member.name or f"the member at {', '.join(member.peers)} that never started"


class Etcd:
    """Calls of etcdctl on this host."""

    def __init__(self, run: Run, crictl: str) -> None:
        """Remember how programs are run."""
        self._run = run
        self._crictl = [crictl, "--runtime-endpoint", constants.CRI_ENDPOINT]

    def members(self) -> list[Member]:
        """Return the members, as far as this host's own etcd knows: also without a quorum."""
        return parse_members(self._etcdctl("member", "list", "--consistency=s", "--write-out=json"))

    def status(self) -> tuple[bool, int]:
        """Say whether the members have a leader, and which revision this host's own has; also without a quorum."""
        found = json.loads(self.ask("endpoint", "status", "--write-out=json"))[0]["Status"]
        return bool(found.get("leader")), int(found["header"].get("revision") or 0)

    def healthy(self, members: t.Sequence[Member]) -> set[str]:
        """Return the endpoints that answer a proposal in time. All are silent where there is no quorum."""
        endpoints = ",".join(url for member in members for url in member.clients)
        _, out, _ = self._run(self._argv("endpoint", "health", "--write-out=json", endpoints=endpoints))
        return parse_health(out)

    def ask(self, *words: str) -> str:
        """Return what etcdctl says; it gives up after some seconds where there is no quorum."""
        return self._etcdctl(*words, f"--command-timeout={scaled(5.0):g}s")

    def ask_all(self, *words: str) -> str:
        """Ask for what takes long in a large cluster."""
        return self._etcdctl(*words, f"--command-timeout={PATIENCE:g}s")

    def ask_at(self, endpoint: str, *words: str) -> str:
        """Return what etcdctl says of the member that answers at a client URL."""
        return self._etcdctl(*words, endpoints=endpoint)

    def leaderless(self, port: int = METRICS) -> bool:
        """Say whether it runs without a leader, which a member says here that answers no client after its start."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=scaled(5))
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse().read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return bool(re.search(r"(?m)^etcd_server_has_leader 0$", answer))

    def snapshot(self, why: str) -> Path:
        """Save a snapshot for root alone, and return where it is."""
        written = DATA / "yunkube-snapshot.db"  # the container sees no other folder of the host
        kept = SNAPSHOTS / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{why}.db"
        written.unlink(missing_ok=True)
        try:
            for folder in (SNAPSHOTS.parent, SNAPSHOTS):
                folder.mkdir(mode=0o700, exist_ok=True)
            self._etcdctl("snapshot", "save", str(written))
            written.chmod(0o600)
            _move(written, kept)
        except OSError as error:
            raise EtcdError(f"the snapshot {kept} cannot be written: {error.strerror}; {REMEDY}") from error
        finally:
            for path in (written, DATA / f"{written.name}.part"):
                path.unlink(missing_ok=True)
        return kept

    def remove(self, member: Member, healthy: t.Container[str], seconds: float = PATIENCE) -> None:
        """Remove a member, and wait until it is gone and the others that were healthy are so again."""
        self._etcdctl("member", "remove", member.id)
        deadline = time.monotonic() + seconds
        while True:
            try:
                left = self.members()
                well = self.healthy(left)
                late = [one for one in left if is_healthy(one, healthy) and not is_healthy(one, well)]
                late += [one for one in left if one.id == member.id and one not in late]
                if not late:
                    return
                trouble = ", ".join(label(one) for one in late)
            except EtcdError as error:  # a new leader is being elected
                trouble = str(error)
            if time.monotonic() > deadline:
                raise EtcdError(f"etcd is not healthy {seconds:g} s after {label(member)} was removed: {trouble}")
            time.sleep(0.5)

    def container(self) -> str:
        """Return the container that runs; empty where none does."""
        code, out, err = self._run([*self._crictl, "ps", "--quiet", "--name", "^etcd$", "--label", constants.OF_SYSTEM])
        if code != 0:
            raise EtcdError(f"containerd does not list its containers: {err.strip()[-300:]}; start containerd")
        return out.split()[0] if out.strip() else ""

    def _etcdctl(self, *words: str, endpoints: str = "") -> str:
        code, out, err = self._run(self._argv(*words, endpoints=endpoints))
        if code != 0:
            raise EtcdError(f"etcdctl {' '.join(words[:2])}: {(err or out).strip()[-300:]}")
        return out

    def _argv(self, *words: str, endpoints: str = "") -> list[str]:
        container = self.container()
        if not container:
            raise EtcdError("no container of etcd runs on this host")
        files = [f"--{key}={PKI}/{name}" for key, name in TLS]
        return [
            *self._crictl, "exec", container, "etcdctl", f"--endpoints={endpoints or OWN}", *files, *words
        ]  # fmt: skip


def _move(source: Path, target: Path) -> None:
    """Move a file that may go to another file system, and see it on the disk before it counts."""
    part = target.with_suffix(".part")
    try:
        with (
            source.open("rb") as reader,
            os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as writer,
        ):
            while block := reader.read(1 << 20):
                writer.write(block)
            writer.flush()
            os.fsync(writer.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
