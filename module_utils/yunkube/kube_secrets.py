"""Secrets of the cluster that are made once and kept: logins, and certificates of the cluster's own authority.

What a Secret holds never leaves this host: it is made here, on a master, and written to the API from here.
"""

from __future__ import annotations

import base64
import ctypes
import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import secrets
import shutil
import subprocess
import tempfile
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.kube_api import Json, KubeError
from ansible.module_utils.yunkube.kube_objects import OURS, read_data
from ansible.module_utils.yunkube.x509 import read_certificate

PKI = Path("/etc/kubernetes/pki")
PASSWORD_BYTES = 18  # 24 letters
COST = 8  # of bcrypt: 2 to the power of it rounds, some hundredths of a second
DAYS = 365
RENEW_BEFORE = dt.timedelta(days=30)
MADE = "yunkube/made-for"  # annotation: what a certificate was asked to be

Data = dict[str, str]


def login(found: Json | None, wanted: Json) -> Data:
    """Return what a login's Secret shall hold: the password that is given, else the one it has, else a new one."""
    now = read_data(found)
    username = wanted["username"]
    password = wanted.get("password") or now.get("password") or ""
    if not password and wanted.get("missing"):
        raise KubeError(wanted["missing"])
    password = password or secrets.token_urlsafe(PASSWORD_BYTES)
    name, _, hashed = now.get("htpasswd", "").strip().partition(":")
    if name == username and hashed and hmac.compare_digest(crypt(password, hashed), hashed):
        line = now["htpasswd"]
    else:
        line = f"{username}:{crypt(password, setting())}\n"
    return {"username": username, "password": password, "htpasswd": line} | (wanted.get("more") or {})


def certificate(found: Json | None, wanted: Json, now: dt.datetime | None = None) -> Data:
    """Return what a certificate's Secret shall hold: what it has, unless that is for others, of another CA, or ends."""
    data = read_data(found)
    made = ((found or {}).get("metadata", {}).get("annotations") or {}).get(MADE)
    if made == purpose(wanted) and data.get("tls.key"):
        try:
            left = read_certificate(data["tls.crt"]).not_after - (now or dt.datetime.now(dt.UTC))
        except (KeyError, ValueError):
            left = dt.timedelta()
        if left > RENEW_BEFORE:
            return data
    return sign(wanted["names"]) | {"ca.crt": (PKI / "ca.crt").read_text()}


def purpose(wanted: Json) -> str:
    """Return a word for whom a certificate is for and by whom: another word, another certificate."""
    authority = (PKI / "ca.crt").read_text()
    return hashlib.sha256(json.dumps([sorted(wanted["names"]), authority]).encode()).hexdigest()[:16]


def sign(names: list[str]) -> Data:
    """Make a key, and a certificate of a server of these names and addresses, by the cluster's CA."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise KubeError("openssl is not on this host, and the cluster's CA signs with it: install the package openssl")
    if not (PKI / "ca.key").exists():
        raise KubeError(f"{PKI}/ca.key is not on this host: a certificate cannot be made here")
    alternatives = ",".join(f"{'IP' if is_address(name) else 'DNS'}:{name}" for name in names)
    with tempfile.TemporaryDirectory(prefix="yunkube-", dir="/run") as folder:  # in memory, for root alone
        key, request, extensions = (Path(folder) / name for name in ("key", "request", "extensions"))
        extensions.write_text(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
            f"extendedKeyUsage=serverAuth\nsubjectAltName={alternatives}\n"
        )
        new = [
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            f"/CN={names[0]}",
        ]
        _run([openssl, *new, "-keyout", str(key), "-out", str(request)])
        by = ["-CA", str(PKI / "ca.crt"), "-CAkey", str(PKI / "ca.key"), "-set_serial", f"0x{secrets.token_hex(16)}"]
        made = _run(
            [
                openssl,
                "x509",
                "-req",
                "-in",
                str(request),
                *by,
                "-days",
                str(DAYS),
                "-sha256",
                "-extfile",
                str(extensions),
            ]
        )
        return {"tls.key": key.read_text(), "tls.crt": made}


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KubeError(
            f"openssl failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason'}"
        )
    return done.stdout


def is_address(name: str) -> bool:
    """Say whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def crypt(password: str, hashed: str) -> str:
    """Hash a password as `hashed`, or a setting, says; by the system's libcrypt, which newer Pythons do not wrap."""
    library = _libcrypt()
    library.crypt.restype = ctypes.c_char_p
    made: bytes | None = library.crypt(password.encode(), hashed.encode())
    if made is None or made.startswith(b"*"):
        raise KubeError("this host's libcrypt knows no bcrypt, which the registry's login needs")
    return made.decode()


def setting() -> str:
    """Return bcrypt's setting with a new salt."""
    library = _libcrypt()
    library.crypt_gensalt.restype = ctypes.c_char_p
    salt = secrets.token_bytes(16)
    made: bytes | None = library.crypt_gensalt(b"$2b$", ctypes.c_ulong(COST), salt, len(salt))
    if made is None:
        raise KubeError("this host's libcrypt knows no bcrypt, which the registry's login needs")
    return made.decode()


def _libcrypt() -> t.Any:
    for name in ("libcrypt.so.1", "libcrypt.so.2"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise KubeError("this host has no libcrypt: install libcrypt1 or libxcrypt")


MAKERS: dict[str, t.Callable[[Json | None, Json], Data]] = {"login": login, "certificate": certificate}


def manifest_of(found: Json | None, wanted: Json) -> Json:
    """Return the Secret as it shall be."""
    data = MAKERS[wanted["kind"]](found, wanted)
    metadata: Json = {"name": wanted["name"], "namespace": wanted["namespace"], "labels": dict(OURS)}
    if wanted["kind"] == "certificate":
        metadata["annotations"] = {MADE: purpose(wanted)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/tls" if wanted["kind"] == "certificate" else "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in sorted(data.items())},
    }


def digest(manifests: list[Json]) -> str:
    """Return a word for what the Secrets hold: pods that read them when they start are made anew when it changes."""
    return hashlib.sha256(json.dumps([one["data"] for one in manifests], sort_keys=True).encode()).hexdigest()[:16]
