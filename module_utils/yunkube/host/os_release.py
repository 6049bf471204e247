# SPDX-License-Identifier: Apache-2.0
"""A host's distribution."""

from __future__ import annotations

# ID and ID_LIKE of /etc/os-release, as Ansible calls the family and what installs its packages.
FAMILIES = {
    "debian": ("Debian", "apt"),
    "rhel": ("RedHat", "dnf"),
    "fedora": ("RedHat", "dnf"),
    "openEuler": ("RedHat", "dnf"),  # it says of nothing that it is like it, and so does Anolis OS 23
    "anolis": ("RedHat", "dnf"),
    "alinux": ("RedHat", "dnf"),
    "suse": ("Suse", "zypper"),
}
NAMES = {"rhel": "RedHat", "centos": "CentOS", "almalinux": "AlmaLinux", "opensuse-leap": "openSUSE Leap"}


def parse_os_release(text: str) -> dict[str, str]:
    """Return the values of /etc/os-release by their names (ID, VERSION_ID, ...)."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name: value.strip("\"'") for name, value in pairs}


def distribution(said: dict[str, str]) -> dict[str, str]:
    """Return what /etc/os-release says of the distribution, under Ansible's names."""
    identity = said.get("ID", "linux")
    likes = [identity, *said.get("ID_LIKE", "").split()]
    family, manager = next((FAMILIES[like] for like in likes if like in FAMILIES), (identity.capitalize(), "unknown"))
    return {
        "distribution": NAMES.get(identity, identity.capitalize()),
        "distribution_version": said.get("VERSION_ID", ""),
        "distribution_major_version": said.get("VERSION_ID", "").partition(".")[0],
        "os_family": family,
        "pkg_mgr": manager,
    }
