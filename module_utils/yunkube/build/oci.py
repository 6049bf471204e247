# SPDX-License-Identifier: Apache-2.0
"""Write container images as OCI archives whose bytes depend on their content alone.

Format: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.build.store import digest_file

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclasses.dataclass(frozen=True)
class Image:
    """What an image is called and how it runs."""

    reference: str
    entrypoint: list[str]
    user: str
    created: str  # RFC 3339, the same for every build of one lock
    architecture: str = "amd64"


def layer(tree: t.Mapping[str, Path], out: t.BinaryIO, timestamp: int) -> None:
    """Write a tar of `tree` (path in the image -> file or folder here), sorted, owned by root, all of one time."""
    entries: dict[str, Path | None] = {}
    for target, source in tree.items():
        base = target.strip("/")
        if source.is_dir() and not source.is_symlink():
            entries |= {f"{base}/{path.relative_to(source)}".strip("/"): path for path in source.rglob("*")}
        else:
            entries[base] = source
    for name in list(entries):
        for parent in Path(name).parents:
            entries.setdefault(str(parent), None)
    entries.pop(".", None)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, here in sorted(entries.items(), key=lambda entry: entry[0]):
            if here is None:
                info = tarfile.TarInfo(name)
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            else:
                info = tar.gettarinfo(here, name)
                if info.islnk():  # a second name of a file met before: store it as a file of its own
                    info.type, info.size = tarfile.REGTYPE, here.stat().st_size
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = timestamp
            if here is not None and info.isreg():
                with here.open("rb") as stream:
                    tar.addfile(info, stream)
            else:
                tar.addfile(info)


def write_archive(image: Image, layers: list[Path], out: Path) -> str:
    """Write the archive of an image made of layer tars; return the digest of its manifest."""
    diffs = [(_digest(path), path) for path in layers]
    config = _json(
        {
            "created": image.created,
            "architecture": image.architecture,
            "os": "linux",
            "config": {"User": image.user, "Env": [f"PATH={PATH}"], "Entrypoint": image.entrypoint or None},
            "rootfs": {"type": "layers", "diff_ids": [digest for digest, _ in diffs]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": path.stat().st_size}
                for digest, path in diffs
            ],
        }
    )
    blobs: dict[str, bytes | Path] = dict(diffs)
    blobs |= {_digest(config): config, _digest(manifest): manifest}
    descriptor = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    write_layout(image.reference, image.architecture, descriptor, blobs, out)
    return t.cast("str", descriptor["digest"])


def write_layout(
    reference: str, architecture: str, descriptor: dict[str, t.Any], blobs: t.Mapping[str, bytes | Path], out: Path
) -> None:
    """Write the archive of a manifest and of all that it names; containerd imports nothing from one without a name."""
    index = _json(
        {
            "schemaVersion": 2,
            "manifests": [
                descriptor
                | {
                    "platform": {"architecture": architecture, "os": "linux"},
                    "annotations": {
                        "io.containerd.image.name": reference,
                        "org.opencontainers.image.ref.name": reference.rsplit(":", 1)[1],
                    },
                }
            ],
        }
    )
    with tarfile.open(out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", index)
        for digest, content in sorted(blobs.items()):
            _add(tar, "blobs/" + digest.replace(":", "/"), content)


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    info = tarfile.TarInfo(name)
    info.mode = 0o644
    if isinstance(content, Path):
        info.size = content.stat().st_size
        with content.open("rb") as stream:
            tar.addfile(info, stream)
    else:
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return "sha256:" + hashlib.sha256(content).hexdigest()
    return "sha256:" + digest_file(content)


def _descriptor(media_type: str, content: bytes) -> dict[str, t.Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}
