# SPDX-License-Identifier: Apache-2.0
"""What a cluster's values say of backups: a time that systemd reads, something kept, a key that can encrypt."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from ansible.module_utils.yunkube.control.backup_rules import schedule
from ansible.module_utils.yunkube.control.cluster_rules import RULES, Cluster
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

NOW = dt.datetime.now(dt.UTC)


def certificate(key: Any, days: int = 1) -> str:
    """Return a certificate of a key that ends in some days."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "backups")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - dt.timedelta(days=30))
        .not_valid_after(NOW + dt.timedelta(days=days))
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


RSA = rsa.generate_private_key(65537, 2048)
CERTIFICATE = certificate(RSA)
SOUND = {
    "backup_schedule": "Mon..Fri *-*-* 02:30:00 Europe/Berlin",
    "backup_keep": 7,
    "backup_certificate": CERTIFICATE,
}


@pytest.mark.parametrize(
    "values",
    [
        {},
        SOUND,
        {**SOUND, "backup_certificate": certificate(ec.generate_private_key(ec.SECP256R1()))},
        {"backup_schedule": "daily"},
        {"backup_schedule": "", "backup_keep": 1},
    ],
)
def test_sound_values_pass(values: dict[str, Any]) -> None:
    assert list(schedule(Cluster(values))) == []
    assert schedule in RULES


@pytest.mark.parametrize(
    ("values", "key", "message"),
    [
        ({"backup_schedule": "daily\nExecStart=/bin/x"}, "backup_schedule", "not a calendar event of systemd"),
        ({"backup_schedule": "every day"}, "backup_schedule", "'every day' has \"every\" where a weekday"),
        ({"backup_schedule": "2020-01-01"}, "backup_schedule", "no date from today on"),
        ({"backup_keep": 0}, "backup_keep", "keeps no backup"),
        ({"backup_certificate": f"{CERTIFICATE}-----BEGIN PRIVATE KEY-----"}, "backup_certificate", "a private key"),
        ({"backup_certificate": "backup.crt"}, "backup_certificate", "is not one certificate"),
        ({"backup_certificate": CERTIFICATE * 2}, "backup_certificate", "is not one certificate"),
        ({"backup_certificate": CERTIFICATE[:100] + CERTIFICATE[101:]}, "backup_certificate", "cannot be read as a"),
        ({"backup_certificate": certificate(RSA, -1)}, "backup_certificate", "expired on "),
        (
            {"backup_certificate": certificate(ed25519.Ed25519PrivateKey.generate())},
            "backup_certificate",
            "a key that only signs",
        ),
        (
            {"backup_certificate": certificate(rsa.generate_private_key(65537, 1024))},  # noqa: S505
            "backup_certificate",
            "an RSA key of 1024 bits",
        ),
        ({"backup_schedule": ""}, "backup_certificate", "no use without backup_schedule"),
    ],
)
def test_each_fault_is_found_and_shows_no_key(values: dict[str, Any], key: str, message: str) -> None:
    ((found, said, remedy),) = schedule(Cluster({**SOUND, **values}))
    assert found == key
    assert message in said
    assert remedy
    assert "BEGIN" not in said
