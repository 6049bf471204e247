# SPDX-License-Identifier: Apache-2.0
"""Command lines of deploy.py, as a person types them."""

from __future__ import annotations

import shlex

DEFAULT_INVENTORY = "inventory/docker"
# The first of two words, in scripts/deployer/commands.
GROUPS = ("bundle", "certs", "cloud", "web")


def command(words: str, inventory: str) -> str:
    """Return a verb and its arguments as a command line for this inventory."""
    parts = words.split(" ", 2 if words.startswith(tuple(f"{group} " for group in GROUPS)) else 1)
    verb = " ".join(parts[:2] if parts[0] in GROUPS else parts[:1])
    chosen = "" if inventory.rstrip("/") == DEFAULT_INVENTORY else f" -i {shlex.quote(inventory)}"
    return f"./scripts/deploy.py {verb}{chosen}{words.removeprefix(verb)}"
