# SPDX-License-Identifier: Apache-2.0
"""Debian's own packages on a host of a lab; the control machine fetches them once for each image of hosts."""

from __future__ import annotations

import hashlib
import os
import shutil

import yaml
from ansible.module_utils.yunkube.build.debian_packages import Archive
from ansible.module_utils.yunkube.build.tools import Tools
from laboratory import CACHE, ROOT, Lab, docker

LOCK = ROOT / "components/kubernetes-1.37.2.yml"


def install(lab: Lab, host: str, *names: str, before: str = "true") -> None:
    """Install packages on a bare Debian 12 host, with all that they depend on; `before` writes what they read."""
    container = f"yunkube-{lab.name}-{host}"
    status = lab.run(host, "cat /var/lib/dpkg/status")
    folder = CACHE / "lab-packages" / f"{'-'.join(names)}-{hashlib.sha256(status.encode()).hexdigest()[:12]}"
    if not folder.exists():
        lock = yaml.safe_load(LOCK.read_text())
        part = folder.with_name(f".{folder.name}.{os.getpid()}")
        part.mkdir(parents=True)
        with Archive(Tools(CACHE, 0), lock["packages"]["debian12"]["suites"], lock["architecture"]) as archive:
            (archive.folder / "status").write_text(status)
            archive.download(archive.resolve(list(names)), part)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    docker("cp", str(folder), f"{container}:/root/packages")
    lab.run(host, f"set -e; {before}; dpkg --force-unsafe-io --install /root/packages/*.deb; rm -r /root/packages")
