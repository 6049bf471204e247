# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes releases that have a lock in components/, and what to say of one that has none."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

PATCH_RELEASE = re.compile(r"\d+\.\d+\.\d+")  # of Kubernetes, without the v of its tags


def numbers(release: str) -> tuple[int, ...]:
    """Return a release as numbers that compare."""
    return tuple(int(part) for part in re.findall(r"\d+", release))


def minor_of(release: str) -> str:
    """Return the minor release that a patch release belongs to: 1.37 of 1.37.2."""
    return ".".join(release.split(".")[:2])


def file_of(components: Path, release: str) -> Path:
    """Return where the lock of a release is, or would be."""
    return components / f"kubernetes-{release}.yml"


def locked_releases(components: Path) -> list[str]:
    """Return the Kubernetes releases that have a lock file, oldest first."""
    found = [file.stem.removeprefix("kubernetes-") for file in components.glob("kubernetes-*.yml")]
    return sorted(found, key=numbers)


def what_to_write(wanted: str, releases: Collection[str]) -> str:
    """Return what to do about a release that has no lock."""
    known = sorted(releases, key=numbers)
    release = wanted.removeprefix("v")
    if release in known:
        return f"write {release}, without the v"
    of_minor = [one for one in known if minor_of(one) == minor_of(release)]
    other = f", or make a lock of it: make lock K8S={release}" if of_minor and PATCH_RELEASE.fullmatch(release) else ""
    return f"write {(of_minor or known)[-1]}{other}" if known else "restore components/ from the project's repository"
