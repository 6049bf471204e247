# SPDX-License-Identifier: Apache-2.0
"""Where the parts of a bundle come from: a cache, upstream's releases, mirrors of those, or the source.

A lock names the release of a component by address and digest, and an image by the digest of its manifest list. Nothing
is downloaded of which it has no digest. What is downloaded stands in the store as what is built does, with a record
of where it came from.
"""

from __future__ import annotations

import concurrent.futures
import functools
import json
import os
import shutil
import tarfile
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

from ansible.module_utils.yunkube.build import mirrors as places
from ansible.module_utils.yunkube.build.architectures import lock_for
from ansible.module_utils.yunkube.build.components import Builder
from ansible.module_utils.yunkube.build.downloads import AUTO, Downloads, Limits, Place
from ansible.module_utils.yunkube.build.needs import Lock, image_name, needed
from ansible.module_utils.yunkube.build.progress import Progress
from ansible.module_utils.yunkube.build.registry import Puller, parts_of, place
from ansible.module_utils.yunkube.build.store import digest_of
from ansible.module_utils.yunkube.build.tools import BuildError
from ansible.module_utils.yunkube.words import joined

ORIGINS = ("auto", "release", "mirror", "source")
AT_ONCE = 4  # files
RECIPE = 1  # part of the keys of what is downloaded: raise it when other files are made of the same downloads
RECORD = ".source.json"  # in a result of the store: the URL of each of its files


class OriginError(BuildError):
    """The origin cannot give what the lock names: a matter of the configuration."""


class File(t.NamedTuple):
    """A file of a release, and which programs are in it."""

    url: str
    sha256: str
    members: dict[str, str]  # program -> its name in the archive; of a file that is a program itself, its own name

    @property
    def is_archive(self) -> bool:
        """Whether programs have to be taken out of it."""
        return self.url.endswith((".tar.gz", ".tgz"))


class Choice(t.NamedTuple):
    """What is downloaded for a bundle."""

    parts: list[Lock]
    images: list[Lock]
    lacking: list[str]  # what has a release whose digest the lock does not have


class Fetched(t.NamedTuple):
    """What was downloaded: programs by name, folders of images by reference."""

    programs: dict[str, Path]
    images: dict[str, Path]
    changes: list[str]
    versions: dict[str, str]  # of programs whose release has another version than the component


class _Job(t.NamedTuple):
    """One thing to download."""

    name: str
    places: list[Place]  # where it, or its first file, may be
    work: t.Callable[[t.Sequence[str]], dict[str, Path]]  # sites, in the order in which to ask them -> what it made
    gives: tuple[str, ...]  # names of programs, or an image
    stored: bool  # whether the store has it already
    sha256: str = ""  # of the file, if it is one


def files_of(part: Lock, architecture: str, wanted: t.Container[str]) -> list[File] | None:
    """Return the files of a component's release that hold the wanted programs; None if a digest is missing."""
    release = (part.get("origins") or {}).get("release")
    if not release:
        return None
    digests = (release.get("sha256") or {}).get(architecture)
    names = {name: release.get("members", {}).get(name, name) for name in part["programs"] if name in wanted}
    members = {name: member.format(architecture=architecture) for name, member in names.items()}
    if "{program}" in release["url"]:
        if not isinstance(digests, dict) or not set(members) <= set(digests):
            return None
        url = functools.partial(release["url"].format, architecture=architecture)
        return [File(url(program=name), digests[name], {name: name}) for name in members]
    if not isinstance(digests, str):
        return None
    file = File(release["url"].format(architecture=architecture), digests, members)
    return [file] if file.is_archive or len(members) == 1 else None


def choose(lock: Lock, cached: t.Callable[[Lock], bool]) -> Choice:
    """Return what to download; components that are `cached` are not, nor images that are made of those alone."""
    parts = {name: part for part in lock["components"] for name in part["programs"]}
    architecture = lock["architecture"]

    def is_made(image: Lock) -> bool:
        return all(cached(parts[name]) for name in image["programs"])

    released = [image for image in lock["images"] if "release" in (image.get("origins") or {})]
    pulled = [image for image in released if image["origins"]["release"].get("digest") and not is_made(image)]
    wanted = needed(lock, [image["reference"] for image in pulled])
    chosen, lacking = [], []
    for part in lock["components"]:
        mine = wanted & set(part["programs"])
        if not mine or not (part.get("origins") or {}).get("release") or cached(part):
            continue
        if files_of(part, architecture, mine) is None:
            lacking.append(str(part["name"]))
        else:
            chosen.append(part)
    for image in released:
        made_of = [parts[name] for name in image["programs"]]
        if image not in pulled and not is_made(image) and any(not (one.get("origins") or {}) for one in made_of):
            lacking.append(f"image {image['reference']}")
    return Choice(chosen, pulled, lacking)


def refuse(origin: str, lock: Lock, architecture: str) -> None:
    """Refuse what cannot be downloaded, where nothing may be built instead."""
    if origin not in ("release", "mirror"):
        return
    lacking = choose(lock_for(lock, architecture), lambda _: False).lacking
    if architecture != lock["architecture"]:
        for part in lock["components"]:
            mine = set(lock["control"]) & set(part["programs"])
            if mine and part["origins"] and files_of(part, lock["architecture"], mine) is None:
                lacking.append(f"{part['name']} for this machine")
    if lacking:
        raise OriginError(
            f"cluster_bundle_origin: {origin}: the lock has no digest of the release of {joined(lacking)}, and nothing"
            " is downloaded without one: write auto, which builds those from source, or source"
        )


class Origins:
    """Brings what a lock names from where the inventory says."""

    def __init__(self, origin: str, cache: Path, mirrors: places.Mirrors, limits: Limits | None = None) -> None:
        """Bring it from `origin`; keep what is not whole yet in `cache`."""
        self.origin, self._mirrors = origin, mirrors
        self.downloads = Downloads(cache / "downloads", limits or (AUTO if origin == "auto" else None))
        self._reach = places.Reach(self.downloads)
        self._came: dict[str, list[str]] = {}  # names of what was downloaded, by the server that it came from

    def bring(self, builder: Builder, progress: Progress) -> Fetched:
        """Download what can be, and say what is left to be built."""
        fetched = Fetched({}, {}, [], {})
        if self.origin == "source":
            return fetched
        choice = choose(builder.lock, builder.cached if self.origin == "auto" else lambda _: False)
        if lacking := joined(choice.lacking):
            fetched.changes.append(f"build {lacking} from source: the lock has no digest of their releases")
        jobs = self._reachable(self._jobs(builder, choice), fetched.changes)
        given = {name for job in jobs for name in job.gives}
        progress.total = progress.done + len(jobs) + builder.steps(given, given)
        self._fetch(jobs, fetched, progress)
        for part in choice.parts:
            version = part["origins"]["release"].get("version", part["version"])
            fetched.versions.update({name: version for name in part["programs"] if name in fetched.programs})
        return fetched

    def said(self) -> list[str]:
        """Return, once, what was downloaded from where, and which places failed."""
        lines = [f"download {joined(sorted(self._came[server]))} from {server}" for server in sorted(self._came)]
        lines += self.downloads.notes
        self._came.clear()
        self.downloads.notes.clear()
        return lines

    def _note(self, url: str, *names: str) -> None:
        self._came.setdefault(urlsplit(url).netloc, []).extend(names)

    def program(self, native: Builder, part: Lock, name: str, progress: Progress) -> Path | None:
        """Return a program for this machine, or nothing where it is to be built."""
        files = files_of(part, native.lock["architecture"], {name}) if self.origin != "source" else None
        if not files or (self.origin == "auto" and native.cached(part)):
            return None
        fetched = Fetched({}, {}, [], {})
        jobs = self._reachable([self._file_job(native, part, files[0])], fetched.changes)
        self._fetch(jobs, fetched, progress)
        return fetched.programs.get(name)

    # -- what there is to do ---------------------------------------------------------------------

    def _jobs(self, builder: Builder, choice: Choice) -> list[_Job]:
        wanted = needed(builder.lock, [image["reference"] for image in choice.images])
        jobs = [
            self._file_job(builder, part, file)
            for part in choice.parts
            for file in files_of(part, builder.lock["architecture"], wanted) or []
        ]
        return jobs + [self._image_job(builder, image) for image in choice.images]

    def _file_job(self, builder: Builder, part: Lock, file: File) -> _Job:
        where = places.file_places(file.url, self._mirrors, self.origin)
        name = part["name"] if len(file.members) > 1 else next(iter(file.members))

        def make(sites: t.Sequence[str], out: Path) -> None:
            got = self.downloads.file(
                name,
                sorted((one for one in where if one.site in sites), key=lambda one: sites.index(one.site)),
                file.sha256,
            )
            unpack(file, got.path, out)
            (out / RECORD).write_text(json.dumps(dict.fromkeys(file.members, got.url)))
            self._note(got.url, *file.members)

        def work(sites: t.Sequence[str]) -> dict[str, Path]:
            folder = builder.store.put(name, key, functools.partial(make, sites))
            return {program: folder / program for program in file.members}

        key = digest_of(["release", RECIPE, file.sha256, sorted(file.members.items())])
        return _Job(name, where, work, tuple(file.members), builder.store.get(name, key) is not None, file.sha256)

    def _image_job(self, builder: Builder, image: Lock) -> _Job:
        reference, digest = image["reference"], image["origins"]["release"]["digest"]
        architecture = builder.lock["architecture"]
        bases = places.image_bases(reference, self._mirrors, self.origin)
        where = [place(base, parts_of(reference)[1], "manifests", digest) for base in bases]

        def make(sites: t.Sequence[str], out: Path) -> None:
            puller = Puller(self.downloads, reference, sites)
            puller.pull(digest, architecture, out)
            (out / RECORD).write_text(json.dumps({"image.tar": puller.url}))
            self._note(puller.url, reference)

        def work(sites: t.Sequence[str]) -> dict[str, Path]:
            return {reference: builder.store.put(name, key, functools.partial(make, sites))}

        key, name = digest_of(["release", RECIPE, reference, digest, architecture]), image_name(reference)
        stored = builder.store.get(name, key) is not None
        return _Job(f"image {reference.rsplit('/', 1)[1]}", where, work, (reference,), stored)

    def _reachable(self, jobs: list[_Job], changes: list[str]) -> list[_Job]:
        """Return the jobs, each with the places that are worth asking, in order."""
        if self.origin == "release":
            return jobs
        if without := [job.name for job in jobs if not job.places]:
            raise OriginError(
                f"cluster_bundle_origin: mirror: no mirror is known of {joined(without)}: name some in"
                " cluster_download_mirrors, or write release"
            )
        stored, rest = [job for job in jobs if job.stored], [job for job in jobs if not job.stored]
        self._reach.probe(one for job in rest for one in job.places)
        ranked = [(job, self._reach.ranked(job.places, self.origin)) for job in rest]
        if lost := [job for job, where in ranked if not where]:
            sites = {one.site: self._reach.answers[one.site].problem for job in lost for one in job.places}
            why = "; ".join(f"{site}: {problem}" for site, problem in sites.items())
            changes.append(f"build {joined([job.name for job in lost])} from source, as nothing answers: {why}")
        return stored + [job._replace(places=where) for job, where in ranked if where]

    # -- doing it --------------------------------------------------------------------------------

    def _fetch(self, jobs: list[_Job], fetched: Fetched, progress: Progress) -> None:
        meter = progress.meter = self.downloads.meter
        meter.tell = progress.tell
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            files = [job for job in jobs if job.sha256 and not job.stored]
            list(pool.map(lambda job: self.downloads.measure(job.places[0], job.sha256), files))
            running = [(job, pool.submit(self._do, job, progress)) for job in jobs]
            done, _ = concurrent.futures.wait(
                [one for _, one in running], return_when=concurrent.futures.FIRST_EXCEPTION
            )
            if any(future.exception() for future in done):
                pool.shutdown(cancel_futures=True)
        for job, future in running:
            if future.cancelled():
                continue
            made = future.result()
            if isinstance(made, BuildError):
                fetched.changes.append(f"build {job.name} from source: {made}")
            elif job.sha256:
                fetched.programs.update(made)
            else:
                fetched.images.update(made)
        progress.meter = None

    def _do(self, job: _Job, progress: Progress) -> dict[str, Path] | BuildError:
        made: dict[str, Path] = {}

        def work() -> Path:
            made.update(job.work([one.site for one in job.places]))
            return next(iter(made.values()))

        try:
            progress.step(job.name, work, verb="download")
        except BuildError as error:
            if self.origin == "auto":
                return error
            again = "what came of it is kept; run the same command again, or set cluster_bundle_origin: auto"
            raise BuildError(f"{error}; {again}") from error
        return made


def unpack(file: File, path: Path, out: Path) -> None:
    """Put the programs of a file into a folder."""
    if not file.is_archive:
        (program,) = file.members
        os.link(path, out / program)
        (out / program).chmod(0o755)
        return
    left = {member: program for program, member in file.members.items()}
    with tarfile.open(path) as archive:
        for info in archive:
            name = Path(info.name).name
            content = archive.extractfile(info) if info.isfile() and name in left else None
            if content:
                target = out / left.pop(name)
                with target.open("wb") as stream:
                    shutil.copyfileobj(content, stream)
                target.chmod(0o755)
    if left:
        raise BuildError(f"{file.url} has no {joined(list(left))} in it: correct `members` in the lock")


def records(files: t.Iterable[Lock], sources: t.Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Return, by digest, the name of each file of a bundle and where it came from: a URL, Debian, or the source."""
    found = {}
    for file in files:
        path = sources[file["sha256"]]
        record = path.parent / RECORD
        told = json.loads(record.read_text()) if record.exists() else {}
        here = "debian" if file["kind"] == "package" else "source"
        found[str(file["sha256"])] = {"name": str(file["name"]), "from": str(told.get(path.name, here))}
    return found
