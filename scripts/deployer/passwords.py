# SPDX-License-Identifier: Apache-2.0
"""Passwords that Ansible wants: asked for here, for it runs without a terminal, and handed on in files for it alone."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deployer.errors import DeployError

# Ansible's own switches: it would wait for an answer that nobody can give.
ASK_VAULT = "ANSIBLE_ASK_VAULT_PASS"
ASK_BECOME = "ANSIBLE_BECOME_ASK_PASS"
ASK_CONNECTION = "ANSIBLE_ASK_PASS"

# Files that the shell names for Ansible, which is started in another directory.
FILES = (
    "ANSIBLE_VAULT_PASSWORD_FILE",
    "ANSIBLE_BECOME_PASSWORD_FILE",
    "ANSIBLE_CONNECTION_PASSWORD_FILE",
    "ANSIBLE_PRIVATE_KEY_FILE",
)
IDENTITIES = "ANSIBLE_VAULT_IDENTITY_LIST"

SHOWN = 5  # encrypted files and values that a message names
WITHOUT = "no vault secrets found"
WRONG = "no vault secrets were found that could decrypt"


@dataclass(frozen=True)
class Passwords:
    """What was typed; and files with passwords of the vault, which may be programs."""

    vault: str = field(default="", repr=False)
    become: str = field(default="", repr=False)
    connection: str = field(default="", repr=False)
    files: tuple[Path, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """Return what must not be shown."""
        return tuple(value for value in (self.vault, self.become, self.connection) if value)

    def options(self, private: Path) -> list[str]:
        """Write what was typed into the run's private directory, and return the options that name it."""
        options = [f"--vault-password-file={file}" for file in self.files]
        for name, value in (("vault", self.vault), ("become", self.become), ("connection", self.connection)):
            if value:
                path = private / f"{name}-password"
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(value)
                options.append(f"--{name}-password-file={path}")
        return options


def get_passwords(*, vault: bool, become: bool, connection: bool, files: Iterable[str]) -> Passwords:
    """Ask for what was asked to be asked for, by option or by Ansible's variable."""
    paths = tuple(Path(file).expanduser().absolute() for file in files)
    for path in paths:
        if not path.is_file():
            why = "is a directory" if path.is_dir() else "no such file"
            raise DeployError(f"--vault-password-file {path}: {why}", "pass a file with the password")
    return Passwords(
        vault=_ask("Vault password: ", "--ask-vault-pass") if vault or _is_set(ASK_VAULT) else "",
        connection=_ask("SSH password: ", "--ask-pass") if connection or _is_set(ASK_CONNECTION) else "",
        become=_ask("BECOME password: ", "--ask-become-pass") if become or _is_set(ASK_BECOME) else "",
        files=paths,
    )


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "on", "y", "t")


def _ask(prompt: str, option: str) -> str:
    instead = {
        "--ask-vault-pass": "--vault-password-file FILE",
        "--ask-become-pass": "ansible_become_password in a vaulted file",
        "--ask-pass": "ansible_password in a vaulted file",
    }[option]
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise DeployError(f"{option}: no terminal to prompt on", f"use {instead}") from None
    typed = getpass.getpass(prompt)
    if not typed:
        raise DeployError(f"{option}: no password entered", f"enter the password, or use {instead}")
    return typed


def environment() -> dict[str, str]:
    """Return what Ansible gets for its own switches: not to ask, and files as seen from where we were started."""
    files = {name: str(Path(value).expanduser().absolute()) for name in FILES if (value := os.environ.get(name))}
    if listed := os.environ.get(IDENTITIES):
        files[IDENTITIES] = ",".join(_identity(text.strip()) for text in listed.split(","))
    return {ASK_VAULT: "False", ASK_BECOME: "False", ASK_CONNECTION: "False", **files}


def _identity(text: str) -> str:
    """Return a vault's name and password file, or the file alone, as seen from where we were started."""
    name, at, source = text.partition("@") if "@" in text else ("", "", text)
    if source in ("prompt", "prompt_ask_vault_pass"):
        raise DeployError(
            f"{IDENTITIES}: {text}: would prompt on a terminal, which Ansible does not have here",
            "use --ask-vault-pass, or name a file there",
        )
    return f"{name}{at}{Path(source).expanduser().absolute()}" if source else text


def vault_problem(said: Iterable[str], places: Sequence[str] = ()) -> str:
    """Say why something encrypted could not be opened, if that is what Ansible said; C(places) are what is encrypted.

    Ansible itself says which it was of a whole file only.
    """
    text = "\n".join(said)
    listed = [*places[:SHOWN], *([f"{len(places) - SHOWN} more"] if len(places) > SHOWN else [])]
    where = ", ".join(listed) or "the inventory"
    if WITHOUT in text:
        return (
            f"{where}: encrypted by ansible-vault, but no password was given: "
            "add --ask-vault-pass or --vault-password-file FILE."
        )
    if WRONG in text:
        return f"{where}: the given vault password does not decrypt all of it: use the one it was encrypted with."
    return ""
