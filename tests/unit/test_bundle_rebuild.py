# SPDX-License-Identifier: Apache-2.0
"""One image of a bundle is built again, and a bundle whose bytes its source does not give is found out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.yunkube.build.bundle import link_of, point, write_bundle
from ansible.module_utils.yunkube.build.cached_bundles import Bundle, bundles
from ansible.module_utils.yunkube.build.components import Builder
from ansible.module_utils.yunkube.build.rebuild import rebuild
from ansible.module_utils.yunkube.build.store import digest_file
from ansible.module_utils.yunkube.build.tools import BuildError
from deployer import cluster
from deployer.cli import main
from tiny_bundle import make_bundle, own_cache

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "components/kubernetes-1.37.2.yml"
pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="no C compiler here")


def bundle_of(cache: Path, archive: Path, reference: str = "registry.k8s.io/pause:3.10.2") -> Bundle:
    """Make a bundle of an image alone, to which the lock leads."""
    entry: dict[str, Any] = {
        "name": "pause",
        "version": "3.10.2",
        "kind": "image",
        "reference": reference,
        "purpose": ["node"],
    }
    entry |= {"sha256": digest_file(archive), "size": archive.stat().st_size}
    manifest = {"kubernetes": "1.37.2", "architecture": "amd64", "files": [entry]}
    folder = write_bundle(cache / "bundles", manifest, {entry["sha256"]: archive}, {})
    point(link_of(cache, LOCK), folder)
    return bundles(cache)[0]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache that the command finds."""
    monkeypatch.setattr(cluster, "ROOT", ROOT)
    return own_cache(tmp_path, monkeypatch)


@pytest.fixture
def pause(cache: Path) -> Path:
    """The image pause as a build makes it, in the cache's own store."""
    lock: dict[str, Any] = yaml.safe_load(LOCK.read_text())
    builder = Builder(lock, ROOT, cache)
    builder._cc = [""]
    part = next(part for part in lock["components"] if part["name"] == "pause")
    image = next(image for image in lock["images"] if "pause" in image["programs"])
    return builder.image(image, {"pause": builder.component(part) / "pause"}) / "image.tar"


def test_the_same_source_gives_the_same_bytes(cache: Path, pause: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rebuild(bundle_of(cache, pause), ROOT) == ("registry.k8s.io/pause:3.10.2", None)
    assert not list(cache.glob("rebuild-*"))
    assert main(["bundle", "verify", "--deep"]) == 0
    assert "built registry.k8s.io/pause:3.10.2 again, with the same bytes" in capsys.readouterr().out
    assert main(["bundle", "verify", "--deep", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bundles"][0]["rebuilt"] == "registry.k8s.io/pause:3.10.2"


def test_other_bytes_that_their_manifest_names_are_found(
    cache: Path, pause: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pause.write_bytes(pause.read_bytes() + bytes(512))
    bundle_of(cache, pause)
    assert main(["bundle", "verify"]) == 0  # every byte is as the manifest says
    assert main(["bundle", "verify", "--deep"]) == 6
    said = capsys.readouterr()
    assert "and built again from its source" in said.out
    assert "on the machine that made the bundle, this means that it was changed" in said.err


def test_why_it_cannot_be_done_is_said(
    cache: Path, pause: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundle_of(cache, pause)
    with pytest.raises(BuildError, match="no lock of this checkout leads to it"):
        rebuild(bundle, tmp_path)
    (bundle.folder / "origins.json").write_text(json.dumps({bundle.files[0]["sha256"]: {"from": "example.com"}}))
    with pytest.raises(BuildError, match="has no image of C programs alone that was built from source"):
        rebuild(bundle, ROOT)
    (bundle.folder / "origins.json").unlink()
    (bundle.folder / "origins.json").write_text("[")
    with pytest.raises(BuildError, match=r"origins\.json cannot be read"):
        rebuild(bundle, ROOT)
    (bundle.folder / "origins.json").unlink()
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert main(["bundle", "verify", "--deep"]) == 3
    why = "registry.k8s.io/pause:3.10.2 cannot be built again without gcc: apt-get install gcc"
    said = capsys.readouterr()
    assert ": whole, 1 files, " in said.out
    assert f"bundle {bundle.name} (Kubernetes 1.37.2, amd64): not built again: {why}" in said.err


def test_one_that_cannot_be_built_again_does_not_keep_the_others_from_it(
    cache: Path, pause: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundle_of(cache, pause)
    other = make_bundle(cache, tmp_path, "1.36.5")  # of no lock of this checkout
    assert main(["bundle", "verify", "--deep", "--json"]) == 3
    told = {one["name"]: one for one in json.loads(capsys.readouterr().out)["bundles"]}
    assert (told[bundle.name]["rebuilt"], told[bundle.name]["not_rebuilt"]) == ("registry.k8s.io/pause:3.10.2", "")
    assert told[other.name]["rebuilt"] == ""
    assert "no lock of this checkout leads to it" in told[other.name]["not_rebuilt"]
    assert [one["healthy"] for one in told.values()] == [True, True]
    (other / "bin/demo").write_text("something else")
    assert main(["bundle", "verify", "--deep"]) == 6  # which says more than 3
    assert main(["bundle", "verify"]) == 6
    assert "not built again" not in capsys.readouterr().err.splitlines()[-1]
