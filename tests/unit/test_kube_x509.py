# SPDX-License-Identifier: Apache-2.0
"""Our reading of certificates against openssl's."""

from __future__ import annotations

import datetime as dt
import hashlib
import subprocess
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.kube.x509 import read_certificate


@pytest.mark.parametrize("key", ["rsa:2048", "ec"])
@pytest.mark.parametrize("days", [30, 36500])  # the second ends after 2049, in another notation
def test_pin_and_end_are_those_of_openssl(tmp_path: Path, key: str, days: int) -> None:
    def openssl(*arguments: str, data: bytes | None = None) -> bytes:
        return subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=tmp_path, input=data).stdout

    curve = ["-pkeyopt", "ec_paramgen_curve:P-256"] if key == "ec" else []
    made = ["-newkey", key, *curve, "-nodes", "-keyout", "key", "-out", "crt", "-subj", "/CN=kubernetes"]
    openssl("req", "-x509", *made, "-days", str(days), "-addext", "keyUsage=critical,keyCertSign")
    public = openssl("x509", "-in", "crt", "-pubkey", "-noout")
    der = openssl("pkey", "-pubin", "-outform", "der", data=public)
    end = openssl("x509", "-in", "crt", "-enddate", "-noout").decode().strip().removeprefix("notAfter=")

    found = read_certificate((tmp_path / "crt").read_text())

    assert found.algorithm == ("ECDSA-P256" if key == "ec" else "RSA-2048")
    assert found.pin == f"sha256:{hashlib.sha256(der).hexdigest()}"
    assert found.not_after == dt.datetime.strptime(end, "%b %d %H:%M:%S %Y %Z").replace(tzinfo=dt.UTC)


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"])
def test_what_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="certificate"):
        read_certificate(text)
