# SPDX-License-Identifier: Apache-2.0
"""An image is a layout that any tool reads, and its bytes are those of its content."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.build import oci

EPOCH = 1_763_424_000
IMAGE = oci.Image("registry.k8s.io/pause:3.10.2", ["/pause"], "65535", "2026-11-18T00:00:00Z")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder as a build leaves it: a program, a link, a second name, made in no particular order."""
    root = tmp_path / "tree"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/tool").write_bytes(b"\x7fELF")
    (root / "usr/bin/tool").chmod(0o755)
    os.link(root / "usr/bin/tool", root / "usr/bin/again")
    (root / "bin").symlink_to("usr/bin")
    return root


def archive_of(tree: Path, out: Path) -> tuple[str, bytes]:
    """Write an archive; return its digest and bytes."""
    layer = out.with_suffix(".layer")
    with layer.open("wb") as stream:
        oci.layer({"/": tree, "/pause": tree / "usr/bin/tool"}, stream, EPOCH)
    return oci.write_archive(IMAGE, [layer], out), out.read_bytes()


def read(archive: bytes) -> dict[str, bytes]:
    """Return the files of an archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: t.cast("t.IO[bytes]", tar.extractfile(member)).read() for member in tar}


def test_a_second_write_has_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    first = archive_of(tree, tmp_path / "first.tar")
    for path in tree.rglob("*"):  # what differs between two machines and two days
        os.utime(path, (1, 1), follow_symlinks=False)
    assert archive_of(tree, tmp_path / "second.tar") == first


def test_other_content_is_another_image(tree: Path, tmp_path: Path) -> None:
    first, _ = archive_of(tree, tmp_path / "first.tar")
    (tree / "usr/bin/tool").write_bytes(b"\x7fELF2")
    assert archive_of(tree, tmp_path / "second.tar")[0] != first


def test_every_descriptor_names_a_file_by_its_digest_and_size(tree: Path, tmp_path: Path) -> None:
    digest, archive = archive_of(tree, tmp_path / "image.tar")
    files = read(archive)
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (top,) = json.loads(files["index.json"])["manifests"]
    assert top["digest"] == digest
    assert top["annotations"]["io.containerd.image.name"] == "registry.k8s.io/pause:3.10.2"
    manifest = json.loads(blob(files, top))
    config = json.loads(blob(files, manifest["config"]))
    layers = [blob(files, layer) for layer in manifest["layers"]]
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    assert config["config"]["Entrypoint"] == ["/pause"]
    assert config["config"]["User"] == "65535"
    assert len(files) == 2 + 2 + len(layers)  # nothing that no descriptor names


def blob(files: dict[str, bytes], descriptor: dict[str, t.Any]) -> bytes:
    """Return what a descriptor describes."""
    content = files["blobs/" + descriptor["digest"].replace(":", "/")]
    assert descriptor["size"] == len(content)
    assert descriptor["digest"] == "sha256:" + hashlib.sha256(content).hexdigest()
    return content


def test_a_layer_belongs_to_root_and_to_one_moment(tree: Path) -> None:
    out = io.BytesIO()
    oci.layer({"/": tree, "/opt/x": tree / "usr/bin/tool"}, out, EPOCH)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        members = {member.name: member for member in tar}
        again = t.cast("t.IO[bytes]", tar.extractfile("usr/bin/again")).read()
    assert list(members) == sorted(members)
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in members.values()} == {(0, 0, "", EPOCH)}
    assert {"opt", "opt/x", "bin", "usr/bin", "usr/bin/tool"} <= set(members)
    assert members["bin"].issym()
    assert members["bin"].linkname == "usr/bin"
    assert members["usr/bin/tool"].mode == 0o755
    assert again == b"\x7fELF"  # a second name of a file is a file of its own
