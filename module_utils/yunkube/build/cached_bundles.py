# SPDX-License-Identifier: Apache-2.0
"""The bundles of a cache: which there are, which clusters use them, and whether every byte is as it was."""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.build.architectures import NATIVE
from ansible.module_utils.yunkube.build.store import digest_file, files_below, results_of
from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.result import Fault

USERS = "clusters"  # a file for each state directory, with the names of its bundles
RESULTS = "results.json"  # in a bundle: the results of the store that it was made of
ORIGINS = "origins.json"  # in a bundle: where each file came from, as far as that is known
PROGRAMS = "programs.json"  # in a bundle: the sha256 of each program in bin/
PRUNE_LOCK = "prune.lock"  # shared by whoever makes or takes bundles, exclusive for whoever removes some


class Bundle(t.NamedTuple):
    """One bundle of a cache."""

    folder: Path
    manifest: dict[str, t.Any]  # empty when it cannot be read
    clusters: list[str]
    size: int  # bytes of its files, those that have several names once

    @property
    def name(self) -> str:
        """Return its name, the first digits of its manifest's digest."""
        return self.folder.name

    @property
    def kubernetes(self) -> str:
        """Return the Kubernetes version."""
        return str(self.manifest.get("kubernetes", "unknown"))

    @property
    def architecture(self) -> str:
        """Return the hosts' architecture."""
        return str(self.manifest.get("architecture", "unknown"))

    @property
    def files(self) -> list[dict[str, t.Any]]:
        """Return the manifest's entries."""
        return list(self.manifest.get("files", []))

    def about(self) -> dict[str, t.Any]:
        """Return what is shown of it."""
        return {
            "name": self.name,
            "kubernetes": self.kubernetes,
            "architecture": self.architecture,
            "bytes": self.size,
            "clusters": self.clusters,
        }


def origins_of(text: bytes) -> dict[str, dict[str, str]]:
    """Return what a bundle's origins say, by the sha256 of a file; ValueError: they are damaged."""
    try:
        told = json.loads(text.decode())
    except RecursionError as error:
        raise ValueError(ORIGINS) from error
    records = list(told.values()) if isinstance(told, dict) else [None]
    if not all(isinstance(one, dict) and isinstance(one.get("from"), str) for one in records):
        raise ValueError(ORIGINS)
    return t.cast("dict[str, dict[str, str]]", told)


# -- who uses them ---------------------------------------------------------------------------------


@contextlib.contextmanager
def in_use(cache: Path) -> t.Iterator[None]:
    """Keep `prune` away while bundles are made or read; it waits for nobody, so this does not wait for long."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # who may not write here cannot prune either
            cache.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context((cache / PRUNE_LOCK).open("a")), fcntl.LOCK_SH)
        yield


def remember(cache: Path, programs_link: Path, bundles: t.Iterable[str]) -> None:
    """Note which bundles the cluster of a state directory uses, by its link to the bundle's programs."""
    path = cache / USERS / f"{hashlib.sha256(str(programs_link).encode()).hexdigest()[:16]}.json"
    text = json.dumps({"programs": str(programs_link), "bundles": sorted(bundles)})
    with contextlib.suppress(OSError):  # the link itself shows most of it
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:
            write_atomic(path, text)


def clusters(cache: Path, states: t.Iterable[Path] = ()) -> dict[Path, set[str]]:
    """Return the clusters of this machine by their links to a bundle's programs, with the bundles that runs noted.

    They are those that runs have noted, and `states`, which may be older than these notes: state directories that have
    a cluster's id.
    """
    links = {state / "bin": set[str]() for state in states}
    for note in sorted((cache / USERS).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(note.read_text())
            links.setdefault(Path(told["programs"]), set()).update(map(str, told["bundles"]))
    return {link: names for link, names in links.items() if (link.parent / "id").exists()}


def users(cache: Path, states: t.Iterable[Path] = ()) -> dict[str, list[str]]:
    """Return the names of the clusters that use a bundle, by its name."""
    used: dict[str, set[str]] = {}
    for link, names in clusters(cache, states).items():
        target = link.resolve().parent
        if link.is_symlink() and target.parent == (cache / "bundles").resolve():
            names.add(target.name)
        for name in names:
            used.setdefault(name, set()).add(link.parent.name)
    return {name: sorted(found) for name, found in used.items()}


# -- what there is ---------------------------------------------------------------------------------


def inodes(folder: Path) -> dict[int, int]:
    """Return the size of each file under a folder, or that a link there leads to, by its inode."""
    found = {}
    for path in files_below(folder):
        with contextlib.suppress(OSError):  # a link to nothing, or just deleted
            if path.is_file():
                about = path.stat()
                found[about.st_ino] = about.st_size
    return found


def bundles(cache: Path, states: t.Iterable[Path] = ()) -> list[Bundle]:
    """Return the bundles of a cache; those that were never finished are none."""
    used = users(cache, states)
    found = []
    for path in sorted((cache / "bundles").glob("*/manifest.json")):
        try:
            manifest = json.loads(path.read_text())
        except (OSError, ValueError):
            manifest = {}
        manifest = manifest if isinstance(manifest, dict) else {}
        size = sum(inodes(path.parent).values())
        found.append(Bundle(path.parent, manifest, used.get(path.parent.name, []), size))
    return sorted(found, key=lambda bundle: (bundle.kubernetes, bundle.architecture, bundle.name))


# -- whether it is whole -----------------------------------------------------------------------------


def faults(bundle: Bundle) -> list[Fault]:
    """Read every byte of a bundle, and return what is not as its manifest says."""
    text = (bundle.folder / "manifest.json").read_bytes()
    if hashlib.sha256(text).hexdigest()[:16] != bundle.name:
        return [_fault(bundle, "manifest.json", "is damaged, so nothing else can be compared")]
    by_digest = {entry["sha256"]: entry for entry in bundle.files}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = list(pool.map(lambda entry: _wrong(bundle.folder / "files" / entry["sha256"], entry),
                                by_digest.values()))  # fmt: skip
    found = [
        _fault(bundle, f"files/{entry['sha256'][:16]}… ({entry['name']} {entry['version']})", reason)
        for entry, reason in zip(by_digest.values(), reasons, strict=True)
        if reason
    ]
    return found + program_faults(bundle)


def noted_programs(bundle: Bundle) -> dict[str, str]:
    """Return the sha256 of each program of the control machine, by its name, as far as the bundle says it.

    Bundles of older versions say it of those that are in their manifest only. ValueError: what was noted is damaged.
    """
    try:
        told = json.loads((bundle.folder / PROGRAMS).read_text())
    except FileNotFoundError:
        told = {}
    if not isinstance(told, dict) or not all(isinstance(digest, str) for digest in told.values()):
        raise ValueError(PROGRAMS)
    listed = {entry["name"]: entry["sha256"] for entry in bundle.files if bundle.architecture == NATIVE}
    here = {path.name for path in (bundle.folder / "bin").glob("*")} | set(told)
    return told | {name: digest for name, digest in listed.items() if name in here}


def changed_programs(bundle: Bundle) -> list[Path]:
    """Return the programs that are there and not what the bundle was made with."""
    noted = {bundle.folder / "bin" / name: digest for name, digest in noted_programs(bundle).items()}
    return [path for path, digest in sorted(noted.items()) if path.is_file() and digest_file(path) != digest]


def program_faults(bundle: Bundle) -> list[Fault]:
    """Return what is wrong with the control machine's programs."""
    try:
        noted, changed = noted_programs(bundle), changed_programs(bundle)
    except ValueError:
        return [_fault(bundle, PROGRAMS, "is damaged, so the programs in bin/ cannot be compared")]
    places = {bundle.folder / "bin" / name for name in noted} | set((bundle.folder / "bin").glob("*"))
    found = []
    for path in sorted(places):
        if path.is_symlink() and not path.exists():
            found.append(_fault(bundle, f"bin/{path.name}", f"leads to {os.readlink(path)}, which is not there"))  # noqa: PTH115
        elif not path.exists():
            found.append(_fault(bundle, f"bin/{path.name}", "is missing"))
        elif path in changed:
            found.append(_fault(bundle, f"bin/{path.name}", "is not the program that the bundle was made with"))
    return found


def _wrong(path: Path, entry: t.Mapping[str, t.Any]) -> str:
    try:
        size = path.stat().st_size
        if size != entry["size"]:
            return f"has {size} bytes, not {entry['size']}"
        actual = digest_file(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if actual == entry["sha256"] else f"is damaged: its sha256 is {actual[:16]}…"


def _fault(bundle: Bundle, where: str, message: str) -> Fault:
    host = f"bundle {bundle.name}"
    if where.startswith("files/"):
        remedy = "run `bundle build` or `up`, or import the bundle again"
        return Fault(where, message, remedy, host, commands=("bundle build",))
    shared = results_of(bundle.folder.parents[1] / "store", bundle.folder / where) if where.startswith("bin/") else []
    remedy = f"delete {' and '.join(map(str, [bundle.folder, *shared]))}, then make or import the bundle again"
    return Fault(where, message, remedy, host)


def distrust(bundle: Bundle) -> None:
    """Let the next build read every file of a bundle, whatever its size and time say, and make damaged ones again."""
    with contextlib.suppress(OSError, ValueError):  # there is none, or another user's
        index = json.loads((bundle.folder / "index.json").read_text())
        write_atomic(bundle.folder / "index.json", json.dumps({digest: [] for digest in index}))
