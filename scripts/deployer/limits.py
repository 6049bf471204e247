# SPDX-License-Identifier: Apache-2.0
"""--limit as ansible-playbook reads it, with the control machine always in it."""

from __future__ import annotations

import re
from pathlib import Path

from deployer.errors import DeployError

# A colon parts patterns, but for those of a range ([1:3]) and of an IPv6 address.
_PATTERN = re.compile(r"(?:[^\s:\[\]]|\[[^\]]*\])+")
_ADDRESS = re.compile(r"\[?[0-9a-fA-F]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\]?")


def with_localhost(limit: str) -> str:
    """Keep localhost in the limit: the first stage, which makes hosts and the bundle, runs there.

    Ansible parts a limit at its commas, or, where there are none, at its colons; so one comma more would make a single
    name of `masters:nodes`.
    """
    if not limit:
        return ""
    if any(pattern.startswith("&") for pattern in patterns(limit)):
        raise DeployError(
            f"--limit {limit}: an intersection (&) is not supported: it would exclude this machine",
            "name the hosts, or exclude some with !",
        )
    found = patterns(limit)
    # Without a pattern that chooses, those that leave out choose from all.
    chosen = found if any(not pattern.startswith("!") for pattern in found) else ["all", *found]
    return ",".join([*map(_absolute, chosen), "localhost"])


def _absolute(pattern: str) -> str:
    """Return a pattern with the absolute path of the file that it names: Ansible runs in another directory."""
    if not pattern.startswith("@"):
        return pattern
    path = Path(pattern[1:]).expanduser().absolute()
    if not path.is_file():
        raise DeployError(f"--limit {pattern}: there is no such file", "pass a file with one host or group per line")
    return f"@{path}"


def patterns(limit: str) -> list[str]:
    """Return the patterns that Ansible would see in a limit."""
    if limit.startswith("@") and Path(limit[1:]).expanduser().is_file():
        return [limit]
    if "," in limit:
        return [pattern.strip() for pattern in limit.split(",") if pattern.strip()]
    return [limit] if _ADDRESS.fullmatch(limit) else _PATTERN.findall(limit)
