# SPDX-License-Identifier: Apache-2.0
"""Debian's own packages on a host of a lab; the control machine fetches them once for each image of hosts."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml
from ansible.module_utils.yunkube.build.debian_packages import Archive
from ansible.module_utils.yunkube.build.tools import Tools
from laboratory import CACHE, Lab, docker
from lock_files import LOCK_FILE


def fetch(status: str, names: Sequence[str], distribution: str = "debian12") -> Path:
    """Return a folder of packages and all that they need on a system with this dpkg status."""
    wanted = hashlib.sha256(f"{distribution}\n{status}".encode()).hexdigest()[:12]
    folder = CACHE / "lab-packages" / f"{'-'.join(names)[:100]}-{wanted}"
    if not folder.exists():
        lock = yaml.safe_load(LOCK_FILE.read_text())
        part = folder.with_name(f".{folder.name}.{os.getpid()}")
        part.mkdir(parents=True)
        with Archive(Tools(CACHE, 0), lock["packages"][distribution]["suites"], lock["architecture"]) as archive:
            (archive.folder / "status").write_text(status)
            archive.download(archive.resolve(list(names)), part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    return folder


def install(lab: Lab, host: str, *names: str, before: str = "true") -> None:
    """Install packages on a bare Debian 12 host, with all that they depend on; `before` writes what they read."""
    container = f"yunkube-{lab.name}-{host}"
    folder = fetch(lab.run(host, "cat /var/lib/dpkg/status"), names)
    docker("cp", str(folder), f"{container}:/root/packages")
    lab.run(host, f"set -e; {before}; dpkg --force-unsafe-io --install /root/packages/*.deb; rm -r /root/packages")
