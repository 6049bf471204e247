# SPDX-License-Identifier: Apache-2.0
"""Check what a cluster's values say of backups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.yunkube.control.cluster_rules import Cluster, Finding

# What systemd.time(7) allows in a calendar event: weekdays, dates, times and a time zone.
_CALENDAR = re.compile(r"[A-Za-z0-9*.,:/~+_ -]+")
_CERTIFICATE = re.compile(r"\s*-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*")


def schedule(cluster: Cluster) -> Iterator[Finding]:
    """The timer has a time, and keeps something; the key of its certificate is nowhere near a host."""
    when, certificate = cluster.text("backup_schedule"), cluster.text("backup_certificate")
    if when and not _CALENDAR.fullmatch(when):
        yield "backup_schedule", f"{when!r} is no time of systemd's", 'write one such as "*-*-* 02:30:00" or daily'
    keep = cluster.values.get("backup_keep")
    if isinstance(keep, int) and keep < 1:
        yield "backup_keep", f"{keep} keeps no backup", "keep 1 or more; an empty backup_schedule saves none"
    if "PRIVATE KEY" in certificate:
        remedy = (
            "keep the private key off every host, write the certificate alone, and replace this key: it was exposed"
        )
        yield "backup_certificate", "contains a private key", remedy
    elif certificate and not _CERTIFICATE.fullmatch(certificate):
        remedy = "write one certificate in PEM, as docs/backup.md makes it"
        yield "backup_certificate", "is no certificate", remedy
    if certificate and not when:
        remedy = "set backup_schedule, too; `backup` writes to the control machine, and does not encrypt"
        yield "backup_certificate", "has no use without backup_schedule", remedy


RULES = (schedule,)
