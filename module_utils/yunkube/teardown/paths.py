# SPDX-License-Identifier: Apache-2.0
"""Which files of a host go with the cluster: nothing that was there before, nothing of another file system."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host import state as host_state

# Folders of the system and of its users, as patterns of as many parts; nobody means them who names what pods left.
SYSTEM = (
    "/", "/bin", "/etc", "/home", "/home/*", "/lib*", "/media", "/mnt", "/opt", "/root", "/run", "/sbin", "/srv",
    "/tmp", "/usr", "/usr/*", "/usr/lib/*", "/usr/local/*", "/usr/share/*", "/var", "/var/*",  # noqa: S108
    "/var/lib/apt",
    "/var/lib/dpkg", "/var/lib/rpm", "/var/lib/systemd", "/var/lib/yunkube", "/etc/apt", "/etc/network", "/etc/pam.d",
    "/etc/security", "/etc/ssh", "/etc/ssl", "/etc/sudoers.d", "/etc/systemd", "/etc/systemd/*", "/etc/sysctl.d",
)  # fmt: skip
NOT_A_FOLDER_OF_PODS = ("/boot", "/dev", "/proc", "/sys")  # nor anything below


def is_system(path: str) -> bool:
    """Say whether a path is a folder of the system."""
    name = f"/{os.path.normpath(f'/{path}').lstrip('/')}"
    return f"/{name.split('/')[1]}" in NOT_A_FOLDER_OF_PODS or any(
        name.count("/") == entry.count("/") and fnmatch.fnmatchcase(name, entry) for entry in SYSTEM
    )


def mount_points(mounts: str) -> list[str]:
    """Return the mount points out of /proc/self/mounts, in which a few characters are written as octal numbers."""
    fields = (line.split()[1] for line in mounts.splitlines())
    return [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field) for field in fields]


def mounts_below(points: t.Iterable[str], paths: t.Sequence[str]) -> list[str]:
    """Return the mount points at or below the paths, the deepest first."""
    inside = {point for point in points if any(point == path or point.startswith(f"{path}/") for path in paths)}
    return sorted(inside, key=len, reverse=True)


def half_written(names: t.Iterable[str]) -> list[str]:
    """Return what writes and downloads of these files left that were killed, beside them: `.NAME.part`, `.NAME.PID`."""
    folders: dict[Path, list[str]] = {}
    for path in map(Path, names):
        folders.setdefault(path.parent, []).append(re.escape(path.name))
    return [
        str(found)
        for folder, there in folders.items()
        for found in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if re.fullmatch(rf"\.({'|'.join(there)})\.(([a-z0-9_]{{8}}\.|yunkube-)?part|\d{{1,7}})", found.name)
    ]


class Known:
    """What was on the host before the cluster, as far as its record tells."""

    def __init__(self, record: host_state.Json | None, points: t.Iterable[str], root: Path = Path("/")) -> None:
        """Use a record (none: nothing was there) and what is mounted now."""
        self.files: t.Mapping[str, str] = record["files"] if record else {}
        self.trees = host_state.trees_of(record) if record else []
        self.points = set(points)
        self.root = root
        self._above = {
            str(parent) for name in (*self.files, *self.points) if name != "/" for parent in Path(name).parents
        }

    def name(self, path: Path) -> str:
        """Return a path as the record has it."""
        return f"/{path.relative_to(self.root)}" if path != self.root else "/"

    def stays_whole(self, path: Path) -> bool:
        """Whether nothing below is touched: what a folder held that was there is not recorded, or it is a disk."""
        name = self.name(path)
        if name in self.points:
            return True
        return name in self.files and not host_state.is_recorded(Path(name, "x"), self.trees)

    def has_any_below(self, path: Path) -> bool:
        """Whether something below was there before, or is mounted."""
        return self.name(path) in self._above

    def is_reached_by_link(self, path: Path) -> bool:
        """Whether the host's own symbolic link leads there, so that the record does not tell what it held."""
        return any(self.files.get(str(parent), "").startswith("->") for parent in Path(self.name(path)).parents)


def is_left(path: Path, known: Known) -> bool:
    """Whether there is something to remove: what was there before is not, nor is an empty disk of its own."""
    name = known.name(path)
    if not known.files.get(name, "/").endswith("/") or known.is_reached_by_link(path):
        return False
    if not os.path.lexists(path):
        return False
    if path.is_symlink() or not path.is_dir():
        return True
    if name not in known.files and name not in known.points:
        return True
    if name not in known.points and known.stays_whole(path):
        return False
    return any(_goes(child, known) for child in path.iterdir())


def _goes(path: Path, known: Known) -> bool:
    """Whether something of it would be removed."""
    name = known.name(path)
    if known.stays_whole(path):
        return False
    if not path.is_dir() or path.is_symlink():
        return name not in known.files
    return name not in known.files or any(_goes(child, known) for child in path.iterdir())


def remove(path: Path, known: Known) -> None:
    """Remove a file or a folder with all in it, but what was there before and what is mounted below.

    A folder that is itself a disk of its own stays, empty. What stays gets the mode that it had.
    """
    name = known.name(path)
    if not path.is_dir() or path.is_symlink():
        if name not in known.files:
            path.unlink(missing_ok=True)
        return
    is_mount = name in known.points
    if not is_mount and known.stays_whole(path):
        return
    for child in list(path.iterdir()):
        if known.stays_whole(child):
            continue
        is_new = known.name(child) not in known.files and not known.has_any_below(child)
        if is_new and child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            remove(child, known)
    if name in known.files:
        path.chmod(int(known.files[name].rstrip("/"), 8))
    elif not is_mount and not any(path.iterdir()):
        path.rmdir()


# The folder of the record.

REGISTRY = "registry"
SNAPSHOTS = "etcd-snapshots"
BACKUPS = "backups"
# Files that are written into it. The record is the last to go: as long as it is there, the same can be run again.
OWN = (
    host_state.CHANGES, "digests.json", "digests.part", "doctor", "images", "original", "packages", BACKUPS, REGISTRY,
    SNAPSHOTS,
)  # fmt: skip


class Images(t.NamedTuple):
    """What a registry holds."""

    tags: int
    size: int

    def __str__(self) -> str:
        """Say it in words."""
        images = f"{self.tags} image{'' if self.tags == 1 else 's'}"
        return f"{images} ({self.size / 1e6:.1f} MB)" if self.size else images


def registry_images(folder: Path) -> Images:
    """Return how many tagged images the files of a registry are, and how large all its layers."""
    size = sum(
        path.lstat().st_size for parent, _, names in os.walk(folder) for name in names for path in [Path(parent, name)]
    )
    repositories = folder / "docker/registry/v2/repositories"
    tags = sum(len(folders) for parent, folders, _ in os.walk(repositories) if parent.endswith("/_manifests/tags"))
    return Images(tags, size)


def remove_own(folder: Path, keep_record_as: str = "") -> None:
    """Remove what was written into the folder of the record, and the folder when nothing else is in it."""
    points = mount_points(Path("/proc/self/mounts").read_text())
    known = Known(None, points)
    for name in OWN:
        if str(folder / name) not in points:
            remove(folder / name, known)
    if keep_record_as and (folder / host_state.RECORD).exists():
        (folder / host_state.RECORD).replace(folder / keep_record_as)
    (folder / host_state.RECORD).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()) and str(folder) not in points:
        folder.rmdir()
