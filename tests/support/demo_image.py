# SPDX-License-Identifier: Apache-2.0
"""The demo as two versions of an image, brought to hosts in Docker: demo_image.py PROGRAM IMAGE CONTAINER..."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

DOCKERFILE = Path(__file__).resolve().parents[2] / "components/demo/Dockerfile"
IMAGE = "localhost/webtest"
VERSIONS = ("1", "2")


def build(program: Path, tag: str, version: str, *, filler_mb: int = 0) -> None:
    """Build an image of the bundle's program; with so many megabytes that no push can spare itself."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(program, folder)
        text = DOCKERFILE.read_text()
        if filler_mb:
            text += "COPY filler /filler\n"
            (folder / "filler").write_bytes(os.urandom(filler_mb << 20))
        (folder / "Dockerfile").write_text(text)
        _run("docker", "build", "--quiet", "--tag", tag, "--build-arg", f"VERSION={version}", name)


def bring(program: Path, containers: Iterable[str], image: str = IMAGE) -> None:
    """Build image:1 and image:2 of the bundle's program, and import them on the hosts."""
    tags = [f"{image}:{version}" for version in VERSIONS]
    for version, tag in zip(VERSIONS, tags, strict=True):
        build(program, tag, version)
    saved = _run("docker", "save", *tags)
    for container in containers:
        _run("docker", "exec", "--interactive", container, "ctr", "-n", "k8s.io", "images", "import", "-", given=saved)
    _run("docker", "image", "rm", *tags)


def _run(*argv: str, given: bytes = b"") -> bytes:
    return subprocess.run(argv, input=given, capture_output=True, check=True, timeout=120).stdout


if __name__ == "__main__":
    bring(Path(sys.argv[1]).expanduser(), sys.argv[3:], sys.argv[2])
