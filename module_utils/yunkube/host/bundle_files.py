# SPDX-License-Identifier: Apache-2.0
"""Programs, packages and images on a host, compared with the bundle manifest's entries."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.words import counted, joined

STATE = Path("/var/lib/yunkube")
CTR = "/usr/local/bin/ctr"
IMAGE_STORE = Path("/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db")
PROGRAMS = ("runtime", "cni", "kubernetes")
Entry = dict[str, t.Any]

# What dpkg-query is asked for a listing of `package state` lines.
LISTING = ("--show", "--showformat=${Package} ${db:Status-Status}\n")

# States in which a package lies unpacked: dpkg has only to configure it. A half-installed one is installed again.
UNFINISHED = ("unpacked", "half-configured", "triggers-awaited", "triggers-pending")

# Seconds that a query, the import of an image and the installation of packages may take.
LOOK_SECONDS = scaled(30.0)
IMPORT_SECONDS = scaled(600.0)
DPKG_SECONDS = scaled(900.0)
CONTAINERD_HANGS = "containerd does not answer: `systemctl status containerd` on that host, then run again"
DPKG_HANGS = "find out what dpkg waits for on that host (`ps -ef`, a full or broken disk), then run again"


class InstallError(Exception):
    """The host cannot be brought there; the text says why, `remedy` what to do where that is not in the text."""

    def __init__(self, message: str, remedy: str = "", commands: tuple[str, ...] = ()) -> None:
        """Keep all; the commands are those that the remedy names, see result.py."""
        super().__init__(message)
        self.remedy, self.commands = remedy, commands


class Digests:
    """Digests of files on this host, remembered as long as size, time and inode stay."""

    def __init__(self, path: Path) -> None:
        """Read what was remembered."""
        self.path = path
        try:
            self.known: dict[str, list[t.Any]] = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            self.known = {}

    def of(self, path: Path) -> str | None:
        """Return the sha256 of a file, None where there is none."""
        try:
            about = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        stamp = [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
        known = self.known.get(str(path))
        if known is None or known[:4] != stamp:
            digest = hashlib.sha256()
            with path.open("rb") as stream:  # by hand: hosts have Python 3.9, and hashlib.file_digest came with 3.11
                for part in iter(lambda: stream.read(2**20), b""):
                    digest.update(part)
            known = [*stamp, digest.hexdigest()]
            self.known[str(path)] = known
        return str(known[4])

    def save(self) -> None:
        """Remember for the next call."""
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.known))
        part.replace(self.path)


def missing_programs(entries: list[Entry], digests: Digests) -> list[Entry]:
    """Return the entries whose file on this host is missing or differs."""
    return [entry for entry in entries if digests.of(Path(entry["path"])) != entry["sha256"]]


def missing_packages(entries: list[Entry], listing: str) -> tuple[list[Entry], list[str]]:
    """Return the packages that are not installed, and the names of those whose installation was cut off.

    `listing` is dpkg-query's, a line `name state` each. Packages that are not among the entries are somebody else's.
    """
    states = dict(line.split(" ", 1) for line in listing.splitlines() if " " in line)
    named = {entry["package"]: states.get(entry["package"], "not-installed") for entry in entries}
    return [entry for entry in entries if named[entry["package"]] != "installed"], [
        name for name, state in named.items() if state in UNFINISHED
    ]


def missing_images(entries: list[Entry], listing: str) -> list[Entry]:
    """Return the images that are missing or have another digest; `listing` is ctr's."""
    rows = re.finditer(r"^(\S+)\s+\S+\s+(sha256:[0-9a-f]{64})\s", listing, re.MULTILINE)
    present = {(row[1], row[2]) for row in rows}
    return [entry for entry in entries if (entry["reference"], entry["target"]) not in present]


def run_program(argv: list[str], seconds: float, remedy: str) -> str:
    """Run a program that must succeed in time, and return what it prints; `remedy` says what to do if it hangs."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "DPKG_FRONTEND_LOCKED": "1"}
    name = Path(argv[0]).name
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True)
    with process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)  # with what it started
            raise InstallError(f"{name} did not end within {seconds:.0f} s and was stopped", remedy) from error
    if process.returncode != 0:
        lines = (err or out).strip().splitlines()[-3:]
        raise InstallError(f"{name} failed: {' | '.join(lines)}")
    return out


def run_ctr(*words: str, seconds: float) -> str:
    """Run containerd's ctr."""
    return run_program([CTR, "--namespace", "k8s.io", *words], seconds, CONTAINERD_HANGS)


def list_packages() -> str:
    """Return what dpkg-query lists."""
    return run_program(["dpkg-query", *LISTING], LOOK_SECONDS, DPKG_HANGS)


def list_images(check_mode: bool) -> str | None:
    """Return what ctr lists, nothing where no containerd was ever here.

    None where one was that does not run now: in check mode nobody starts it, and its images are still there.
    """
    if not shutil.which(CTR) or (check_mode and not Path(constants.CONTAINERD_SOCKET).exists()):
        return None if IMAGE_STORE.exists() else ""
    return run_ctr("images", "list", seconds=LOOK_SECONDS)


def compare(files: list[Entry], digests: Digests, check_mode: bool) -> tuple[list[Entry], list[str]]:
    """Return the entries that this host lacks, and the packages among them whose installation was cut off."""
    missing = missing_programs([entry for entry in files if entry["kind"] in PROGRAMS], digests)
    packages = [entry for entry in files if entry["kind"] == "package"]
    images = [entry for entry in files if entry["kind"] == "image"]
    unfinished: list[str] = []
    if packages:
        lacking, unfinished = missing_packages(packages, list_packages())
        missing += lacking
    if images and (listing := list_images(check_mode)) is not None:
        missing += missing_images(images, listing)
    return missing, unfinished


def in_words(missing: list[Entry], unfinished: list[str]) -> list[str]:
    """Describe what is missing as changes, a line for each kind."""
    programs = [entry for entry in missing if entry["kind"] in PROGRAMS]
    plugins = [entry["name"] for entry in programs if entry["kind"] == "cni"]
    named = [f"{entry['name']} {entry['version']}" for entry in programs if entry["kind"] != "cni"]
    if plugins:
        named.append(f"{len(plugins)} CNI plugins" if len(plugins) > 2 else f"CNI plugin {' and '.join(plugins)}")
    packages = sorted(
        entry["package"] for entry in missing if entry["kind"] == "package" and entry["package"] not in unfinished
    )
    images = [f"{Path(entry['name']).name} {entry['version']}" for entry in missing if entry["kind"] == "image"]
    lines = [f"finish the installation of {counted(sorted(unfinished), 'package')}"] if unfinished else []
    lines += [f"install {counted(packages, 'package')}"] if packages else []
    lines += [f"install {joined(named)}"] if named else []
    return lines + ([f"import {counted(images, 'image')}"] if images else [])
