# SPDX-License-Identifier: Apache-2.0
"""What a cluster's values say of backups: a time that systemd reads, something kept, no private key."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.yunkube.control.backup_rules import schedule
from ansible.module_utils.yunkube.control.cluster_rules import RULES, Cluster

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB+/=\nAAAA\n-----END CERTIFICATE-----\n"
SOUND = {
    "backup_schedule": "Mon..Fri *-*-* 02:30:00 Europe/Berlin",
    "backup_keep": 7,
    "backup_certificate": CERTIFICATE,
}


@pytest.mark.parametrize("values", [{}, SOUND, {"backup_schedule": "daily"}, {"backup_schedule": "", "backup_keep": 1}])
def test_sound_values_pass(values: dict[str, Any]) -> None:
    assert list(schedule(Cluster(values))) == []
    assert schedule in RULES


@pytest.mark.parametrize(
    ("values", "key", "message"),
    [
        ({"backup_schedule": "daily\nExecStart=/bin/x"}, "backup_schedule", "no time of systemd"),
        ({"backup_schedule": "daily; x"}, "backup_schedule", "no time of systemd"),
        ({"backup_keep": 0}, "backup_keep", "keeps no backup"),
        ({"backup_certificate": f"{CERTIFICATE}-----BEGIN PRIVATE KEY-----"}, "backup_certificate", "a private key"),
        ({"backup_certificate": "backup.crt"}, "backup_certificate", "is no certificate"),
        ({"backup_schedule": ""}, "backup_certificate", "no use without backup_schedule"),
    ],
)
def test_each_fault_is_found_and_shows_no_key(values: dict[str, Any], key: str, message: str) -> None:
    ((found, said, remedy),) = schedule(Cluster({**SOUND, **values}))
    assert found == key
    assert message in said
    assert remedy
    assert "BEGIN" not in said
