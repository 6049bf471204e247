# SPDX-License-Identifier: Apache-2.0
"""Programs and files that the control machine needs, from its distribution's packages."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# What apt-get prints of its indexes, for debian_archive to read.
APT_INDEXES = ("indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages")

DEFAULT_ARCHIVES = {f"{service}.debian.org" for service in ("deb", "security")}  # as Debian is installed


class PackageError(Exception):
    """A program is missing and cannot be installed here; the message says what to do."""


def missing(wanted: t.Mapping[str, t.Sequence[str]], path: str | None = None) -> dict[str, list[str]]:
    """Return those of the programs, or files by their path, with their packages, that are not on this machine."""
    search = path or f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"

    def here(program: str) -> bool:
        return Path(program).exists() if "/" in program else shutil.which(program, path=search) is not None

    return {program: list(packages) for program, packages in wanted.items() if not here(program)}


def install(module: AnsibleModule, wanted: t.Mapping[str, t.Sequence[str]]) -> list[str]:
    """Install the packages of the programs that are missing, and return those packages."""
    absent = missing(wanted)
    packages = [package for names in absent.values() for package in names]
    if not packages:
        return []
    programs, listed = ", ".join(absent), " ".join(packages)
    apt = module.get_bin_path("apt-get")
    if apt is None:
        raise PackageError(f"{programs} is missing; install it (on Debian the packages are: {listed})")
    if os.geteuid() != 0:
        raise PackageError(f"{programs} is missing; install it: sudo apt-get install {listed}")
    if not any(Path("/var/lib/apt/lists").glob("*Packages*")):
        _apt(module, apt, "update")
    _apt(module, apt, "install", "--yes", "--no-install-recommends", *packages)
    return packages


def debian_archive(listing: str, label: str = "Debian") -> str | None:
    """Return the address of Debian's archive out of apt's indexes, `origin|label|uri` a line; None without one."""
    for line in listing.splitlines():
        origin, labelled, uri = line.split("|", 2)
        if (origin, labelled) == ("Debian", label):
            return uri
    return None


def mirror_of(archive: str | None, mirror: str | None) -> str | None:
    """Return the mirror, if there is one and apt has no other archive than the installation's own; else apt's."""
    return mirror if mirror and (archive is None or urlsplit(archive).hostname in DEFAULT_ARCHIVES) else archive


def _apt(module: AnsibleModule, apt: str, *words: str) -> None:
    argv = [apt, "--quiet", "-o", "DPkg::Lock::Timeout=120", *words]
    code, out, err = module.run_command(argv, environ_update={"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"})
    if code != 0:
        errors = [line for line in (err + out).splitlines() if line.startswith("E:")]
        raise PackageError(f"{' '.join(['apt-get', *words])} failed: {' '.join(errors) or 'no message'}")
