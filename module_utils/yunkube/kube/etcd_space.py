# SPDX-License-Identifier: Apache-2.0
"""The room that etcd has: each member's file has a quota, and above it the whole cluster takes no writes any more.

https://etcd.io/docs/v3.6/op-guide/maintenance/
"""

from __future__ import annotations

import json
import typing as t

from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube.etcd import Etcd, EtcdError, Member

REWRITE = scaled(300.0)  # seconds to write the file of a member again, which is as large as its quota at most
COMPACTED = "required revision has been compacted"


class Room(t.NamedTuple):
    """A member's file."""

    member: Member
    leads: bool
    size: int  # bytes
    used: int  # bytes of them that hold data
    quota: int  # bytes

    def __str__(self) -> str:
        """Say how full it is."""
        return (
            f"the database of {self.member.name} takes {self.size / 2**20:.0f} MiB,"
            f" its quota is {self.quota / 2**20:.0f} MiB"
        )


class EtcdSpace:
    """Makes room in the members' files."""

    def __init__(self, etcd: Etcd) -> None:
        """Ask and change the cluster that this etcd belongs to."""
        self._etcd = etcd

    def rooms(self) -> list[Room]:
        """Return each member's file, that of the leader last: while it is written again, the member answers nobody."""
        found = []
        for member in self._etcd.members():
            if member.clients:
                status = json.loads(self._at(member, "endpoint", "status", "--write-out=json"))[0]["Status"]
                leads = int(status.get("leader", 0)) == int(status["header"]["member_id"])
                sizes = (int(status.get(key, 0)) for key in ("dbSize", "dbSizeInUse", "dbSizeQuota"))
                found.append(Room(member, leads, *sizes))
        return sorted(found, key=lambda room: room.leads)

    def compact(self) -> None:
        """Discard former values of all keys, on all members; those that read them list all again."""
        _, revision = self._etcd.status()
        try:
            self._etcd.ask_all("compact", str(revision), "--physical")
        except EtcdError as error:
            if COMPACTED not in str(error):  # nothing was written since: a run before this one did it
                raise

    def defragment(self, member: Member) -> None:
        """Write a member's file again without what is free in it."""
        self._at(member, "defrag", f"--command-timeout={REWRITE:g}s")

    def disarm(self) -> None:
        """Let the members take writes again."""
        self._etcd.ask("alarm", "disarm")

    def _at(self, member: Member, *words: str) -> str:
        return self._etcd.ask_at(member.clients[0], *words)
