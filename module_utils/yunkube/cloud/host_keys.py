# SPDX-License-Identifier: Apache-2.0
"""SSH host keys of new instances: made here, given to the instance by its user data, and known before it starts.

The other way is to read the fingerprints that cloud-init prints, from GetInstanceConsoleOutput; but that output is what
the cloud kept of the last start, which types of instances lack and other lines may push out, and one that does not come
leaves a host that nobody can enter. A key made beforehand needs no further permission and is known in the first second.

The private key in the user data can be read on the instance, from its metadata, for as long as it exists, and in the
API by whoever may ask for the user data (ecs:DescribeUserData). So each instance has a key of its own, and one that
leaks stands for no other host. The hardened metadata mode keeps it from requests that a service is talked into, not
from pods.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FOLDER, KNOWN_HOSTS = "hosts", "known_hosts"  # below the folder of the cluster's SSH keys
SSH_PORT = 22


class HostKeyError(Exception):
    """A key cannot be used; the message says which and what to do."""


@dataclass(frozen=True)
class HostKey:
    """An ed25519 key as OpenSSH writes it."""

    public: str
    private: str = field(repr=False)


def client_key(file: Path, folder: Path, *, dry_run: bool = False) -> str:
    """Return the public half of the key with which this machine gets into hosts, from its file.

    In the cluster's own folder a pair is made: ECDSA, for Alibaba Cloud takes no ed25519 into key pairs. Of a private
    half that is there alone, as a killed run leaves it, the public one is made. A dry run writes nothing.
    """
    private = file.with_suffix("")
    if file.parent != folder or file.suffix != ".pub" or file.exists():
        return file.read_text(encoding="utf-8").strip()
    there = private.exists()
    key = _private_key(private) if there else ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    if not dry_run:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not there:
            write_atomic(private, _openssh(key), mode=0o600)
        write_atomic(file, f"{public}\n", mode=0o644)
    return public


def _private_key(file: Path) -> Any:
    try:
        return serialization.load_ssh_private_key(file.read_bytes(), password=None)
    except (ValueError, TypeError) as error:  # of another form, or with a passphrase
        remedy = f"write its public half to {file}.pub, or remove it where no host was made with it"
        raise HostKeyError(f"{file}: is not an SSH key that can be read: {remedy}") from error


def ensure(folder: Path, name: str) -> HostKey:
    """Return the key of a host to be, made where there is none; of two that make it at once, the first one's stays."""
    file = folder / FOLDER / name
    if not file.exists():
        for directory in (folder, file.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = file.with_name(f".{name}.{secrets.token_hex(4)}")
        write_atomic(part, _openssh(Ed25519PrivateKey.generate()), mode=0o600)
        with contextlib.suppress(FileExistsError):
            os.link(part, file)
        part.unlink()
    return read(folder, name)


def read(folder: Path, name: str) -> HostKey:
    """Return the key of a host that was made; HostKeyError where there is none, or another file in its place."""
    file = folder / FOLDER / name
    try:
        private = file.read_text(encoding="utf-8")
        key = serialization.load_ssh_private_key(private.encode(), password=None)
    except FileNotFoundError as error:
        raise HostKeyError(f"{file}: is missing: restore it, or replace the host {name}") from error
    except ValueError as error:
        raise HostKeyError(
            f"{file}: is not an SSH key: restore it, or remove it and replace the host {name}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise HostKeyError(f"{file}: is not an ed25519 key: remove it and replace the host {name}")
    file.chmod(0o600)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return HostKey(f"{public.decode()} {name}", private)


def forget(folder: Path, name: str) -> None:
    """Remove the key of a host that is gone: the next one of its name is another host."""
    (folder / FOLDER / name).unlink(missing_ok=True)


def user_data(key: HostKey, more: Mapping[str, Any] | None = None) -> str:
    """Return the cloud-config that gives an instance this key and no other; RunInstances wants it in Base64.

    https://cloudinit.readthedocs.io/en/latest/reference/modules.html#ssh
    """
    keys = {"ed25519_private": key.private, "ed25519_public": f"{key.public}\n"}
    content = {**(more or {}), "ssh_deletekeys": True, "ssh_keys": keys}
    return f"#cloud-config\n{json.dumps(content, indent=1)}\n"  # JSON is YAML


def known_hosts(keys: Mapping[str, HostKey], addresses: Mapping[str, Sequence[str]], port: int = SSH_PORT) -> str:
    """Return the lines for these hosts, each with all addresses at which it is reached."""
    lines = []
    for name, key in sorted(keys.items()):
        places = [f"[{place}]:{port}" if port != SSH_PORT else place for place in addresses[name] if place]
        if places:
            lines.append(f"{','.join(places)} {' '.join(key.public.split()[:2])}\n")
    return "".join(lines)


def write_known_hosts(folder: Path, text: str) -> bool:
    """Write the cluster's known_hosts whole, without lines of former hosts of an address; say if it changed."""
    file = folder / KNOWN_HOSTS
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return False
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(file, text, mode=0o600)
    return True


def _openssh(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()
