# SPDX-License-Identifier: Apache-2.0
"""The little of X.509 that the standard library does not read: a public key's pin, a certificate's end and names."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
import re
import typing as t

# What is not much older than one that would be issued now is not due: else short-lived ones would be renewed each time.
FRESH = 0.9
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_RSA = bytes.fromhex("2a864886f70d010101")  # 1.2.840.113549.1.1.1
_CURVES = {  # of elliptic keys, by the object identifier of the curve
    bytes.fromhex("2a8648ce3d030107"): "ECDSA-P256",
    bytes.fromhex("2b81040022"): "ECDSA-P384",
    bytes.fromhex("2b81040023"): "ECDSA-P521",
}
_NODE = b"system:node:"
_SUBJECT_ALT_NAME = bytes((0x55, 0x1D, 0x11))  # 2.5.29.17


class Certificate(t.NamedTuple):
    """What we look at of a certificate."""

    not_after: dt.datetime
    public_key: bytes  # SubjectPublicKeyInfo, in DER
    names: tuple[str, ...] = ()  # the hosts that it is for, by name or address

    @property
    def pin(self) -> str:
        """The public key's digest, as `kubeadm join` takes it."""
        return f"sha256:{hashlib.sha256(self.public_key).hexdigest()}"

    @property
    def algorithm(self) -> str:
        """What kubeadm calls such a key, as ECDSA-P256 or RSA-2048."""
        data = self.public_key
        kind, key = _children(data, _value(data, 0))
        words = [data[part.body : part.end] for part in _children(data, kind)]
        if words[0] == _RSA:
            modulus = _children(data, _value(data, key.body + 1))[0]  # after the count of unused bits
            return f"RSA-{int.from_bytes(data[modulus.body : modulus.end], 'big').bit_length()}"
        return _CURVES.get(words[1] if len(words) > 1 else b"", "unknown")


def read_certificate(pem: str) -> Certificate:
    """Read the first certificate of a PEM text."""
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("no certificate in the text")
    try:
        return _certificate(base64.b64decode(found.group(1)))
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError("the certificate is cut short") from error


def is_due(ends: dt.datetime, renewed: dt.datetime, within: dt.timedelta, moment: dt.datetime) -> bool:
    """Say whether a certificate ends within this time, and one that is issued now would end noticeably later."""
    return ends - moment <= within and ends - moment < (renewed - moment) * FRESH


def node_of(pem: str) -> str:
    """Return the node of a kubelet's client certificate (CN system:node:NAME), empty where it is no such."""
    found = _PEM.search(pem)
    data = base64.b64decode(found.group(1)) if found else b""
    start = data.find(_NODE)
    # A string's length stands before it; names of nodes keep it in one byte.
    return data[start + len(_NODE) : start + data[start - 1]].decode("ascii", "replace") if start > 0 else ""


class _Value(t.NamedTuple):
    tag: int
    start: int  # of the header
    body: int
    end: int


def _value(data: bytes, start: int) -> _Value:
    """Read the header of the DER value at `start`."""
    length, body = data[start + 1], start + 2
    if length & 0x80:
        size = length & 0x7F
        length, body = int.from_bytes(data[body : body + size], "big"), body + size
    if body + length > len(data):
        raise IndexError("the value ends after the data")
    return _Value(data[start], start, body, body + length)


def _children(data: bytes, parent: _Value) -> list[_Value]:
    found, start = [], parent.body
    while start < parent.end:
        found.append(_value(data, start))
        start = found[-1].end
    return found


def _certificate(data: bytes) -> Certificate:
    # Certificate ::= {tbs, ...}; tbs ::= {[0] version, serial, signature, issuer, validity, subject, key, ...}
    fields = _children(data, _children(data, _value(data, 0))[0])
    if fields[0].tag == 0xA0:  # absent in version 1
        fields = fields[1:]
    end = _children(data, fields[3])[1]
    ends = _time(end.tag, data[end.body : end.end].decode("ascii"))
    extensions = next((field for field in fields[6:] if field.tag == 0xA3), None)
    names = _names(data, extensions) if extensions else ()
    return Certificate(ends, data[fields[5].start : fields[5].end], names)


def _names(data: bytes, extensions: _Value) -> tuple[str, ...]:
    """Return what subjectAltName lists of DNS names and IP addresses."""
    for extension in _children(data, _children(data, extensions)[0]):
        parts = _children(data, extension)
        if data[parts[0].body : parts[0].end] == _SUBJECT_ALT_NAME:
            listed = _children(data, _value(data, parts[-1].body))
            texts = [(name.tag, data[name.body : name.end]) for name in listed]
            return tuple(
                value.decode("ascii") if tag == 0x82 else str(ipaddress.ip_address(value))
                for tag, value in texts
                if tag in (0x82, 0x87)
            )
    return ()


def _time(tag: int, text: str) -> dt.datetime:
    layout = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"  # UTCTime ends in 2049, GeneralizedTime later
    return dt.datetime.strptime(text, layout).replace(tzinfo=dt.timezone.utc)
