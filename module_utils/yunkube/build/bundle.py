# SPDX-License-Identifier: Apache-2.0
"""The bundle of a lock: a folder that is named by its content, looked at, made, repaired and served."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import typing as t
from pathlib import Path

import yaml
from ansible.module_utils.yunkube.build.architectures import NATIVE, check_machine, lock_for
from ansible.module_utils.yunkube.build.cached_bundles import (
    ORIGINS,
    PROGRAMS,
    RESULTS,
    Bundle,
    changed_programs,
    in_use,
    remember,
)
from ansible.module_utils.yunkube.build.components import Builder, Lock, manifest_of, sha256_text
from ansible.module_utils.yunkube.build.debian_packages import REFRESH, Package, pins_of, read_pins
from ansible.module_utils.yunkube.build.mirrors import all_mirrors
from ansible.module_utils.yunkube.build.origins import OriginError, Origins, records, refuse
from ansible.module_utils.yunkube.build.progress import Progress
from ansible.module_utils.yunkube.build.server import ServeError, ensure_served, listening_addresses
from ansible.module_utils.yunkube.build.store import digest_file, discard_results_of
from ansible.module_utils.yunkube.build.tools import BuildError
from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.host.file_lock import LockError, locked

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

BUNDLE_SECONDS = 7200.0  # how long to wait for another run that makes the same bundle


class Made(t.NamedTuple):
    """A bundle that is there, or in check mode would be."""

    link: Path
    directory: Path
    changes: list[str]
    seconds: dict[str, float] | None = None  # of each step that was built, None where the bundle was whole
    rebuilt: t.Sequence[str] = ()  # digests of files that were damaged


def stamp(path: Path) -> list[int]:
    """Return what changes when a file's content does: size and time of modification."""
    about = path.stat()
    return [about.st_size, about.st_mtime_ns]


def damaged(bundle: Path) -> list[str] | None:
    """Return the digests whose file is missing or not what it says; None when there is no bundle at all."""
    try:
        index = json.loads((bundle / "index.json").read_text())
        (bundle / "manifest.json").stat()
    except FileNotFoundError:
        return None
    bad = []
    for digest, known in index.items():
        path = bundle / "files" / digest
        try:
            if stamp(path) != known and digest_file(path) != digest:
                bad.append(digest)
        except FileNotFoundError:
            bad.append(digest)
    return bad


def link_of(cache: Path, lock_file: Path, architecture: str = NATIVE) -> Path:
    """Return the link to the bundle that a lock, with the packages pinned beside it, was built to."""
    pins = pins_of(lock_file, architecture)
    text = lock_file.read_text() + (pins.read_text() if pins.exists() else "")
    return cache / "locks" / sha256_text(text)[:16]


def point(link: Path, target: Path | str) -> None:
    """Let a link point at something, at once."""
    link.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = link.with_name(f".{link.name}.{os.getpid()}")
    part.unlink(missing_ok=True)  # of a killed run whose number is ours now
    part.symlink_to(target)
    part.replace(link)


def write_bundle(
    bundles: Path,
    manifest: dict[str, t.Any],
    sources: dict[str, Path],
    programs: dict[str, Path],
    origins: dict[str, dict[str, str]] | None = None,
) -> Path:
    """Lay out a bundle and return its folder; its manifest comes last, so a bundle with a manifest is whole."""
    text = json.dumps(manifest, indent=1)
    bundle = bundles / sha256_text(text)[:16]
    files = bundle / "files"
    files.mkdir(parents=True, exist_ok=True)
    (bundle / "bin").mkdir(exist_ok=True)
    for digest, source in sources.items():
        part = files / f".{digest}.{os.getpid()}"
        os.link(source, part)
        part.replace(files / digest)
        part.unlink(missing_ok=True)  # rename does nothing where both are one file already
    (bundle / PROGRAMS).unlink(missing_ok=True)  # of the programs that were there until now
    for name, program in programs.items():
        link = bundle / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(program, link.parent))
    write_atomic(bundle / "index.json", json.dumps({digest: stamp(files / digest) for digest in sources}))
    write_atomic(bundle / PROGRAMS, json.dumps({name: digest_file(path) for name, path in programs.items()}))
    write_atomic(bundle / ORIGINS, json.dumps(origins or {}, indent=1))
    write_atomic(bundle / "manifest.json", text)
    return bundle


def serve(module: AnsibleModule, changed: bool) -> list[str]:
    """Serve what lies in the cache, and return at which addresses."""
    # A server that runs is no change of anything that lasts: changed stays as it is.
    params = module.params
    if module.check_mode or not params["port"]:
        return []
    try:
        addresses = listening_addresses(params["address"], params["hosts"])
        for address in addresses:
            ensure_served(Path(params["cache"]), address, params["port"], params["run"] or os.getppid())
    except ServeError as error:
        module.fail_json(msg=str(error), remedy=error.remedy, changed=changed)
    except LockError as error:
        module.fail_json(msg=f"cannot serve the bundle: {error}", changed=changed)
    return addresses


def link_programs(link: str | None, bundle: Path, check_mode: bool) -> bool:
    """Let `link` point at the bundle's programs; return whether that changed it."""
    if link is None or (os.path.islink(link) and os.readlink(link) == str(bundle / "bin")):  # noqa: PTH114, PTH115
        return False
    if not check_mode:
        point(Path(link), bundle / "bin")
    return True


def in_words(gone: t.Collection[tuple[Package, Package | None]]) -> list[str]:
    """Say which packages are others than the pinned ones."""
    if not gone:
        return []
    newer = sorted({f"{old.name} {new.version if new else '(none)'} for {old.version}" for old, new in gone})
    return [
        f"use newer packages, because Debian's archive no longer has the pinned ones ({REFRESH}): {', '.join(newer)}"
    ]


def bring_bundles(module: AnsibleModule) -> list[Made]:
    """Make the bundles of a lock, one for each architecture, or see that they are there; the first has the programs."""
    cache, programs_link = Path(module.params["cache"]), module.params["programs_link"]
    origins = OriginsOf(module.params)
    with contextlib.nullcontext() if module.check_mode else in_use(cache):
        made = [
            bring_bundle(module, architecture, programs_link if number == 0 else None, origins)
            for number, architecture in enumerate(sorted(set(module.params["architectures"])))
        ]
        if programs_link and not module.check_mode:
            remember(cache, Path(programs_link), [one.directory.name for one in made])
    return made


class OriginsOf:
    """The origins that a module's parameters name, made when the first bundle is not whole."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        """Keep the parameters."""
        self._params = params

    @functools.cached_property
    def made(self) -> Origins:
        """The origins, which ask only once what answers."""
        mirrors = all_mirrors(self._params["mirrors"], self._params["download_mirrors"])
        return Origins(self._params["origin"], Path(self._params["cache"]), mirrors)


def bring_bundle(module: AnsibleModule, architecture: str, programs_link: str | None, origins: OriginsOf) -> Made:
    """Make the bundle of a lock for an architecture, or see that it is there, and link its programs."""
    lock_file, cache = Path(module.params["lock"]), Path(module.params["cache"])
    link = link_of(cache, lock_file, architecture)
    bad = damaged(link)
    if bad == []:
        bundle = link.resolve()
        relinked = link_programs(programs_link, bundle, module.check_mode)
        return Made(link, bundle, [f"link {programs_link} to the bundle's programs"] if relinked else [])
    suffix = "" if architecture == NATIVE else f" for {architecture}"
    making = [f"{'build' if bad is None else 'repair'} the bundle of {lock_file.stem}{suffix}"]
    lock = yaml.safe_load(lock_file.read_text())
    try:
        refuse(module.params["origin"], lock, architecture)
        if module.check_mode:
            return Made(link, link, making)
        check_machine()
        pins, mirrors = read_pins(pins_of(lock_file, architecture)), module.params["mirrors"]
        builder = Builder(lock_for(lock, architecture), Path(module.params["project"]), cache, pins, mirrors)
        if faults := builder.faults():
            module.fail_json(msg="the components are not what the lock names:\n" + "\n".join(faults), kind="config")
        progress = Progress(cache / "progress.json", builder.steps())
        said: list[str] = []
        try:
            with locked(link.with_name(f".{link.name}.lock"), BUNDLE_SECONDS):
                bad = damaged(link)
                if bad != []:
                    said = _make(builder, lock, link, bad or [], progress, origins.made)
        finally:
            progress.close()
    except OriginError as error:
        module.fail_json(msg=str(error), kind="config")
    except (BuildError, LockError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"cannot write the bundle under {cache}: {error.strerror}; what was built stays there")
    bundle = link.resolve()
    link_programs(programs_link, bundle, check_mode=False)
    seconds = {f"{step}{suffix}": time for step, time in progress.times.items()}
    return Made(link, bundle, making + said + in_words(builder.gone), seconds, bad or [])


def _make(builder: Builder, lock: Lock, link: Path, bad: list[str], progress: Progress, origins: Origins) -> list[str]:
    """Make a bundle, and return what is to be said of where its parts come from."""
    for digest in bad:
        _drop(builder, link, digest)
    _drop_programs(builder.cache, link)
    fetched = origins.bring(builder, progress)
    built = builder.build(progress, fetched.programs, fetched.images) | {"versions": fetched.versions}
    manifest, sources = manifest_of(builder.lock, built, builder.tools)
    here = built["programs"] if builder.lock is lock else _programs(builder, lock, progress, origins)
    programs = {name: here[name] for name in lock["control"]}
    told = records(manifest["files"], sources)
    bundle = write_bundle(builder.cache / "bundles", manifest, sources, programs, told)
    write_atomic(bundle / RESULTS, json.dumps(sorted(builder.store.used)))
    point(link, os.path.relpath(bundle, link.parent))
    origins.downloads.clean()
    return origins.said() + fetched.changes


def _programs(builder: Builder, lock: Lock, progress: Progress, origins: Origins) -> dict[str, Path]:
    """Return the programs of this machine, which belong to every bundle, where the bundle is for other machines."""
    native = Builder(lock, builder.project, builder.cache, mirrors=builder.tools.mirrors)
    parts = {name: part for part in lock["components"] for name in part["programs"] if name in lock["control"]}
    found = {name: origins.program(native, part, name, progress) for name, part in parts.items()}
    programs = {
        name: found[name]
        or progress.step(f"{name} for this machine", functools.partial(native.programs, part["name"])) / name
        for name, part in parts.items()
    }
    builder.store.used |= native.store.used
    return programs


def _drop(builder: Builder, bundle: Path, digest: str) -> None:
    """Forget a damaged file and the results in the store that it is a name of."""
    path = bundle / "files" / digest
    discard_results_of(builder.cache, path)
    path.unlink(missing_ok=True)


def _drop_programs(cache: Path, link: Path) -> None:
    """Forget the results of damaged programs, or the bundle would be made with them again."""
    with contextlib.suppress(ValueError):  # what was noted is damaged, so nothing can be compared
        for path in changed_programs(Bundle(link.resolve(), {}, [], 0)):
            discard_results_of(cache, path)
