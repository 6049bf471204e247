# SPDX-License-Identifier: Apache-2.0
"""Why a host refused a login: ssh itself says only that it did."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.inventory import shown
from deployer.unreachable import Explanation

if TYPE_CHECKING:
    from ansible.module_utils.yunkube.control.inventory_files import Inventory

PASSWORDS = ("ansible_password", "ansible_ssh_password", "ansible_ssh_pass")
NAMES = ("ansible_ssh_private_key_file", "ansible_private_key_file")
# What ssh tries where none is named, man ssh_config, IdentityFile.
DEFAULTS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")


def refused_login(files: Inventory, host: str, *, typed: bool) -> Explanation | None:
    """Explain it by the password that was given, `typed` or in the inventory, or by a key that could not be used."""
    given = next((entry for name in PASSWORDS if (entry := files.of_host(name, host))), None)
    if typed or given:
        place = "--ask-pass" if typed or not given else f"{shown(given.file)}:{given.line}"
        return Explanation(
            f"it rejected the password from {place}, or does not allow passwords",
            "correct the password or ansible_user; PasswordAuthentication in the host's sshd_config allows passwords",
        )
    if key := locked_key(files, host):
        return Explanation(
            f"the login was rejected; its key {key} has a passphrase and is not in an ssh-agent",
            f"add it to the agent of this shell, then run the same command again: ssh-add {key}",
        )
    return None


def locked_key(files: Inventory, host: str) -> str:
    """Return the key that is meant for a host, where it has a passphrase and no agent holds it; else nothing."""
    return next((str(path) for path in _keys(files, host) if _is_locked(path)), "")


def _keys(files: Inventory, host: str) -> Iterator[Path]:
    named = next((entry for name in NAMES if (entry := files.of_host(name, host))), None)
    for text in [named.value] if named else DEFAULTS:
        if isinstance(text, str) and "{{" not in text and (path := Path(text).expanduser()).is_file():
            yield path


def _is_locked(path: Path) -> bool:
    said = _said("ssh-keygen", "-y", "-P", "", "-f", str(path))
    if "incorrect passphrase" not in said:
        return False
    try:
        public = path.with_name(f"{path.name}.pub").read_text(encoding="utf-8").split()[1]
    except (OSError, IndexError):
        return True
    return public not in _said("ssh-add", "-L").split()


def _said(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=5, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
