"""Private keys: whether ssh could not use the one that is meant for a host, as it has a passphrase."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.yunkube.inventory_files import Inventory

NAMES = ("ansible_ssh_private_key_file", "ansible_private_key_file")
# What ssh tries where none is named, man ssh_config, IdentityFile.
DEFAULTS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")


def locked_key(files: Inventory, host: str) -> str:
    """Return the key that is meant for a host, where it has a passphrase and no agent holds it; else nothing."""
    return next((str(path) for path in _keys(files, host) if _is_locked(path)), "")


def _keys(files: Inventory, host: str) -> Iterator[Path]:
    named = next((entry for name in NAMES if (entry := files.where(name, host))), None)
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
