# SPDX-License-Identifier: Apache-2.0
"""Keep the modules that Ansible packed for the hosts from one run to the next.

Ansible packs every module with the code that it imports, once a run, into a folder of the run's own; on a run with
nothing to do this is a quarter of the control machine's work. Here that folder becomes a link into the cache, named
by a digest of all code that can be packed, so that a change of any of it starts an empty one.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: module_cache
type: aggregate
short_description: Keep packed modules from one run to the next
description:
  - Links C(ansiballz_cache) of the run's temporary folder to C(${XDG_CACHE_HOME:-~/.cache}/yunkube/modules/<digest>).
  - Where that cannot be done, Ansible packs them as ever.
author: [The maintainers]
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__


def digest_of_code(folders: Iterable[Path], version: str) -> str:
    """Return a digest of Ansible's version and of every module and what modules import."""
    total = hashlib.sha256(version.encode())
    for folder in folders:
        total.update(b"\0")
        for path in sorted(folder.rglob("*.py")):
            total.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return total.hexdigest()[:16]


def link(temporary: Path, cache: Path) -> None:
    """Let the run's folder for packed modules be `cache`, which nobody else may write: Ansible trusts what it finds."""
    with contextlib.suppress(OSError):
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        if cache.stat().st_uid == os.geteuid() and not cache.stat().st_mode & 0o077:
            (temporary / "ansiballz_cache").symlink_to(cache)


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Listens for the start of a run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "module_cache"
    CALLBACK_NEEDS_ENABLED = False

    def v2_playbook_on_start(self, playbook: object) -> None:
        """Link the folder, before the first module is packed."""
        del playbook
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yunkube/modules"
        # The project's, and others where ANSIBLE_LIBRARY or another configuration names them.
        folders = [Path(path) for path in (*constants.DEFAULT_MODULE_PATH, *constants.DEFAULT_MODULE_UTILS_PATH)]
        link(Path(constants.DEFAULT_LOCAL_TMP), base / digest_of_code(folders, __version__))
