# SPDX-License-Identifier: Apache-2.0
"""Check what a cluster's values say of backups."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible.module_utils.yunkube.control import calendar_event

if TYPE_CHECKING:
    from ansible.module_utils.yunkube.control.cluster_rules import Cluster, Finding

_PEM = re.compile(r"\s*-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*")
_RSA = "1.2.840.113549.1.1.1"  # rsaEncryption; keys of RSA-PSS only sign
_RSA_BITS = 2048


def schedule(cluster: Cluster) -> Iterator[Finding]:
    """The timer has a time at which it fires, and keeps something; files can be encrypted for the certificate."""
    when, certificate = cluster.text("backup_schedule"), cluster.text("backup_certificate")
    now = dt.datetime.now(dt.timezone.utc)
    try:
        if when:
            calendar_event.check(when, now.date())
    except calendar_event.CalendarError as error:
        yield "backup_schedule", f"{when!r} {error}", 'write one such as "*-*-* 02:30:00", "Mon..Fri 02:30" or daily'
    keep = cluster.values.get("backup_keep")
    if isinstance(keep, int) and keep < 1:
        yield "backup_keep", f"{keep} keeps no backup", "keep 1 or more; an empty backup_schedule saves none"
    if "PRIVATE KEY" in certificate:
        remedy = (
            "keep the private key off every host, write the certificate alone, and replace this key: it was exposed"
        )
        yield "backup_certificate", "contains a private key", remedy
    elif certificate and (why := _objection(certificate, now)):
        yield "backup_certificate", why, "write one certificate in PEM, as docs/backup.md makes it"
    if certificate and not when:
        remedy = "set backup_schedule, too; what is saved on the control machine is not encrypted"
        yield "backup_certificate", "has no use without backup_schedule", remedy


def _objection(text: str, now: dt.datetime) -> str:
    """Return why `openssl cms -encrypt` cannot use a certificate or should not; empty where it can."""
    from cryptography import x509  # noqa: PLC0415  costs a tenth of a second, for few clusters
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415

    if not _PEM.fullmatch(text):
        return "is not one certificate in PEM"
    try:
        found = x509.load_pem_x509_certificate(text.encode())
        key = found.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "cannot be read as a certificate: it is damaged, or of an unknown kind"
    usable = isinstance(key, ec.EllipticCurvePublicKey) or found.public_key_algorithm_oid.dotted_string == _RSA
    if not usable:
        return "has a key that only signs: nothing can be encrypted for it; RSA and elliptic curves such as P-256 can"
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _RSA_BITS:
        return f"has an RSA key of {key.key_size} bits, fewer than {_RSA_BITS}"
    if found.not_valid_after_utc < now:
        return f"expired on {found.not_valid_after_utc:%Y-%m-%d}"
    return ""


RULES = (schedule,)
