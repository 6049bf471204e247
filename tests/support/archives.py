# SPDX-License-Identifier: Apache-2.0
"""Archives of bundles that are not as `bundle export` writes them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from ansible.module_utils.yunkube.build import archive, archive_import
from ansible.module_utils.yunkube.build.cached_bundles import bundles
from ansible.module_utils.yunkube.result import RefusedError
from tiny_bundle import make_bundle

Members = list[tuple[tarfile.TarInfo, bytes]]


def export_two(cache: Path, project: Path) -> Path:
    """Return an archive of two bundles, which this makes and moves out of the cache."""
    make_bundle(cache, project)
    make_bundle(cache, project, architecture="arm64")
    out = project / "bundles.tar.zst"
    archive.export(bundles(cache), project, out)
    cache.rename(project / "elsewhere")
    return out


def members_of(path: Path) -> Members:
    """Read an archive."""
    with path.open("rb") as stream:
        plain = zstandard.ZstdDecompressor().stream_reader(stream).read()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return [(info, b"".join(tar.extractfile(info) or [])) for info in tar]


def write_members(path: Path, members: Members) -> None:
    """Write an archive, of whatever it is made."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for info, content in members:
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(zstandard.ZstdCompressor().compress(plain.getvalue()))


def change(path: Path, how: Callable[[Members], object]) -> None:
    """Change an archive's members."""
    members = members_of(path)
    how(members)
    write_members(path, members)


def change_index(path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    """Change an archive's index."""

    def rewrite(members: Members) -> None:
        index = json.loads(members[0][1])
        how(index)
        members[0] = (members[0][0], json.dumps(index).encode())

    change(path, rewrite)


def refused(path: Path, cache: Path) -> str:
    """Import what cannot be; return why, and see that nothing was written."""
    with pytest.raises(RefusedError) as caught:
        archive_import.bring(path, cache)
    assert not cache.exists()
    return str(caught.value)


def change_manifest(path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    """Change an archive's first manifest, and its index with it."""

    def rewrite(members: Members) -> None:
        index, manifest = json.loads(members[0][1]), json.loads(members[1][1])
        name, origins = index["bundles"][0]["name"], members[3][1]
        how(manifest)
        text = json.dumps(manifest).encode()
        digest = hashlib.sha256(text).hexdigest()
        index["bundles"][0] |= {"name": digest[:16], "manifest": digest}
        members[0] = (members[0][0], json.dumps(index).encode())
        members[1] = (tarfile.TarInfo(f"manifests/{digest[:16]}.json"), text)
        assert members[3][0].name == f"origins/{name}.json"
        members[3] = (tarfile.TarInfo(f"origins/{digest[:16]}.json"), origins)

    change(path, rewrite)
