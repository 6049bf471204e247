# SPDX-License-Identifier: Apache-2.0
"""Install what a host lacks of the bundle: programs by a rename, packages by dpkg, images by containerd's ctr."""

from __future__ import annotations

import concurrent.futures
import shutil
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.atomic_file import make_parents
from ansible.module_utils.yunkube.host.bundle_files import (
    DPKG_HANGS,
    DPKG_SECONDS,
    IMPORT_SECONDS,
    LOOK_SECONDS,
    PROGRAMS,
    STATE,
    Digests,
    Entry,
    InstallError,
    compare,
    in_words,
    list_packages,
    missing_images,
    missing_packages,
    missing_programs,
    run_ctr,
    run_program,
)
from ansible.module_utils.yunkube.host.bundle_source import Source
from ansible.module_utils.yunkube.host.dpkg_lock import PackagesBusy, package_turn
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.host.state import complete_record, remember, runner
from ansible.module_utils.yunkube.words import joined

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


# Downloads of large files at a time. On a lossy link each connection is slow, however wide the link is.
DOWNLOADS = 4 if scaled(1) > 1 else 1


class Installed(t.NamedTuple):
    """What was installed, or would be."""

    entries: list[Entry]
    changes: list[str]
    fetched: int  # bytes


def install_packages(entries: list[Entry], unfinished: list[str], source: Source, notes: list[str]) -> None:
    """Finish what was cut off, then fetch and install what is missing still, all in one transaction."""
    folder = STATE / "packages"
    folder.mkdir(exist_ok=True)
    try:
        with package_turn(notes):
            if unfinished:
                run_program(["dpkg", "--configure", *unfinished], DPKG_SECONDS, DPKG_HANGS)
            entries, _ = missing_packages(
                entries, list_packages()
            )  # whoever had its turn before us may have installed some
            if not entries:
                return
            paths = [folder / entry["name"] for entry in entries]
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                list(pool.map(source.fetch, entries, paths))
            remember("packages", [entry["package"] for entry in entries])
            argv = ["dpkg", "--force-unsafe-io", "--force-confdef", "--force-confold", "--install", *map(str, paths)]
            run_program(argv, DPKG_SECONDS, DPKG_HANGS)
    except PackagesBusy as error:
        raise InstallError(str(error), "wait until it has ended, then run again") from error
    finally:
        shutil.rmtree(folder)


def import_images(entries: list[Entry], source: Source) -> None:
    """Fetch and import images, the next ones fetched while others are imported."""
    folder = STATE / "images"
    folder.mkdir(exist_ok=True)

    def fetch(entry: Entry) -> Path:
        path: Path = folder / entry["sha256"]
        source.fetch(entry, path)
        return path

    def bring_in(path: Path) -> None:
        run_ctr("images", "import", "--local", str(path), seconds=IMPORT_SECONDS)
        path.unlink()

    pools = concurrent.futures.ThreadPoolExecutor
    try:
        with pools(DOWNLOADS) as fetching, pools(2) as importing:
            fetched = [fetching.submit(fetch, entry) for entry in sorted(entries, key=lambda entry: -entry["size"])]
            try:
                imported = [importing.submit(bring_in, one.result()) for one in fetched]
                for done in imported:
                    done.result()
            except BaseException:
                for one in fetched:  # what has not begun would only fill the disk
                    one.cancel()
                raise
    finally:
        shutil.rmtree(folder)


def check_images(entries: list[Entry]) -> None:
    """Refuse images that ctr did not import: it ends with success where an archive names no image, or another one."""
    if absent := missing_images(entries, run_ctr("images", "list", seconds=LOOK_SECONDS)):
        names = joined([f"{Path(entry['name']).name} {entry['version']}" for entry in absent])
        raise InstallError(
            f"ctr reported no error, but did not import {names}",
            "its archive in the bundle has another name or content than the manifest says: make the bundle again, then"
            " run again",
        )


def install(missing: list[Entry], source: Source, unfinished: list[str]) -> list[str]:
    """Install what is missing; return what is to be said of it beside that."""
    notes: list[str] = []
    STATE.mkdir(mode=0o755, exist_ok=True)
    need = sum(entry["size"] for entry in missing)
    free = shutil.disk_usage(STATE).free
    if need > free:
        raise InstallError(f"needs {need >> 20} MB under {STATE}, {free >> 20} MB are free: make room, then run again")
    programs = [entry for entry in missing if entry["kind"] in PROGRAMS]
    for entry in programs:
        make_parents(Path(entry["path"]))
    with concurrent.futures.ThreadPoolExecutor(max(2, DOWNLOADS)) as pool:
        list(pool.map(lambda entry: source.fetch(entry, Path(entry["path"])), programs))
    if packages := [entry for entry in missing if entry["kind"] == "package"]:
        install_packages(packages, unfinished, source, notes)
    if images := [entry for entry in missing if entry["kind"] == "image"]:
        import_images(images, source)
        check_images(images)
    return notes


def bring_files(module: AnsibleModule, files: list[Entry]) -> Installed:
    """Install what this host lacks of these entries of the manifest."""
    digests = Digests(STATE / "digests.json")
    missing, unfinished = compare(files, digests, module.check_mode)
    fetched = 0
    notes: list[str] = []
    if missing and not module.check_mode:
        source = Source(module.params["url"], module.params["port"], module.params["signed"])
        notes = install(missing, source, unfinished)
        fetched = source.bytes
        missing_programs([entry for entry in missing if entry["kind"] in PROGRAMS], digests)
        digests.save()
    if not module.check_mode and any(entry["kind"] == "package" for entry in files):
        complete_record(runner(module))  # now that nft is there, and nothing has changed a rule yet
    return Installed(missing, in_words(missing, unfinished) + notes, fetched)
