# SPDX-License-Identifier: Apache-2.0
"""What a host's containerd has after an import is looked at: ctr reports none of what it left out."""

from __future__ import annotations

import json
import os
import tarfile
import tomllib
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.build import oci
from ansible.module_utils.yunkube.build.store import digest_file
from ansible.module_utils.yunkube.host import bundle_files, bundle_installation
from ansible.module_utils.yunkube.host.bundle_files import InstallError, missing_images, run_ctr
from ansible.module_utils.yunkube.host.bundle_installation import install
from ansible.module_utils.yunkube.host.bundle_source import Source
from bundle_web import Web
from container_daemon import containerd
from kube_api_server import programs
from role_values import ROLES, Derived
from serving import running

REFERENCE = "registry.k8s.io/pause:3"
NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="containerd has to be run as root")


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A host with a containerd; its folder, whose name is short enough for a socket."""
    folder = tmp_path_factory.mktemp("c")
    monkeypatch.setattr(bundle_installation, "STATE", folder / "state-of-host")
    with containerd(folder) as ctr:
        monkeypatch.setattr(bundle_files, "CTR", str(ctr))
        yield folder


def archive(folder: Path, reference: str = REFERENCE) -> tuple[Path, str]:
    """Write an archive as the build does; return it and its image's digest."""
    (folder / "pause").write_text("#!/bin/sh\n")
    with (folder / "layer.tar").open("wb") as stream:
        oci.layer({"/pause": folder / "pause"}, stream, 0)
    about = oci.Image(reference, ["/pause"], "", "2026-11-18T00:00:00Z")
    return folder / "image.tar", oci.write_archive(about, [folder / "layer.tar"], folder / "image.tar")


def without_names(path: Path) -> Path:
    """Take the names out of an archive, as skopeo writes one of an image that it was told no name for."""
    folder = path.parent / "unpacked"
    with tarfile.open(path) as tar:
        tar.extractall(folder, filter="data")
    index = json.loads((folder / "index.json").read_text())
    for manifest in index["manifests"]:
        for name in NAMES:
            del manifest["annotations"][name]
    (folder / "index.json").write_text(json.dumps(index))
    with tarfile.open(path.with_name("nameless.tar"), "w") as tar:
        tar.add(folder, ".")
    return path.with_name("nameless.tar")


def bring(path: Path, target: str) -> None:
    """Install an image, served as the control machine does."""
    content = path.read_bytes()
    entry = {"name": "pause", "version": "3", "kind": "image", "reference": REFERENCE, "target": target}
    with running(Web()) as web:
        web.files[digest_file(path)] = content
        install([entry | {"sha256": digest_file(path), "size": len(content)}], Source(web.url, 0), [])


@as_root
def test_an_image_is_there_under_its_name_and_digest(host: Path, tmp_path: Path) -> None:
    path, target = archive(tmp_path)
    bring(path, target)
    assert missing_images([{"reference": REFERENCE, "target": target}], run_ctr("images", "list", seconds=30)) == []
    assert not (host / "state-of-host/images").exists()


@as_root
@pytest.mark.parametrize("wrong", ["no name", "another name", "another digest"])
def test_an_import_without_the_image_is_a_failure(host: Path, tmp_path: Path, wrong: str) -> None:
    path, target = archive(tmp_path, REFERENCE if wrong != "another name" else f"{REFERENCE}.1")
    path = without_names(path) if wrong == "no name" else path
    with pytest.raises(InstallError, match=r"^ctr reported no error, but did not import pause 3$") as failed:
        bring(path, "sha256:" + "0" * 64 if wrong == "another digest" else target)
    assert failed.value.remedy.startswith("its archive in the bundle has another name or content")
    assert not (host / "state-of-host/images").exists()


def leaves(table: t.Mapping[str, t.Any], *above: str) -> Iterator[tuple[tuple[str, ...], t.Any]]:
    """Yield every value of a TOML file with where it stands."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, *above, key)
        else:
            yield (*above, key), value


def in_force(file: Path) -> dict[tuple[str, ...], t.Any]:
    """Return what containerd makes of a configuration."""
    argv = [str(programs("containerd")["containerd"]), "--config", str(file), "config", "dump"]
    return dict(leaves(tomllib.loads(bundle_files.run_program(argv, 60, ""))))


def test_containerd_takes_every_setting_that_the_role_writes(tmp_path: Path) -> None:
    values = {
        "cluster_pause_image": "registry.example/pause:3",
        "container_runtime_selinux": True,
        "container_runtime_restrict_oom_score_adj": True,
        "cluster_cgroup_driver": "systemd",
    }
    template = (ROLES / "container_runtime/templates/config.toml.j2").read_text()
    text = Derived(values).text(template).replace("/etc/containerd/conf.d", str(tmp_path))
    (tmp_path / "config").write_text(text)
    written, found = dict(leaves(tomllib.loads(text))), in_force(tmp_path / "config")
    for key in ("version", "imports"):  # containerd converts the file to its newest version, and adds its own folder
        del written[(key,)]
    assert len(written) >= 6
    assert {key: found.get(key) for key in written} == written
    # In a file of version 4 containerd 2.3 repeats the table `grpc` and does not follow it: it would listen elsewhere.
    assert "grpc" not in tomllib.loads(text)
    server = ("plugins", "io.containerd.server.v1.grpc", "address")
    assert found[server] == str(constants.CONTAINERD_SOCKET)
