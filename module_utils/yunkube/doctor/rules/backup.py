# SPDX-License-Identifier: Apache-2.0
"""Scheduled backups of etcd: whether they are saved."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule


def failed(facts: Facts) -> t.Iterator[Hit]:
    """Masters whose last scheduled backup saved nothing."""
    for host in facts.masters:
        result = host.backup.get("result") or "success"
        if result != "success":
            said = host.backup.get("said")
            yield Hit(host.host, [f"the last run of yunkube-backup failed ({result})", *([said] if said else [])])


BACKUP_FAILED = Rule(
    "backup-failed",
    title="The last scheduled backup of etcd failed",
    looks="Nothing yet; the newest backup on this master gets older.",
    proof=failed,
    remedy="see journalctl -u yunkube-backup on {host}, remove the cause, then: systemctl start yunkube-backup",
    severity="warning",
)


def timer_stopped(facts: Facts) -> t.Iterator[Hit]:
    """Masters that save no backup at the declared times, now or after a reboot."""
    for host in facts.masters:
        timer, enabled = host.backup.get("timer") or "active", host.backup.get("enabled") or "enabled"
        if timer != "active" or enabled != "enabled":
            yield Hit(host.host, [f"yunkube-backup.timer is {timer} and {enabled}"])


BACKUP_TIMER_STOPPED = Rule(
    "backup-timer-stopped",
    title="The timer of backups does not run",
    looks="Nothing; no backup of etcd is saved at the declared times.",
    proof=timer_stopped,
    remedy="{command}, or on {host}: systemctl enable --now yunkube-backup.timer",
    call="up",
    severity="warning",
)
