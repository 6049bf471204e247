# SPDX-License-Identifier: Apache-2.0
"""Secrets of the cluster that are made once and kept: logins, certificates of servers, and an authority for browsers.

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

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host.network import is_address
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.objects import OURS, SECRETS, read_data
from ansible.module_utils.yunkube.kube.x509 import read_certificate

PKI = Path("/etc/kubernetes/pki")
PASSWORD_BYTES = 18  # 24 letters
COST = 8  # of bcrypt: 2 to the power of it rounds, some hundredths of a second
DAYS = 365
AUTHORITY_DAYS = 3650
RENEW_BEFORE = dt.timedelta(seconds=constants.EXPIRES_SOON_SECONDS)
MADE = "yunkube/made-for"  # annotation: what a certificate was asked to be
# What is said of a Secret that is wanted, as a module takes it.
OPTIONS: dict[str, t.Any] = {
    "kind": {"type": "str", "choices": ["login", "certificate", "authority"], "required": True},
    "namespace": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "username": {"type": "str", "default": "admin"},
    "password": {"type": "str", "default": "", "no_log": True},
    "missing": {"type": "str", "default": ""},
    "reader": {"type": "str", "default": ""},
    "reader_password": {"type": "str", "default": "", "no_log": True},
    "more": {"type": "dict", "default": {}},
    "names": {"type": "list", "elements": "str", "default": []},
    "common_name": {"type": "str", "default": ""},
    "authority": {"type": "str", "default": ""},
}

Data = dict[str, str]


def login(found: Json | None, wanted: Json) -> Data:
    """Return what a login's Secret shall hold: the password that is given, else the one it has, else a new one."""
    now = read_data(found)
    username = wanted["username"]
    password = wanted.get("password") or now.get("password") or ""
    if not password and wanted.get("missing"):
        raise KubeError(wanted["missing"])
    password = password or secrets.token_urlsafe(PASSWORD_BYTES)
    line = htpasswd(username, password, now.get("htpasswd", ""))
    made = {"username": username, "password": password, "htpasswd": line} | (wanted.get("more") or {})
    return made | reader_login(now, wanted, line)


def reader_login(now: Data, wanted: Json, writers: str) -> Data:
    """Return what a login's Secret holds of a second account, which may only read.

    Its `reader_htpasswd` lets both in. What there is of it stays when it is no longer wanted, as a server that runs may
    have it mounted; `reads` says whose login is to be used.
    """
    username = wanted.get("reader") or ""
    if not username:
        return {key: value for key, value in now.items() if key.startswith("reader_")}
    if username == wanted["username"]:
        raise KubeError(f"the reading account has the same name as the writing one, {username}: choose another one")
    password = wanted.get("reader_password") or now.get("reader_password") or secrets.token_urlsafe(PASSWORD_BYTES)
    line = htpasswd(username, password, now.get("reader_htpasswd", ""))
    return {
        "reads": "reader",
        "reader_username": username,
        "reader_password": password,
        "reader_htpasswd": line + writers,
    }


def htpasswd(username: str, password: str, before: str) -> str:
    """Return the line that lets an account in: the first one of before, where it still does."""
    name, _, hashed = before.partition("\n")[0].strip().partition(":")
    if name == username and hashed and hmac.compare_digest(crypt(password, hashed), hashed):
        return f"{name}:{hashed}\n"
    return f"{username}:{crypt(password, setting())}\n"


class Authority(t.NamedTuple):
    """What signs: the certificate, and its key, neither of which has to be in a file."""

    certificate: str
    key: str

    def __repr__(self) -> str:
        """Keep the key out of whatever shows this."""
        return "Authority()"


def cluster_authority() -> Authority:
    """Return the cluster's CA, which the nodes trust."""
    if not (PKI / "ca.key").exists():
        raise KubeError(f"{PKI}/ca.key is not on this host: cannot create a certificate")
    return Authority((PKI / "ca.crt").read_text(), (PKI / "ca.key").read_text())


def own_authority(found: Json | None, wanted: Json, now: dt.datetime | None = None) -> Data:
    """Return what an authority's Secret shall hold: what it has, unless it ends or may not sign for all names.

    Browsers are to trust it, so it may sign for these names alone: whoever gets its key is no other site. The
    cluster's CA may sign for any.
    """
    data = read_data(found)
    made = json.loads(_made(found) or "[]")
    lasts = _left(data, now) > dt.timedelta(days=DAYS) + RENEW_BEFORE
    if set(wanted["names"]) <= set(made) and data.get("tls.key") and lasts:
        return data
    return make_authority(wanted["names"], wanted["common_name"])


def certificate(
    found: Json | None, wanted: Json, now: dt.datetime | None = None, authority: Authority | None = None
) -> Data:
    """Return what a certificate's Secret shall hold: what it has, unless that is for others, of another CA, or ends."""
    data = read_data(found)
    by = authority or cluster_authority()
    if _made(found) == purpose(wanted, by) and data.get("tls.key") and _left(data, now) > RENEW_BEFORE:
        return data
    return sign(wanted["names"], by, wanted.get("common_name", "")) | {"ca.crt": by.certificate}


def _made(found: Json | None) -> str:
    return str(((found or {}).get("metadata", {}).get("annotations") or {}).get(MADE, ""))


def _left(data: Data, now: dt.datetime | None) -> dt.timedelta:
    try:
        now = now or dt.datetime.now(dt.timezone.utc)
        return read_certificate(data["tls.crt"]).not_after - now
    except (KeyError, ValueError):
        return dt.timedelta()


def purpose(wanted: Json, by: Authority) -> str:
    """Return a word for whom a certificate is for and by whom: another word, another certificate."""
    return hashlib.sha256(json.dumps([sorted(wanted["names"]), by.certificate]).encode()).hexdigest()[:16]


def constraints(names: list[str]) -> str:
    """Return the names that an authority may sign for, as openssl reads them; every other name and address is out."""
    addresses = [ipaddress.ip_address(name) for name in names if is_address(name)]
    hosts = [name for name in names if not is_address(name)]
    # A kind of name that is not mentioned at all would be free.
    allowed = [f"permitted;DNS:{name}" for name in hosts or ["invalid"]]
    allowed += [f"permitted;IP:{one.exploded}/{mask(one)}" for one in addresses]
    if not addresses:
        allowed += ["excluded;IP:0.0.0.0/0.0.0.0", f"excluded;IP:{':'.join('0' * 8)}/{':'.join('0' * 8)}"]
    return ",".join(allowed)


def mask(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return the mask of a single address."""
    return str(ipaddress.ip_network(address).netmask.exploded)


def find_openssl() -> str:
    """Return the program that signs."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise KubeError("openssl is not on this host, but certificates need it: install the package openssl")
    return openssl


def make_authority(names: list[str], common_name: str) -> Data:
    """Make a key and the certificate of an authority for these names."""
    openssl = find_openssl()
    with tempfile.TemporaryDirectory(prefix="yunkube-", dir="/run") as folder:  # in memory, for root alone
        key, configuration = Path(folder) / "key", Path(folder) / "configuration"
        configuration.write_text(
            "[req]\ndistinguished_name=subject\n[subject]\n[authority]\n"
            "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n"
            f"extendedKeyUsage=serverAuth\nnameConstraints=critical,{constraints(names)}\n"
        )
        new = ["req", "-x509", "-config", str(configuration), "-extensions", "authority", *_NEW_KEY]
        subject = ["-subj", f"/CN={common_name[:50]} {secrets.token_hex(4)}", "-days", str(AUTHORITY_DAYS), "-sha256"]
        made = _run([openssl, *new, *subject, "-keyout", str(key)])
        return {"tls.key": key.read_text(), "tls.crt": made}


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def sign(names: list[str], by: Authority, common_name: str = "") -> Data:
    """Make a key, and a certificate of a server of these names and addresses."""
    openssl = find_openssl()
    alternatives = ",".join(f"{'IP' if is_address(name) else 'DNS'}:{name}" for name in names)
    with tempfile.TemporaryDirectory(prefix="yunkube-", dir="/run") as folder:  # in memory, for root alone
        ca, ca_key = Path(folder) / "ca", Path(folder) / "ca-key"
        ca.write_text(by.certificate)
        ca_key.write_text(by.key)
        key, request, extensions = (Path(folder) / name for name in ("key", "request", "extensions"))
        extensions.write_text(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
            f"extendedKeyUsage=serverAuth\nsubjectAltName={alternatives}\n"
        )
        new = ["req", "-new", *_NEW_KEY, "-subj", f"/CN={common_name or names[0]}"]
        _run([openssl, *new, "-keyout", str(key), "-out", str(request)])
        signed = ["-CA", str(ca), "-CAkey", str(ca_key), "-set_serial", f"0x{secrets.token_hex(16)}"]
        signed += ["-days", str(DAYS), "-sha256", "-extfile", str(extensions)]
        made = _run([openssl, "x509", "-req", "-in", str(request), *signed])
        return {"tls.key": key.read_text(), "tls.crt": made}


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KubeError(
            f"openssl failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason'}"
        )
    return done.stdout


def crypt(password: str, hashed: str) -> str:
    """Hash a password as `hashed`, or a setting, says; by the system's libcrypt, which newer Pythons do not wrap."""
    library = _libcrypt()
    library.crypt.restype = ctypes.c_char_p
    made: bytes | None = library.crypt(password.encode(), hashed.encode())
    if made is None or made.startswith(b"*"):
        raise KubeError("this host's libcrypt does not support bcrypt, which the registry's login needs")
    return made.decode()


def setting() -> str:
    """Return bcrypt's setting with a new salt."""
    library = _libcrypt()
    library.crypt_gensalt.restype = ctypes.c_char_p
    salt = secrets.token_bytes(16)
    made: bytes | None = library.crypt_gensalt(b"$2b$", ctypes.c_ulong(COST), salt, len(salt))
    if made is None:
        raise KubeError("this host's libcrypt does not support bcrypt, which the registry's login needs")
    return made.decode()


def _libcrypt() -> t.Any:
    for name in ("libcrypt.so.1", "libcrypt.so.2"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise KubeError("this host has no libcrypt: install libcrypt1 or libxcrypt")


def manifest_of(found: Json | None, wanted: Json, others: t.Mapping[str, Json] | None = None) -> Json:
    """Return the Secret as it shall be; `others` are those before it, by name, for what signs with one of them."""
    metadata: Json = {"name": wanted["name"], "namespace": wanted["namespace"], "labels": dict(OURS)}
    if wanted["kind"] == "login":
        data = login(found, wanted)
    elif wanted["kind"] == "authority":
        data = own_authority(found, wanted)
        kept = data == read_data(found)
        metadata["annotations"] = {MADE: _made(found) if kept else json.dumps(sorted(wanted["names"]))}
    else:
        signer = read_data((others or {}).get(wanted.get("authority", "")))
        by = Authority(signer["tls.crt"], signer["tls.key"]) if signer else cluster_authority()
        data = certificate(found, wanted, authority=by)
        metadata["annotations"] = {MADE: purpose(wanted, by)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque" if wanted["kind"] == "login" else "kubernetes.io/tls",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in sorted(data.items())},
    }


def digest(manifests: list[Json]) -> str:
    """Return a word for what the Secrets hold: pods that read them when they start are made again when it changes."""
    return hashlib.sha256(json.dumps([one["data"] for one in manifests], sort_keys=True).encode()).hexdigest()[:16]


def with_secrets(api: KubeApi, resources: list[Json], wanted: list[Json], state: str) -> list[Json]:
    """Return all manifests in the order of applying: namespaces, Secrets as they shall be, the rest."""
    if not wanted:
        return resources
    first = [one for one in resources if one.get("kind") == "Namespace"]
    rest = [one for one in resources if one.get("kind") != "Namespace"]
    if state == "absent":
        return [*first, *named(wanted), *rest]
    made: list[Json] = []
    for outline, one in zip(named(wanted), wanted):
        made.append(manifest_of(api.find(api.path_of(outline)), one, {m["metadata"]["name"]: m for m in made}))
    for one in rest:
        if one.get("kind") == "Deployment":
            metadata = one["spec"]["template"].setdefault("metadata", {})
            metadata["annotations"] = (metadata.get("annotations") or {}) | {SECRETS: digest(made)}
    return [*first, *made, *rest]


def named(wanted: list[Json]) -> list[Json]:
    """Return the wanted Secrets' manifests, without content."""
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {key: one[key] for key in ("namespace", "name")}}
        for one in wanted
    ]
