# SPDX-License-Identifier: Apache-2.0
"""Detached signatures of archives, by minisign or GnuPG, whichever has the key."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

MINISIGN = "untrusted comment:"  # how its key files begin


class SignatureError(Exception):
    """A file was not signed, or is not what was signed; the message says why."""


def signer(key: str) -> str:
    """Return the program that signs with minisign's secret key file, or with a key of GnuPG by its name.

    SignatureError if there is no such key, or if its program is not installed.
    """
    file = Path(key).expanduser()
    if file.is_file():
        if not file.read_text(errors="replace").startswith(MINISIGN):
            raise SignatureError(f"{key} is no secret key file of minisign; for GnuPG, give the key's fingerprint")
        return _program("minisign")
    program = _program("gpg")
    done = subprocess.run([program, "--batch", "--list-secret-keys", "--", key], capture_output=True, check=False)
    if done.returncode != 0:
        raise SignatureError(f"GnuPG has no secret key {key}, and no file has this name: see gpg --list-secret-keys")
    return program


def sign(path: Path, key: str) -> Path:
    """Sign a file with minisign's secret key file, or a key of GnuPG by its name; return the signature's path."""
    file, program = Path(key).expanduser(), signer(key)
    if file.is_file():
        signature = path.with_name(f"{path.name}.minisig")
        argv = [program, "-S", "-s", str(file), "-m", str(path), "-x", str(signature)]
    else:
        signature = path.with_name(f"{path.name}.sig")
        signature.unlink(missing_ok=True)
        argv = [program, "--local-user", key, "--output", str(signature), "--detach-sign", str(path)]
    # stderr stays the terminal, where minisign asks for the key's password.
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0 or not signature.exists():
        reason = f"{Path(program).name} exited with code {done.returncode}; what it printed says why"
        raise SignatureError(f"{path.name} could not be signed with {key}: {reason}")
    return signature


def signature_of(path: Path) -> Path | None:
    """Return the signature beside a file."""
    there = (path.with_name(f"{path.name}.{suffix}") for suffix in ("minisig", "sig"))
    return next((one for one in there if one.exists()), None)


def verify(path: Path, key: Path) -> str:
    """Compare a file with the signature beside it; `key` is minisign's public key or an exported key of GnuPG."""
    try:
        minisign = key.read_bytes().startswith(MINISIGN.encode())
    except OSError as error:
        raise SignatureError(f"{key} cannot be read: {error.strerror}") from error
    signature = path.with_name(f"{path.name}.{'minisig' if minisign else 'sig'}")
    if not signature.exists():
        raise SignatureError(f"{signature} is not there, so nothing shows who made {path.name}")
    if minisign:
        argv = [_program("minisign"), "-V", "-p", str(key), "-m", str(path), "-x", str(signature)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        good = done.returncode == 0
    else:
        done = _gpg(path, signature, key)
        good = done.returncode == 0 and "[GNUPG:] GOODSIG " in done.stdout
    if not good:
        raise SignatureError(f"{path.name} was not signed with {key}, or has changed since: {_last(done.stderr)}")
    return str(signature)


def _gpg(path: Path, signature: Path, key: Path) -> subprocess.CompletedProcess[str]:
    """Verify with that key alone, whatever keys the user has."""
    with tempfile.TemporaryDirectory() as home:
        base = [_program("gpg"), "--batch", "--no-tty", "--homedir", home, "--no-autostart"]
        done = subprocess.run([*base, "--import", str(key)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SignatureError(f"{key} is no public key of minisign or GnuPG")
        argv = [*base, "--status-fd", "1", "--verify", str(signature), str(path)]
        return subprocess.run(argv, capture_output=True, text=True, check=False)


def _program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        package = {"gpg": "gnupg"}.get(name, name)
        raise SignatureError(f"{name} is not installed on this machine; on Debian: apt-get install {package}")
    return found


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
