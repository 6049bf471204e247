# SPDX-License-Identifier: Apache-2.0
"""A host's distribution."""

from __future__ import annotations


def parse_os_release(text: str) -> dict[str, str]:
    """Return the values of /etc/os-release by their names (ID, VERSION_ID, ...)."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name: value.strip("\"'") for name, value in pairs}
