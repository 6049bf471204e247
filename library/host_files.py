#!/usr/bin/python
"""Write several small files in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
short_description: Write or remove several small files in one call
description:
  - Compares each file with what is there and writes only what differs, so that one task stands for many.
  - A file appears under its name only when whole, with its owner and mode already right.
  - Missing parent folders are made (0755). A symbolic link in the file's place is replaced, not followed.
author: [The maintainers]
options:
  files:
    description: The files, in the order in which they are written.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Where the file stands., type: path, required: true}
      content: {description: The whole text. Needed unless the file is to be absent., type: str}
      mode: {description: "Permissions as an octal string, such as C('0644').", type: str, default: "0644"}
      owner: {description: Name or number of the user; whoever runs the module when not given., type: str}
      group: {description: Name or number of the group; that of whoever runs the module when not given., type: str}
      state: {description: Whether the file is there or not., type: str, choices: [present, absent], default: present}
      validate:
        description: A command that must succeed before the file is put in place, with C(%s) for the file to check.
        type: str
      sensitive: {description: Keep the content out of diff and logs., type: bool, default: false}
attributes:
  check_mode: {support: full, details: [C(validate) is not run.]}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Write the configuration and the unit
  host_files:
    files:
      - path: /etc/containerd/config.toml
        content: "{{ lookup('ansible.builtin.template', 'config.toml.j2') }}"
      - path: /etc/cni/net.d/10-old.conflist
        state: absent
"""

RETURN = r"""
changed_paths: {description: The files that were (or would be) written or removed., returned: always, type: list}
"""

import dataclasses
import grp
import os
import pwd
import shlex
import stat
import tempfile
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

HIDDEN = "(not shown)\n"


@dataclasses.dataclass(frozen=True)
class State:
    """What can be said of a file; `content` is None where there is none."""

    content: bytes | None = None
    mode: int = 0
    uid: int = 0
    gid: int = 0

    def attributes(self) -> dict[str, str]:
        """Return owner, group and mode as people write them."""
        if self.content is None:
            return {}
        return {"mode": f"{self.mode:04o}", "owner": str(self.uid), "group": str(self.gid)}


def read_state(path: Path) -> State:
    """Return what is there now; anything but a regular file counts as absent, a folder is an error."""
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
    """Return what the caller asks for, with names of users and groups resolved."""
    if entry["state"] == "absent":
        return State()
    if entry["content"] is None:
        raise ValueError(f"{entry['path']} has no content; write content, or state: absent")
    try:
        mode = int(entry["mode"], 8)
    except ValueError:
        raise ValueError(f"{entry['path']}: mode {entry['mode']!r} is not octal; write it like '0644'") from None
    try:
        return State(
            entry["content"].encode(),
            mode,
            _number(entry["owner"], lambda name: pwd.getpwnam(name).pw_uid, os.geteuid()),
            _number(entry["group"], lambda name: grp.getgrnam(name).gr_gid, os.getegid()),
        )
    except KeyError as error:
        raise ValueError(f"{entry['path']}: this host knows no user or group of that name ({error})") from None


def _number(name: str | None, look_up: t.Callable[[str], int], default: int) -> int:
    if name is None:
        return default
    return int(name) if name.isdigit() else look_up(name)


def differences(path: str, before: State, after: State, *, sensitive: bool) -> list[dict[str, t.Any]]:
    """Return the entries of Ansible's diff, one for the text and one for owner and mode."""
    entries: list[dict[str, t.Any]] = []
    headers = {"before_header": path, "after_header": path}
    if before.content != after.content:
        texts = [_text(state.content, sensitive=sensitive) for state in (before, after)]
        if sensitive and texts[0] == texts[1]:
            texts[1] = "(not shown, and another)\n"
        entries.append({**headers, "before": texts[0], "after": texts[1]})
    if before.content is not None and after.content is not None and before.attributes() != after.attributes():
        entries.append({**headers, "before": before.attributes(), "after": after.attributes()})
    return entries


def _text(content: bytes | None, *, sensitive: bool) -> str:
    if content is None:
        return ""
    return HIDDEN if sensitive else content.decode(errors="backslashreplace")


def write(path: Path, wanted: State, validate: t.Callable[[str], None]) -> None:
    """Put the file in place in one step, or remove it; nobody sees half of it or a wrong mode."""
    if wanted.content is None:
        path.unlink()
        return
    for folder in [folder for folder in reversed(path.parents) if not folder.exists()]:
        folder.mkdir()
        folder.chmod(0o755)
    number, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as stream:
            stream.write(wanted.content)
            stream.flush()
            os.fchown(number, wanted.uid, wanted.gid)
            os.fchmod(number, wanted.mode)
            os.fsync(number)
        validate(part)
        Path(part).replace(path)
    finally:
        Path(part).unlink(missing_ok=True)


def validator(module: AnsibleModule, entry: t.Mapping[str, t.Any]) -> t.Callable[[str], None]:
    """Return a function that ends the module when the command of `validate` refuses a file."""

    def validate(part: str) -> None:
        if entry["validate"]:
            argv = [word.replace("%s", part) for word in shlex.split(entry["validate"])]
            rc, out, err = module.run_command(argv)
            if rc != 0:
                said = "" if entry["sensitive"] else f": {(err or out).strip()}"
                raise ValueError(f"{entry['path']} was left as it is: {argv[0]} refuses the new content{said}")

    return validate


class UnloggedModule(AnsibleModule):
    """A module whose call does not go to the host's log, where every content would stand.

    Ansible's own means hide too much (`no_log` of the task: all results; of the option: the paths as
    well) or are overruled by the task (`no_log` of the constructor).
    """

    def _log_invocation(self) -> None:
        """Log nothing."""


def redacted(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return what the module was called with, without what is sensitive."""
    files = [entry | {"content": HIDDEN.strip()} if entry["sensitive"] else entry for entry in params["files"]]
    return {"module_args": {**params, "files": files}}


def main() -> None:
    """Compare, then write."""
    entry_spec: dict[str, t.Any] = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str"},
        "mode": {"type": "str", "default": "0644"},
        "owner": {"type": "str"},
        "group": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "validate": {"type": "str"},
        "sensitive": {"type": "bool", "default": False},
    }
    spec = {"files": {"type": "list", "elements": "dict", "required": True, "options": entry_spec}}
    module = UnloggedModule(argument_spec=spec, supports_check_mode=True)
    result: dict[str, t.Any] = {"changed_paths": [], "diff": [], "invocation": redacted(module.params)}
    try:
        for entry in module.params["files"]:
            path = Path(entry["path"])
            before, after = read_state(path), wanted_state(entry)
            if before == after:
                continue
            result["diff"] += differences(entry["path"], before, after, sensitive=entry["sensitive"])
            result["changed_paths"].append(entry["path"])
            if not module.check_mode:
                write(path, after, validator(module, entry))
    except ValueError as error:
        module.fail_json(msg=str(error), changed=bool(result["changed_paths"]), **result)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}", changed=bool(result["changed_paths"]), **result)
    module.exit_json(changed=bool(result["changed_paths"]), **result)


if __name__ == "__main__":
    main()
