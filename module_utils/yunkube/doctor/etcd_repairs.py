# SPDX-License-Identifier: Apache-2.0
"""Repairs of etcd's space; of what is stored only former values are discarded."""

from __future__ import annotations

from ansible.module_utils.yunkube.doctor import probes
from ansible.module_utils.yunkube.doctor.repair_work import RepairError, Work
from ansible.module_utils.yunkube.kube.etcd import Etcd
from ansible.module_utils.yunkube.kube.etcd_space import EtcdSpace, Room

FULL = (
    "{}, and former values are discarded already: delete objects that nobody needs (deletions are taken), or set a"
    " higher quota-backend-bytes in /etc/kubernetes/manifests/etcd.yaml on each master, then run the same command again"
)


def free_etcd_space(work: Work, _target: str) -> None:
    """Discard former values, write each member's file again without them, and let etcd take writes again."""
    space = _space(work)
    if work.note("discard former values in etcd (compact)"):
        space.compact()
    for room in space.rooms():
        _defragment(work, space, room)
    full = [room for room in space.rooms() if room.size >= room.quota]
    if full and not work.dry:
        raise RepairError(FULL.format("; ".join(map(str, full))))
    if work.note("disarm etcd's alarm NOSPACE"):
        space.disarm()
    work.wait(lambda: "NOSPACE" not in probes.etcd()["health"], "etcd still has the alarm NOSPACE")


def defragment_etcd(work: Work, _target: str, member: str) -> None:
    """Write a member's file again without what is free in it."""
    space = _space(work)
    for room in space.rooms():
        if room.member.name == member:
            _defragment(work, space, room)
    work.wait(lambda: probes.probe(probes.MASTER_PROBES["etcd"]) == "ok", "etcd is not healthy")


def _space(work: Work) -> EtcdSpace:
    return EtcdSpace(Etcd(work.module.run_command, work.program("crictl")))


def _defragment(work: Work, space: EtcdSpace, room: Room) -> None:
    if work.note(f"defragment etcd's database of {room.member.name}"):
        space.defragment(room.member)
