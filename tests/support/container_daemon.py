# SPDX-License-Identifier: Apache-2.0
"""The bundle's own containerd, in a folder of its own: it stores images and runs nothing."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from kube_api_server import programs

# Version 3: in one of version 4, containerd 2.3 skips the tables grpc and ttrpc, and takes the host's own sockets.
CONFIG = """\
version = 3
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
  "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri",
  "io.containerd.nri.v1.nri",
]

[grpc]
  address = "{folder}/socket"

[ttrpc]
  address = "{folder}/ttrpc"

[plugins.'io.containerd.internal.v1.opt']
  path = "{folder}/opt"
"""
SECONDS = 30  # to start, on a machine that builds beside it; alone it takes less than one


@contextlib.contextmanager
def containerd(folder: Path) -> Iterator[Path]:
    """Run it in a folder; return a program that is its ctr."""
    found = programs("containerd", "ctr")
    (folder / "config.toml").write_text(CONFIG.format(folder=folder))
    ctr = folder / "ctr"
    ctr.write_text(f'#!/bin/sh\nexec {found["ctr"]} --address {folder}/socket "$@"\n')
    ctr.chmod(0o755)
    with (folder / "log").open("w") as log:
        argv = [str(found["containerd"]), "--config", str(folder / "config.toml")]
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + SECONDS
        while subprocess.run([ctr, "version"], capture_output=True, check=False, timeout=SECONDS).returncode:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield ctr
    finally:
        process.terminate()
        process.wait(SECONDS)
