# SPDX-License-Identifier: Apache-2.0
"""Bundles in one file, for control machines that can build nothing: a tar, compressed with zstd.

The file begins with `bundles.json`, which names everything that follows: a manifest for each bundle, where its files
came from if that is known, then each file once, by its sha256. Members are sorted, without times and owners, and the
compressor is pinned in requirements.lock, so the same bundles of the same checkout give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import typing as t
from pathlib import Path

import zstandard
from ansible.module_utils.yunkube.build.bundle import link_of
from ansible.module_utils.yunkube.build.cached_bundles import ORIGINS, Bundle, origins_of, program_faults
from ansible.module_utils.yunkube.build.store import digest_file
from ansible.module_utils.yunkube.constants import ARCHITECTURES
from ansible.module_utils.yunkube.result import Fault, RefusedError

FORMAT = 1
INDEX = "bundles.json"
LEVEL = 9  # of zstd: 19 takes ten times as long and saves a tenth
BLOCK = 1 << 20

_DIGEST, _NAME, _PROGRAM = (
    re.compile("[0-9a-f]{64}"),
    re.compile("[0-9a-f]{16}"),
    re.compile("[a-z0-9][a-z0-9.-]{0,63}"),
)


class Content(t.NamedTuple):
    """What the index of an archive says."""

    bundles: list[dict[str, t.Any]]  # name, kubernetes, architecture, lock, link, manifest, programs, origins
    files: dict[str, int]  # size of each file, by its sha256

    @property
    def names(self) -> list[str]:
        """Return the members that follow the index, in their order."""
        manifests = [f"manifests/{bundle['name']}.json" for bundle in self.bundles]
        manifests += [f"origins/{bundle['name']}.json" for bundle in self.bundles if bundle["origins"]]
        return [*manifests, *(f"files/{digest}" for digest in sorted(self.files))]


def lock_of(bundle: Bundle, project: Path) -> Path | None:
    """Return the lock of a checkout that leads to a bundle."""
    cache = bundle.folder.parents[1]
    for lock_file in sorted((project / "components").glob("kubernetes-*.yml")):
        link = link_of(cache, lock_file, bundle.architecture)
        if bundle.architecture in ARCHITECTURES.values() and link.resolve() == bundle.folder.resolve():
            return lock_file
    return None


def choose(bundles: t.Sequence[Bundle], project: Path) -> list[Bundle]:
    """Return those of the bundles that locks of a checkout lead to; refuse several versions of Kubernetes."""
    found = [bundle for bundle in bundles if lock_of(bundle, project)]
    versions = sorted({bundle.kubernetes for bundle in found})
    if not found:
        message = "the cache has no bundle of a lock of this checkout"
        raise RefusedError([Fault("bundle", message, "make it with `bundle build`", commands=("bundle build",))])
    if len(versions) > 1:
        message = f"the cache has bundles of Kubernetes {' and '.join(versions)}"
        names = ", ".join(f"{bundle.name} ({bundle.kubernetes}, {bundle.architecture})" for bundle in found)
        raise RefusedError([Fault("bundle", message, f"name those to export: {names}")])
    return found


def export(bundles: t.Sequence[Bundle], project: Path, out: Path) -> str:
    """Write an archive, whole or not at all, and return its sha256; refuse damaged bundles and those of other locks."""
    index, sources = _index(bundles, project)
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with part.open("xb") as stream:
            hashed = _Hashed(stream)
            compressor = zstandard.ZstdCompressor(level=LEVEL, threads=os.cpu_count() or 1, write_checksum=True)
            with compressor.stream_writer(t.cast("t.IO[bytes]", hashed), closefd=False) as zipped:
                _write(zipped, index, sources)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return hashed.total.hexdigest()


def _index(bundles: t.Sequence[Bundle], project: Path) -> tuple[bytes, dict[str, Path | bytes]]:
    """Return the index, and where each member comes from."""
    faults: list[Fault] = []
    about: list[dict[str, t.Any]] = []
    manifests: dict[str, bytes] = {}
    origins: dict[str, bytes] = {}
    files: dict[str, Path] = {}
    for bundle in sorted(bundles, key=lambda one: one.name):
        lock = lock_of(bundle, project)
        text = (bundle.folder / "manifest.json").read_bytes()
        digest = hashlib.sha256(text).hexdigest()
        programs = {path.name: path for path in sorted((bundle.folder / "bin").glob("*"))}
        where = f"bundle {bundle.name}"
        if digest[:16] != bundle.name:
            faults.append(Fault("manifest.json", "is damaged", f"delete {bundle.folder}, then make it again", where))
            continue
        if lock is None:
            remedy = "export it with the checkout that it was made with: a bundle is found by its lock"
            faults.append(Fault("lock", "no lock of this checkout leads to it", remedy, where))
            continue
        if wrong := program_faults(bundle):
            faults += wrong
            continue
        came_from = bundle.folder / ORIGINS
        told = came_from.read_bytes() if came_from.exists() else b""
        try:
            origins |= {f"origins/{bundle.name}.json": told} if told and origins_of(told) is not None else {}
        except ValueError:
            faults.append(Fault(ORIGINS, "is damaged", f"delete {came_from}: where files came from is lost", where))
            continue
        of_programs = {name: digest_file(path) for name, path in programs.items()}
        files |= {of_programs[name]: path for name, path in programs.items()}
        files |= {entry["sha256"]: bundle.folder / "files" / entry["sha256"] for entry in bundle.files}
        manifests[f"manifests/{bundle.name}.json"] = text
        about.append(
            {"name": bundle.name, "kubernetes": bundle.kubernetes, "architecture": bundle.architecture,
             "lock": lock.name, "link": link_of(Path(), lock, bundle.architecture).name, "manifest": digest,
             "programs": of_programs, "origins": hashlib.sha256(told).hexdigest() if told else ""}
        )  # fmt: skip
    faults += [
        Fault(f"files/{digest[:16]}…", "is not there", "run `bundle build`", commands=("bundle build",))
        for digest, path in sorted(files.items())
        if not path.exists()
    ]
    if faults:
        raise RefusedError(faults)
    sizes = {digest: path.stat().st_size for digest, path in sorted(files.items())}
    index = {"format": FORMAT, "bundles": about, "files": sizes}
    members: dict[str, Path | bytes] = {**manifests, **origins}
    members |= {f"files/{digest}": path for digest, path in sorted(files.items())}
    return json.dumps(index, indent=1).encode(), members


def _write(stream: t.Any, index: bytes, members: t.Mapping[str, Path | bytes]) -> None:
    damaged = []
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT, bufsize=BLOCK) as tar:
        for name, source in {INDEX: index, **members}.items():
            info = tarfile.TarInfo(name)  # no owner, no time
            info.mode = 0o644
            if isinstance(source, bytes):
                info.size = len(source)
                tar.addfile(info, io.BytesIO(source))
                continue
            info.size = source.stat().st_size
            with source.open("rb") as content:
                hashed = _HashedReader(content)
                tar.addfile(info, t.cast("t.IO[bytes]", hashed))
            if hashed.total.hexdigest() != name.removeprefix("files/"):
                remedy = "run `bundle verify`, then `bundle build`"
                damaged.append(Fault(f"{name[:22]}…", "is damaged", remedy, commands=("bundle verify", "bundle build")))
    if damaged:
        raise RefusedError(damaged)


class _Hashed:
    """Writes on, and keeps the digest of what was written."""

    def __init__(self, stream: t.BinaryIO) -> None:
        self._stream, self.total = stream, hashlib.sha256()

    def write(self, content: t.Any) -> int:
        self.total.update(content)
        return self._stream.write(content)

    def flush(self) -> None:
        self._stream.flush()


class _HashedReader:
    """Reads, and keeps the digest of what was read."""

    def __init__(self, stream: t.BinaryIO) -> None:
        self._stream, self.total = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self.total.update(content)
        return content


# -- what an index may say -----------------------------------------------------------------------------


def read_index(text: bytes) -> Content:
    """Return what an index says; refuse what does not look as `export` writes it."""
    try:
        told = json.loads(text)
        version = told["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RefusedError([Fault(INDEX, "is not the index of an archive of bundles")]) from None
    if version != FORMAT:
        remedy = "import it with the version of Yunkube that exported it, or a newer one"
        raise RefusedError([Fault(INDEX, f"is of format {version!r}, this version reads format {FORMAT}", remedy)])
    try:
        content = Content([_about(one) for one in told["bundles"]], _sizes(told["files"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        content = Content([], {})
    unknown = {digest for one in content.bundles for digest in one["programs"].values()} - set(content.files)
    if not content.bundles or unknown or len({one["name"] for one in content.bundles}) != len(content.bundles):
        raise RefusedError([Fault(INDEX, "names bundles or files in a way that no export does")])
    return content


def _about(told: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    about = {key: str(told[key]) for key in ("name", "kubernetes", "architecture", "lock", "link", "manifest")}
    programs = {str(name): str(digest) for name, digest in told["programs"].items()}
    about["origins"] = str(told.get("origins", ""))
    well = [_NAME.fullmatch(about["name"]), _NAME.fullmatch(about["link"]), _DIGEST.fullmatch(about["manifest"])]
    well += [_PROGRAM.fullmatch(name) and _DIGEST.fullmatch(digest) for name, digest in programs.items()]
    well += [_DIGEST.fullmatch(about["origins"])] if about["origins"] else []
    if not all(well) or not about["manifest"].startswith(about["name"]):
        raise ValueError
    return {**about, "programs": programs}


def _sizes(told: t.Mapping[str, t.Any]) -> dict[str, int]:
    for digest, size in told.items():
        if not _DIGEST.fullmatch(digest) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise ValueError
    return dict(told)


def entry_faults(entry: t.Any) -> list[str]:
    """Return what is wrong with an entry of a manifest, as far as an import relies on it."""
    if not isinstance(entry, dict):
        return ["is no entry of a manifest"]
    digest, size = entry.get("sha256"), entry.get("size")
    well = {
        "sha256": (isinstance(digest, str) and _DIGEST.fullmatch(digest), "64 hexadecimal digits"),
        "size": (isinstance(size, int) and not isinstance(size, bool) and size >= 0, "a number of bytes"),
        "name": (isinstance(entry.get("name"), str) and entry["name"], "a text"),
        "version": (isinstance(entry.get("version"), str) and entry["version"], "a text"),
    }
    return [f"{key} is {entry.get(key)!r:.80}, not {form}" for key, (good, form) in well.items() if not good]
