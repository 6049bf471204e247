# SPDX-License-Identifier: Apache-2.0
"""What bundles cost, and the removal of those that no cluster uses, with the build results that only they hold."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.build import server
from ansible.module_utils.yunkube.build.cached_bundles import PRUNE_LOCK, RESULTS, USERS, Bundle, bundles
from ansible.module_utils.yunkube.build.store import discard, files_below
from ansible.module_utils.yunkube.host.file_lock import LockError, locked

Inodes = dict[int, int]  # size of each file by its inode, which counts a file once however many names it has
GUARD_SECONDS = 1.0  # in which a server that begins or ends is usually done


class BusyError(Exception):
    """Something uses the cache; the message says what."""


class Cost(t.NamedTuple):
    """What a bundle costs."""

    bundle: Bundle
    results: list[Path]  # of the store, that it was made of
    size: int  # bytes of its files and results
    alone: int  # bytes that nothing else in the cache holds
    goes: bool  # whether it is to be removed

    def about(self) -> dict[str, t.Any]:
        """Return what is shown of it."""
        return {
            **self.bundle.about(),
            "bytes": self.size,
            "bytes_alone": self.alone,
            "removed": self.goes,
        }


class Plan(t.NamedTuple):
    """What there is, and what would go."""

    costs: list[Cost]
    unfinished: list[Path]  # what builds, imports and downloads left that were killed or gave up
    freed: int  # bytes
    others: int  # bytes of build results that belong to no bundle

    @property
    def gone(self) -> list[Cost]:
        """Return the bundles that go."""
        return [cost for cost in self.costs if cost.goes]


def plan(cache: Path, states: t.Iterable[Path], agreed: t.Collection[str] | None = None) -> Plan:
    """Look, and change nothing; bundles go that no cluster uses, if given only those of these names."""
    found = bundles(cache, states)
    gone = {one.name for one in found if not one.clusters and (agreed is None or one.name in agreed)}
    store = {path.name: path for path in sorted((cache / "store").glob("[!.]*")) if path.is_dir()}
    inodes = {path: _inodes(path) for path in store.values()}
    parts = {bundle.name: _results(bundle, store, inodes) for bundle in found}
    owned: dict[str, Inodes] = {}
    for bundle in found:
        owned[bundle.name] = _inodes(bundle.folder)
        for result in parts[bundle.name]:
            owned[bundle.name] |= inodes[result]
    claimed = {result for results in parts.values() for result in results}
    other: Inodes = {}
    for result in set(store.values()) - claimed:
        other |= inodes[result]
    costs = []
    for bundle in found:
        elsewhere = set(other).union(*(owned[name] for name in owned if name != bundle.name))
        alone = sum(size for inode, size in owned[bundle.name].items() if inode not in elsewhere)
        size = sum(owned[bundle.name].values())
        costs.append(Cost(bundle, parts[bundle.name], size, alone, bundle.name in gone))
    unfinished = [path for path in (cache / "bundles").glob("[!.]*") if not (path / "manifest.json").exists()]
    for pattern in ("store/.*.part", "downloads/[!.]*", "rebuild-*"):
        unfinished += cache.glob(pattern)
    kept = set(other).union(*(owned[bundle.name] for bundle in found if bundle.name not in gone))
    freed: Inodes = {}
    for content in [*(owned[name] for name in gone), *map(_inodes, unfinished)]:
        freed |= {inode: size for inode, size in content.items() if inode not in kept}
    return Plan(costs, sorted(unfinished), sum(freed.values()), sum(other.values()))


def _results(bundle: Bundle, store: t.Mapping[str, Path], inodes: t.Mapping[Path, Inodes]) -> list[Path]:
    """Return the results that a bundle was made of: as its build noted, else those that share files with it."""
    with contextlib.suppress(OSError, ValueError):
        names = json.loads((bundle.folder / RESULTS).read_text())
        return [store[name] for name in names if name in store]
    mine = {path.stat().st_ino for path in bundle.folder.glob("*/*") if path.is_file()}  # links of bin/ lead there, too
    return [path for path in store.values() if not mine.isdisjoint(inodes[path])]


def _inodes(folder: Path) -> Inodes:
    """Return the files of a folder, or a file itself."""
    found = {}
    for path in (folder, *files_below(folder)):
        with contextlib.suppress(OSError):
            about = path.lstat()
            if not path.is_dir() and not path.is_symlink():
                found[about.st_ino] = about.st_size
    return found


# -- removal -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def alone(cache: Path) -> t.Iterator[None]:
    """Have the cache exclusively: no run takes bundles from it, builds or serves, and none begins meanwhile."""
    with (cache / PRUNE_LOCK).open("a") as stream:
        _take(stream, "a run builds a bundle, or a command imports or reads one")
        for folder in ("locks", "store", "downloads", "bundles"):
            for path in cache.glob(f"{folder}/.*.lock"):
                with path.open("a") as lock:
                    _take(lock, f"{'an upload' if folder == 'bundles' else 'a build'} holds {path}")
        for place in cache.glob("serve/*"):
            _refuse_served(place)
        yield


def _refuse_served(place: Path) -> None:
    """Refuse while a server holds its lock, also one of another PID namespace, whose runs look dead from here."""
    try:
        with locked(place / "guard", GUARD_SECONDS), (place / "server").open("a") as holder:
            try:
                fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                marks = [path.name for path in place.glob("runs/*") if server.is_living(path.name)]
                served = bool(marks)
            except BlockingIOError:
                marks, served = [path.name for path in place.glob("runs/*")], True
    except LockError:
        raise BusyError(f"a server at {place.name} begins or ends") from None
    if served:
        pids = " ".join(sorted(mark.partition("-")[0] for mark in marks))
        raise BusyError(f"bundles are served at {place.name}{f' for process {pids}' if pids else ''}")


def _take(stream: t.IO[str], why: str) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BusyError(why) from None


def remove(cache: Path, states: t.Sequence[Path], agreed: t.Collection[str]) -> Plan:
    """Remove the bundles of these names that no cluster uses, what only they hold, and unfinished work."""
    with alone(cache):
        now = plan(cache, states, agreed)
        kept = {result for cost in now.costs if not cost.goes for result in cost.results}
        for cost in now.gone:
            for link in (cache / "locks").glob("[!.]*"):
                if link.resolve() == cost.bundle.folder.resolve():
                    link.unlink()
            (cost.bundle.folder / "manifest.json").unlink()  # no bundle from here on, whatever happens
            shutil.rmtree(cost.bundle.folder)
        for result in {result for cost in now.gone for result in cost.results} - kept:
            discard(result)
        for path in now.unfinished:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        for note in (cache / USERS).glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                if not (Path(json.loads(note.read_text())["programs"]).parent / "id").exists():
                    note.unlink()
    return now
