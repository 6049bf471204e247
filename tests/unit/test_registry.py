# SPDX-License-Identifier: Apache-2.0
"""An image is pulled by its digest, from whichever registry has it, into an archive that containerd imports."""

from __future__ import annotations

import hashlib
import json
import tarfile
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.build.downloads import Downloads, Limits
from ansible.module_utils.yunkube.build.registry import Puller, parts_of, place, upstream
from ansible.module_utils.yunkube.build.tools import BuildError
from release_server import DOCKER, OCI, Fault, Server, serving

REFERENCE = "registry.k8s.io/coredns/coredns:v1.14.6"
NAME = "coredns/coredns"
QUICK = Limits(silence=20, pause=0.01)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach loopback straight."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def cdn() -> Iterator[Server]:
    """Where the registry's blobs are."""
    with serving() as one:
        yield one


@pytest.fixture
def server(cdn: Server) -> Iterator[Server]:
    """A registry that wants a token and sends clients to its CDN."""
    with serving() as one:
        one.token = "secret"
        one.digests[NAME] = one.add_image(NAME, {"coredns": b"\x7fELF"}, cdn)
        yield one


def pull(folder: Path, digest: str, *bases: str, architecture: str = "amd64") -> tuple[Puller, Path]:
    """Pull the image; return the puller, and the folder with the archive."""
    out = folder / "out"
    out.mkdir(exist_ok=True)
    puller = Puller(Downloads(folder / "downloads", QUICK), REFERENCE, bases)
    puller.pull(digest, architecture, out)
    return puller, out


def read(archive: Path) -> dict[str, bytes]:
    """Return the files of an archive."""
    with tarfile.open(archive) as tar:
        return {one.name: t.cast("t.IO[bytes]", tar.extractfile(one)).read() for one in tar}


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_the_image_of_the_architecture_is_pulled_with_its_name(
    server: Server, tmp_path: Path, architecture: str
) -> None:
    puller, out = pull(tmp_path, server.digests[NAME], server.url, architecture=architecture)
    files = read(out / "image.tar")
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == REFERENCE
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "v1.14.6"
    assert entry["platform"] == {"os": "linux", "architecture": architecture}
    assert entry["mediaType"] == OCI.manifest
    assert entry["digest"] == (out / "digest").read_text()
    blobs = {name: content for name, content in files.items() if name.startswith("blobs/")}
    assert all(name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}" for name, content in blobs.items())
    manifest = json.loads(blobs[f"blobs/sha256/{entry['digest'][7:]}"])
    named = [manifest["config"], *manifest["layers"]]
    assert {f"blobs/sha256/{one['digest'][7:]}" for one in named} < set(blobs)
    config = json.loads(blobs[f"blobs/sha256/{manifest['config']['digest'][7:]}"])
    assert config["architecture"] == architecture
    assert puller.url == f"{server.url}/v2/{NAME}/manifests/{server.digests[NAME]}"


def test_an_image_of_dockers_format_keeps_it(server: Server, tmp_path: Path) -> None:
    digest = server.add_image(NAME, {"coredns": b"\x7fELF"}, types=DOCKER)
    _, out = pull(tmp_path, digest, server.url, architecture="arm64")
    (entry,) = json.loads(read(out / "image.tar")["index.json"])["manifests"]
    assert entry["mediaType"] == DOCKER.manifest
    assert entry["digest"] == (out / "digest").read_text()


def test_the_token_does_not_reach_the_cdn(server: Server, cdn: Server, tmp_path: Path) -> None:
    pull(tmp_path, server.digests[NAME], server.url)
    assert {one.authorization for one in server.asked} == {"", f"Bearer secret-repository:{NAME}:pull"}
    assert len(cdn.asked) == 2
    assert {one.authorization for one in cdn.asked} == {""}


def test_an_image_without_a_list_is_pulled(server: Server, tmp_path: Path) -> None:
    index = json.loads(server.files[f"/v2/{NAME}/manifests/{server.digests[NAME]}"])
    digest = index["manifests"][1]["digest"]
    _, out = pull(tmp_path, digest, server.url)
    assert (out / "digest").read_text() == digest
    with pytest.raises(BuildError, match=r"is an image for amd64: correct its digest in the lock$"):
        pull(tmp_path, digest, server.url, architecture="arm64")


def test_an_architecture_that_the_list_lacks_is_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"has no image for linux/riscv64: correct its digest in the lock$"):
        pull(tmp_path, server.digests[NAME], server.url, architecture="riscv64")


def test_what_one_registry_lacks_comes_from_the_next(server: Server, tmp_path: Path) -> None:
    with serving() as mirror:
        digest = mirror.add_image(NAME, {"coredns": b"\x7fELF"})
        rotten = next(path for path in mirror.files if "/blobs/" in path)
        mirror.faults[rotten] = [Fault(corrupt=True)]
        assert digest == server.digests[NAME]
        puller, out = pull(tmp_path, digest, mirror.url, server.url)
        assert puller.url.startswith(mirror.url)
    (tmp_path / "other").mkdir()
    with serving() as other:
        _, again = pull(tmp_path / "other", digest, other.url, server.url)
    assert (again / "image.tar").read_bytes() == (out / "image.tar").read_bytes()


def test_a_manifest_that_is_another_one_is_refused(server: Server, tmp_path: Path) -> None:
    server.faults[f"/v2/{NAME}/manifests/{server.digests[NAME]}"] = [Fault(corrupt=True)]
    with pytest.raises(BuildError, match="it sent other bytes"):
        pull(tmp_path, server.digests[NAME], server.url)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_no_image_is_told(server: Server, tmp_path: Path) -> None:
    content = json.dumps({"mediaType": "application/vnd.example+json"}).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    server.files[f"/v2/{NAME}/manifests/{digest}"] = content
    with pytest.raises(BuildError, match=r"is no image but application/vnd\.example\+json"):
        pull(tmp_path, digest, server.url)
    with pytest.raises(BuildError, match="latest is no sha256 digest"):
        pull(tmp_path, "latest", server.url)


def test_where_registries_and_mirrors_have_things() -> None:
    assert parts_of(REFERENCE) == ("registry.k8s.io", NAME)
    assert upstream("ghcr.io") == "https://ghcr.io"
    assert upstream("docker.io") == "https://registry-1.docker.io"
    plain = place("https://k8s.m.daocloud.io", NAME, "blobs", "sha256:1")
    assert (plain.url, plain.repository) == (f"https://k8s.m.daocloud.io/v2/{NAME}/blobs/sha256:1", NAME)
    below = place("https://registry.aliyuncs.com/v2/google_containers/", "pause", "manifests", "sha256:1")
    assert below.url == "https://registry.aliyuncs.com/v2/google_containers/pause/manifests/sha256:1"
    assert below.repository == "google_containers/pause"
