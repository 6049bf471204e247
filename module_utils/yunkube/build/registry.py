# SPDX-License-Identifier: Apache-2.0
"""Pull images from registries without a container engine, into the archives that `oci` writes.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md. Everything is asked for by its digest, from the
manifest list down to the layers, so it does not matter which registry answers.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

from ansible.module_utils.yunkube.build import oci
from ansible.module_utils.yunkube.build.downloads import MOST, SMALL, Downloads, Place
from ansible.module_utils.yunkube.build.tools import BuildError

LISTS = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
DOCKER = "registry-1.docker.io"  # where the images are whose names begin with docker.io


def parts_of(reference: str) -> tuple[str, str]:
    """Return the registry and the repository of an image's name: both are written out in a lock."""
    registry, _, rest = reference.partition("/")
    return registry, rest.rpartition(":")[0]


def upstream(registry: str) -> str:
    """Return the URL of a registry by its name."""
    return f"https://{DOCKER if registry == 'docker.io' else registry}"


def place(base: str, repository: str, what: str, digest: str) -> Place:
    """Return where a registry has a manifest or blob; the URL of a mirror may hold the API's path (/v2/...)."""
    root = base.rstrip("/")
    if f"{urlsplit(root).path}/".startswith("/v2/"):
        repository = f"{urlsplit(root).path.removeprefix('/v2').strip('/')}/{repository}".strip("/")
        root = root[: -len(urlsplit(root).path)]
    accept = ", ".join([*LISTS, *MANIFESTS]) if what == "manifests" else "*/*"
    return Place(f"{root}/v2/{repository}/{what}/{digest}", base, accept, repository)


class Puller:
    """Pulls one image from the first of several registries that has it."""

    def __init__(self, downloads: Downloads, reference: str, bases: t.Sequence[str]) -> None:
        """Pull `reference` from `bases`, URLs of registries and mirrors."""
        self._downloads, self._reference, self._bases = downloads, reference, bases
        self.url = ""  # where its manifest came from

    def pull(self, digest: str, architecture: str, out: Path) -> None:
        """Write image.tar and the digest of the platform's manifest to `out`, a folder."""
        descriptor, manifest = self._manifest(digest, architecture)
        blobs: dict[str, bytes | Path] = {descriptor["digest"]: manifest}
        about = [manifest_of(manifest)["config"], *manifest_of(manifest)["layers"]]
        for blob in about:
            self._downloads.meter.expect(_hex(blob["digest"]), int(blob["size"]))
        for blob in about:
            blobs[blob["digest"]] = self._get("blobs", blob["digest"], int(blob["size"]))
        said = json.loads(t.cast("Path", blobs[about[0]["digest"]]).read_bytes())
        if said.get("architecture") != architecture:
            raise BuildError(f"{self._reference}: {digest} is an image for {said.get('architecture')}: {_LOOK}")
        oci.write_layout(self._reference, architecture, descriptor, blobs, out / "image.tar")
        (out / "digest").write_text(descriptor["digest"])

    def _manifest(self, digest: str, architecture: str) -> tuple[dict[str, t.Any], bytes]:
        """Return the manifest of a platform, with its descriptor; `digest` is its own, or a list's."""
        content = self._get("manifests", digest).read_bytes()
        told = manifest_of(content)
        kind = told.get("mediaType") or (LISTS[0] if "manifests" in told else MANIFESTS[0])
        if kind in LISTS:
            wanted = {"os": "linux", "architecture": architecture}
            found = [one for one in told["manifests"] if wanted.items() <= one.get("platform", {}).items()]
            if not found:
                raise BuildError(f"{self._reference}: {digest} has no image for linux/{architecture}: {_LOOK}")
            digest, size = str(found[0]["digest"]), int(found[0]["size"])
            content = self._get("manifests", digest, size).read_bytes()
            kind = manifest_of(content).get("mediaType") or MANIFESTS[0]
        if kind not in MANIFESTS:
            raise BuildError(f"{self._reference}: {digest} is no image but {kind}: {_LOOK}")
        return {"mediaType": kind, "digest": digest, "size": len(content)}, content

    def _get(self, what: str, digest: str, size: int | None = None) -> Path:
        repository = parts_of(self._reference)[1]
        places = [place(base, repository, what, digest) for base in self._bases]
        name = self._reference if what == "manifests" else f"{self._reference} ({digest[:19]}…)"
        got = self._downloads.file(name, places, _hex(digest), size, SMALL if what == "manifests" else MOST)
        self.url = self.url or got.url
        return got.path


_LOOK = "correct its digest in the lock"


def manifest_of(content: bytes) -> dict[str, t.Any]:
    """Return a manifest or a list of them."""
    told = json.loads(content)
    if not isinstance(told, dict):
        raise BuildError("a registry's manifest is no JSON object")
    return told


def _hex(digest: str) -> str:
    kind, _, value = digest.partition(":")
    if kind != "sha256" or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise BuildError(f"{digest} is no sha256 digest")
    return value
