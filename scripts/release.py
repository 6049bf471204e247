#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Release a version: `scripts/release.py 0.2.0`, or `make release VERSION=0.2.0`.

Writes the version into pyproject.toml, names the changelog's unreleased section after it, commits both, and tags the
commit with that section as notes. Nothing is pushed.
"""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from pathlib import Path

UNRELEASED = "## [Unreleased]\n"
VERSION = re.compile(r'(?m)^version = "(\d+\.\d+\.\d+)"$')


def git(*arguments: str, text: str = "") -> str:
    """Return what git prints; CalledProcessError where it fails, after its own words."""
    return subprocess.run(["git", *arguments], input=text, check=True, text=True, stdout=subprocess.PIPE).stdout


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers that compare."""
    return tuple(int(part) for part in version.split("."))


def notes_of(changelog: str) -> str:
    """Return what is not released yet."""
    rest = changelog.partition(UNRELEASED)[2]
    return re.split(r"(?m)^## ", rest)[0].strip()


def faults(version: str, project: str, changelog: str) -> list[str]:
    """Return every reason not to release."""
    found = []
    current = VERSION.search(project)
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        found.append(f"{version!r} is not a version: write MAJOR.MINOR.PATCH, such as 0.2.0")
    elif current and numbers(version) <= numbers(current[1]):
        found.append(f"{version} does not follow {current[1]}, the version in pyproject.toml")
    if not current:
        found.append("pyproject.toml has no version")
    if not notes_of(changelog):
        found.append("CHANGELOG.md has nothing under [Unreleased]: say there what a user sees change")
    if git("tag", "--list", f"v{version}"):
        found.append(f"there is a tag v{version} already")
    if changed := git("status", "--porcelain"):
        found.append(f"there are changes that are not committed:\n{changed.rstrip()}")
    return found


def main() -> int:
    """Check, write, commit and tag."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: scripts/release.py VERSION\n")
        return 2
    version = sys.argv[1]
    project, changelog = Path("pyproject.toml"), Path("CHANGELOG.md")
    if wrong := faults(version, project.read_text(), changelog.read_text()):
        sys.stderr.write("".join(f"release: {fault}\n" for fault in wrong))
        return 2
    notes = notes_of(changelog.read_text())
    today = dt.datetime.now(dt.UTC).date().isoformat()
    project.write_text(VERSION.sub(f'version = "{version}"', project.read_text(), count=1))
    heading = f"{UNRELEASED}\n## [{version}] - {today}\n"
    changelog.write_text(changelog.read_text().replace(UNRELEASED, heading, 1))
    git("commit", "--quiet", "--message", f"Release {version}", "--", str(project), str(changelog))
    git("tag", "--annotate", "--cleanup=verbatim", "--file=-", f"v{version}", text=f"Yunkube {version}\n\n{notes}\n")
    sys.stdout.write(f"{notes}\n\nTagged v{version}. Publish it: git push --follow-tags\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
