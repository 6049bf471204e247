# SPDX-License-Identifier: Apache-2.0
"""Small files of a host: compare with what is there, write only what differs."""

from __future__ import annotations

import dataclasses
import os
import stat
import tempfile
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host import originals
from ansible.module_utils.yunkube.host.atomic_file import make_parents

# What a module's argument spec says of a list of files.
FILES_SPEC: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "path": {"type": "path", "required": True},
        "content": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "restart": {"type": "bool", "default": True},
        "secret": {"type": "bool", "default": False},
    },
}


@dataclasses.dataclass(frozen=True)
class State:
    """A file's content, owner, group and mode; `content` is None if it does not exist."""

    content: bytes | None = None
    mode: int = 0
    uid: int = 0
    gid: int = 0

    def attributes(self) -> dict[str, str]:
        """Return owner, group and mode as people write them."""
        return {"mode": f"{self.mode:04o}", "owner": str(self.uid), "group": str(self.gid)}


def read_state(path: Path) -> State:
    """Return the file's current state; anything but a regular file counts as absent, a folder is an error."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return State()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(0, "is a folder", str(path))
    content = path.read_bytes() if stat.S_ISREG(found.st_mode) else b""
    kind = 0 if stat.S_ISREG(found.st_mode) else stat.S_IFMT(found.st_mode)  # makes a link differ from any file
    return State(content, kind | stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def wanted_state(entry: t.Mapping[str, t.Any]) -> State:
    """Return what the caller asks for; the file belongs to whoever writes it."""
    try:
        mode = int(entry["mode"], 8)
    except ValueError:
        raise ValueError(f"{entry['path']}: mode {entry['mode']!r} is not octal; write it like '0644'") from None
    return State(entry["content"].encode(), mode, os.geteuid(), os.getegid())


def differences(path: str, before: State, after: State, *, secret: bool = False) -> list[dict[str, t.Any]]:
    """Return the entries of Ansible's diff, one for the text and one for owner and mode."""
    entries: list[dict[str, t.Any]] = []
    headers = {"before_header": path, "after_header": path}
    if before.content != after.content:
        texts = [(state.content or b"").decode(errors="backslashreplace") for state in (before, after)]
        if secret:
            texts = ["(hidden)\n" if before.content else "", "(hidden, changed)\n" if before.content else "(hidden)\n"]
        entries.append({**headers, "before": texts[0], "after": texts[1]})
    if before.content is not None and before.attributes() != after.attributes():
        entries.append({**headers, "before": before.attributes(), "after": after.attributes()})
    return entries


def secret_contents(entries: t.Iterable[t.Mapping[str, t.Any]]) -> set[str]:
    """Return the values that must not be shown anywhere."""
    return {entry["content"] for entry in entries if entry["secret"] and entry["content"]}


def write(path: Path, wanted: State) -> None:
    """Put the file in place in one step, with its parents (0755); nobody sees half of it or a wrong mode."""
    make_parents(path)
    number, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as stream:
            stream.write(wanted.content or b"")
            stream.flush()
            os.fchmod(number, wanted.mode)
            os.fsync(number)
        originals.keep(path)
        Path(part).replace(path)
    finally:
        Path(part).unlink(missing_ok=True)


def bring(entries: t.Iterable[t.Mapping[str, t.Any]], *, check_mode: bool) -> tuple[list[str], list[dict[str, t.Any]]]:
    """Write the files that differ; return their paths and Ansible's diff."""
    paths: list[str] = []
    diff: list[dict[str, t.Any]] = []
    for entry in entries:
        path = Path(entry["path"])
        before, after = read_state(path), wanted_state(entry)
        if before == after:
            continue
        diff += differences(entry["path"], before, after, secret=entry.get("secret", False))
        paths.append(entry["path"])
        if not check_mode:
            write(path, after)
    return paths, diff
