# SPDX-License-Identifier: Apache-2.0
"""Take bundles out of an archive into a cache.

The archive is read twice: once to find everything that is wrong with it, before anything is written, and once to
write. A bundle's manifest comes last, so an import that was interrupted leaves no bundle, and the next one goes on with
its files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tarfile
import typing as t
from pathlib import Path

import zstandard
from ansible.module_utils.yunkube.build.archive import BLOCK, INDEX, Content, entry_faults, read_index
from ansible.module_utils.yunkube.build.bundle import BUNDLE_SECONDS, point, stamp
from ansible.module_utils.yunkube.build.cached_bundles import (
    ORIGINS,
    PROGRAMS,
    Bundle,
    changed_programs,
    faults,
    in_use,
    noted_programs,
    origins_of,
)
from ansible.module_utils.yunkube.build.store import digest_file, discard_results_of
from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.host.file_lock import locked
from ansible.module_utils.yunkube.result import Fault, RefusedError

MOST_INDEX = 16 << 20  # bytes of an index or a manifest
MOST_ORIGINS = 1 << 20  # and of where a bundle's files came from
WINDOW = 128 << 20  # bytes that the decompressor may keep
SPARE = 64 << 20  # bytes that must stay free beside what is written
MAGIC = b"\x28\xb5\x2f\xfd"

Manifests = dict[str, dict[str, t.Any]]


class Imported(t.NamedTuple):
    """What an archive holds, and which of it was new."""

    content: Content
    written: list[str]  # names of bundles


class _TooMuchError(Exception):
    """The archive goes on longer than its index says."""


class _Budget:
    """Reads what was decompressed, up to a limit: a small file can become a very large one."""

    def __init__(self, stream: t.Any) -> None:
        self._stream, self.left = stream, MOST_INDEX + BLOCK

    def read(self, size: int) -> bytes:
        if size > self.left:
            size = self.left + 1
        content: bytes = self._stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise _TooMuchError
        return content


@contextlib.contextmanager
def _opened(path: Path) -> t.Iterator[tuple[tarfile.TarFile, _Budget]]:
    with path.open("rb") as stream:
        decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
        budget = _Budget(decompressor.stream_reader(stream, read_size=BLOCK))
        with tarfile.open(fileobj=t.cast("t.IO[bytes]", budget), mode="r|", bufsize=BLOCK) as tar:
            yield tar, budget


def _begin(tar: tarfile.TarFile, budget: _Budget) -> Content:
    """Read the index."""
    first = tar.next()
    if first is None or first.name != INDEX or not first.isreg() or first.size > MOST_INDEX:
        raise RefusedError([Fault(INDEX, "does not come first, so this is no archive of bundles")])
    content = read_index(_bytes(tar, first))
    budget.left = sum(content.files.values()) + len(content.bundles) * (MOST_INDEX + MOST_ORIGINS)
    budget.left += (len(content.names) + 20) * 2 * tarfile.BLOCKSIZE + 2 * BLOCK
    return content


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    return stream.read() if stream else b""


# -- looking -------------------------------------------------------------------------------------------


def look(path: Path, cache: Path) -> tuple[Content, Manifests]:
    """Read an archive to its end; return what it holds, or refuse it with everything that is wrong."""
    try:
        with path.open("rb") as stream:
            if stream.read(4) != MAGIC:
                raise RefusedError([_wrong(path, "is no archive of bundles: it is not compressed with zstd")])
        with _opened(path) as (tar, budget):
            content = _begin(tar, budget)
            found, manifests = _members(tar, content)
    except (zstandard.ZstdError, tarfile.TarError, EOFError) as error:
        raise RefusedError([_wrong(path, f"is damaged or was cut short: {error}")]) from error
    except _TooMuchError as error:
        raise RefusedError([_wrong(path, "holds more than its index says")]) from error
    if found := [*found, *_space_faults(cache, content)]:
        raise RefusedError(found)
    return content, manifests


def _members(tar: tarfile.TarFile, content: Content) -> tuple[list[Fault], Manifests]:
    """Compare all members with the index."""
    missing, found = dict.fromkeys(content.names), list[Fault]()
    manifests: Manifests = {}
    by_name = {bundle["name"]: bundle for bundle in content.bundles}
    while (member := tar.next()) is not None:
        name = member.name
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            found.append(Fault(_short(name), "is no regular file, and an archive of bundles holds nothing else"))
            continue
        if name not in missing:
            found.append(Fault(_short(name), "appears twice, or the index does not name it"))
            continue
        del missing[name]
        kind, _, rest = name.partition("/")
        if kind == "manifests":
            found += _manifest_faults(tar, member, by_name[rest.removesuffix(".json")], content, manifests)
        elif kind == "origins":
            found += _origins_faults(tar, member, by_name[rest.removesuffix(".json")])
        elif member.size != content.files[rest]:
            found.append(Fault(_short(name), f"has {member.size} bytes, the index says {content.files[rest]}"))
        elif _digest(tar, member) != rest:
            found.append(Fault(_short(name), "is damaged: its sha256 is another"))
    found += [Fault(_short(name), "is missing") for name in missing]
    return found, manifests


def _manifest_faults(
    tar: tarfile.TarFile, member: tarfile.TarInfo, about: dict[str, t.Any], content: Content, manifests: Manifests
) -> list[Fault]:
    """Read a manifest, and return what is wrong with it."""
    text = _bytes(tar, member) if member.size <= MOST_INDEX else b""
    if hashlib.sha256(text).hexdigest() != about["manifest"]:
        return [Fault(member.name, "is damaged: its sha256 is another")]
    try:
        manifest = json.loads(text.decode())
        entries = list(manifest["files"])
        same = all(manifest[key] == about[key] for key in ("kubernetes", "architecture"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return [Fault(member.name, "is no manifest of a bundle")]
    if found := [
        Fault(f"{member.name}: files[{n}]", why) for n, one in enumerate(entries) for why in entry_faults(one)
    ]:
        return found
    if not same or any(content.files.get(entry["sha256"]) != entry["size"] for entry in entries):
        return [Fault(member.name, "names other files, or another version, than the index of the archive")]
    manifests[about["name"]] = {**manifest, "text": text.decode()}
    return []


def _origins_faults(tar: tarfile.TarFile, member: tarfile.TarInfo, about: dict[str, t.Any]) -> list[Fault]:
    """Read where a bundle's files came from into what is known of it, and return what is wrong with that."""
    text = _bytes(tar, member) if member.size <= MOST_ORIGINS else b""
    with contextlib.suppress(ValueError):
        if hashlib.sha256(text).hexdigest() == about["origins"] and origins_of(text) is not None:
            about["came_from"] = text.decode()
            return []
    return [Fault(member.name, "is damaged")]


def _digest(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    total, stream = hashlib.sha256(), tar.extractfile(member)
    while stream and (block := stream.read(BLOCK)):
        total.update(block)
    return total.hexdigest()


def _short(name: str) -> str:
    """Return a member's name as one reads it in a line."""
    return re.sub(r"^(files/[0-9a-f]{16})[0-9a-f]{48}$", r"\1…", name)[:200]


def _wrong(path: Path, message: str) -> Fault:
    return Fault("", message, "copy it again, and compare its sha256 with what the export printed", file=str(path))


# -- what is there, and what is needed -------------------------------------------------------------------


def whole(cache: Path, about: t.Mapping[str, t.Any], manifest: dict[str, t.Any]) -> bool:
    """Say whether a bundle of an archive is in the cache already, byte for byte, and its lock leads to it."""
    folder = cache / "bundles" / about["name"]
    link = cache / "locks" / about["link"]
    if not (folder / "manifest.json").exists() or not (folder / "index.json").exists():
        return False
    bundle = Bundle(folder, manifest, [], 0)
    if link.resolve() != folder.resolve() or faults(bundle):
        return False
    noted = noted_programs(bundle)
    unknown = {folder / "bin" / name: digest for name, digest in about["programs"].items() if name not in noted}
    told = (folder / ORIGINS).exists() or not about["origins"]
    return told and all(path.is_file() and digest_file(path) == digest for path, digest in unknown.items())


def _space_faults(cache: Path, content: Content) -> list[Fault]:
    """Say whether the disk has no room for what the cache does not have."""
    needed = sum(size for digest, size in content.files.items() if not any(_known(cache, digest)))
    place = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if not needed or free >= needed + SPARE:
        return []
    message = f"has {free >> 20} MiB free, and the import needs {(needed + SPARE) >> 20}"
    return [Fault("disk", message, "free some space, or set XDG_CACHE_HOME to a larger disk", file=str(place))]


def _known(cache: Path, digest: str) -> t.Iterator[Path]:
    """Yield the files of the cache's bundles that have a digest by their name."""
    yield from cache.glob(f"bundles/*/files/{digest}")


# -- writing -------------------------------------------------------------------------------------------


def bring(path: Path, cache: Path) -> Imported:
    """Import all bundles of an archive that are not whole in the cache; refuse it before the first write."""
    content, manifests = look(path, cache)
    lacking = [one for one in content.bundles if not whole(cache, one, manifests[one["name"]])]
    if not lacking:
        return Imported(content, [])
    with contextlib.ExitStack() as stack:
        stack.enter_context(in_use(cache))
        for link in sorted(one["link"] for one in lacking):  # a build of the same lock waits, or is waited for
            stack.enter_context(locked(cache / "locks" / f".{link}.lock", BUNDLE_SECONDS))
        places, executable = _places(cache, lacking, manifests)
        try:
            _write(path, cache, places, executable)
        except (zstandard.ZstdError, tarfile.TarError, EOFError, _TooMuchError) as error:
            raise RefusedError([_wrong(path, "has changed while it was read")]) from error
        for one in lacking:
            _finish(cache, one, manifests[one["name"]])
    return Imported(content, [one["name"] for one in lacking])


def _places(
    cache: Path, lacking: list[dict[str, t.Any]], manifests: Manifests
) -> tuple[dict[str, list[Path]], set[str]]:
    """Make the folders of bundles; return the names that each file gets, and which files are programs."""
    places: dict[str, list[Path]] = {}
    executable: set[str] = set()
    for one in lacking:
        folder = cache / "bundles" / one["name"]
        _forget_programs(cache, Bundle(folder, manifests[one["name"]], [], 0))
        for part in ("files", "bin"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            for left in (folder / part).glob(".*"):  # of an import that was killed
                left.unlink()
        for entry in manifests[one["name"]]["files"]:
            places.setdefault(entry["sha256"], []).append(folder / "files" / entry["sha256"])
            executable |= {entry["sha256"]} if entry.get("mode") == "0755" else set()
        for name, digest in one["programs"].items():
            places.setdefault(digest, []).append(folder / "bin" / name)
            executable.add(digest)
    return places, executable


def _forget_programs(cache: Path, bundle: Bundle) -> None:
    """Forget damaged programs with the results that share them, and the digests of all, which may become others."""
    with contextlib.suppress(ValueError):  # nothing can be compared
        for path in changed_programs(bundle):
            discard_results_of(cache, path)
    (bundle.folder / PROGRAMS).unlink(missing_ok=True)


def _write(path: Path, cache: Path, places: dict[str, list[Path]], executable: set[str]) -> None:
    """Write what the places lack."""
    with _opened(path) as (tar, budget):
        _begin(tar, budget)
        while (member := tar.next()) is not None:
            digest = member.name.removeprefix("files/")
            if targets := list(dict.fromkeys(places.pop(digest, []))):
                for target in targets:  # a bundle that is made later would take the result, damaged as it is
                    if target.parent.name == "files" and target.is_file() and not _is(target, digest):
                        discard_results_of(cache, target)
                good = next((one for one in (targets[0], *_known(cache, digest)) if _is(one, digest)), None)
                if good is None:
                    good = targets[0]
                    _unpack(tar, member, good, 0o755 if digest in executable else 0o644)
                for target in targets:
                    _also(good, target)
    if places:
        raise RefusedError([_wrong(path, "has changed while it was read")])


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and not path.is_symlink() and digest_file(path) == digest


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, mode: int) -> None:
    """Write a file, which has its name only when it is whole."""
    digest = member.name.removeprefix("files/")
    part = target.with_name(f".{digest}.{os.getpid()}")
    total, stream = hashlib.sha256(), tar.extractfile(member)
    try:
        with part.open("wb") as out:
            while stream and (block := stream.read(BLOCK)):
                total.update(block)
                out.write(block)
            out.flush()
            os.fsync(out.fileno())
        if total.hexdigest() != digest:
            raise RefusedError([Fault(_short(member.name), "has changed while it was read")])
        part.chmod(mode)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _also(file: Path, name: Path) -> None:
    """Give a file another name, in place of whatever has it."""
    if not name.is_symlink() and name.exists() and name.samefile(file):
        return
    part = name.with_name(f".{name.name}.{os.getpid()}")
    os.link(file, part)
    part.replace(name)


def _finish(cache: Path, one: dict[str, t.Any], manifest: dict[str, t.Any]) -> None:
    """Write what makes a whole bundle of the files."""
    folder = cache / "bundles" / one["name"]
    index = {entry["sha256"]: stamp(folder / "files" / entry["sha256"]) for entry in manifest["files"]}
    write_atomic(folder / "index.json", json.dumps(index))
    write_atomic(folder / PROGRAMS, json.dumps(one["programs"]))
    if one["origins"]:
        write_atomic(folder / ORIGINS, one["came_from"])
    write_atomic(folder / "manifest.json", manifest["text"])
    point(cache / "locks" / one["link"], f"../bundles/{one['name']}")
