#!/usr/bin/python
"""Bring the kubeconfig of one cluster to a file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeconfig_file
short_description: Bring the kubeconfig of one cluster to a file of the control machine
description:
  - Writes a file that holds this cluster alone, or merges the cluster into one that holds others, as C(kubectl config)
    does, under the lock that kubectl takes. What was there before is kept under another name.
  - A missing folder is created for its owner alone; a folder that exists is left as it is.
  - Runs on the control machine, with the Python that runs Ansible. Shows no diff, as the content is secret.
author: [The maintainers]
options:
  path: {description: The file., type: path, required: true}
  cluster: {description: The cluster's name., type: str, required: true}
  content: {description: "The kubeconfig as kubeadm writes it. Without it, O(source) is read.", type: str}
  source:
    description: The cluster's own kubeconfig in the state directory; its copies lie beside it.
    type: path
    required: true
  merge: {description: Whether other clusters in the file stay., type: bool, default: true}
  state:
    description: Whether the cluster shall be in the file.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
backup: {description: "Where the former file is kept", returned: when it was changed, type: str}
"""

import contextlib
import os
import tempfile
import time
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.yunkube import kubeconfig
from ansible.module_utils.yunkube.kubeconfig import KubeconfigError

LOCK_SECONDS = 10


def known_authorities(source: Path) -> set[str]:
    """Return the authorities of this cluster: of its kubeconfig and of the former ones that are kept beside it."""
    found = set()
    for path in [source, *source.parent.glob(f"{source.name}.*")]:
        with contextlib.suppress(OSError, KubeconfigError):
            found.add(kubeconfig.authority(kubeconfig.parse(path.read_text())))
    return found - {""}


def real_path(path: Path) -> Path:
    """Return the file behind a link, which stays; refuse a link of another user."""
    if path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid()):
        raise KubeconfigError("it is a link that another user made")
    return Path(os.path.realpath(path))


def make_folder(folder: Path) -> None:
    """Create what is missing, for its owner alone; leave what exists."""
    for missing in [one for one in (*reversed(folder.parents), folder) if not one.exists()]:
        missing.mkdir(mode=0o700)


@contextlib.contextmanager
def locked(path: Path) -> t.Iterator[None]:
    """Hold the lock that kubectl takes before it writes a kubeconfig."""
    lock = path.with_name(f"{path.name}.lock")
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise KubeconfigError(f"{lock} exists: kubectl is writing it, or was killed; remove it then") from None
            time.sleep(0.2)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def write(path: Path, text: str) -> None:
    """Replace the file in one step, readable to its owner alone."""
    owner = path.stat() if path.exists() else None
    number, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "w") as stream:
            stream.write(text)
            if owner and owner.st_uid != os.geteuid():
                os.fchown(number, owner.st_uid, owner.st_gid)
        Path(part).replace(path)
    finally:
        Path(part).unlink(missing_ok=True)


def keep(path: Path) -> Path:
    """Copy the file beside itself under a name with the time in it."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    numbers = (f"-{number}" if number else "" for number in range(1000))
    copy = next(one for one in (path.with_name(f"{path.name}.{stamp}{more}") for more in numbers) if not one.exists())
    with os.fdopen(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as stream:
        stream.write(path.read_bytes())
    return copy


def wanted(options: t.Mapping[str, t.Any], there: str | None) -> str | None:
    """Return the text that the file should have; None where there should be none."""
    source, name = Path(options["source"]), options["cluster"]
    known = known_authorities(source)
    if options["state"] == "absent":
        if there is None:
            return None
        before = kubeconfig.parse(there)
        after = kubeconfig.remove(before, name, known)
        return there if after == before else None if kubeconfig.is_empty(after) else kubeconfig.render(after)
    text = options["content"] or source.read_text()
    if not options["merge"]:
        return t.cast("str", text)
    before = kubeconfig.parse(there or "")
    after = kubeconfig.merge(before, kubeconfig.parse(text), name, known)
    return there if after == before else kubeconfig.render(after)


def bring(options: t.Mapping[str, t.Any], *, check_mode: bool) -> tuple[list[str], str]:
    """Bring the file to what is wanted; return what was done, in words, and where the former one is kept."""
    path = real_path(Path(options["path"]))
    if options["state"] == "present" and not check_mode:
        make_folder(path.parent)
    if not path.parent.exists():
        return ([f"write {path}"] if options["state"] == "present" else []), ""
    with contextlib.nullcontext() if check_mode else locked(path):
        there = path.read_text() if path.exists() else None
        text = wanted(options, there)
        if text == there:
            return [], ""
        action = f"merge cluster {options['cluster']} into" if options["merge"] else "write"
        words = f"{action} {path}" if text is not None else f"remove {path}"
        if options["state"] == "absent" and text is not None:
            words = f"remove cluster {options['cluster']} from {path}"
        if check_mode:
            return [words], ""
        copy = "" if there is None else str(keep(path))
        if text is None:
            path.unlink()
        else:
            write(path, text)
    return [f"{words}; the former one is kept as {copy}" if copy else words], copy


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "cluster": {"type": "str", "required": True},
            "content": {"type": "str", "no_log": True},
            "source": {"type": "path", "required": True},
            "merge": {"type": "bool", "default": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    if not kubeconfig.HAS_YAML:
        module.fail_json(msg=missing_required_lib("PyYAML"))
    path = module.params["path"]
    try:
        changes, backup = bring(module.params, check_mode=module.check_mode)
    except KubeconfigError as error:
        remedy = "correct it, or name another file in master_kubeconfig"
        module.fail_json(msg=f"{path}: {error}; it was left as it is", remedy=remedy, kind="config")
    except (OSError, UnicodeDecodeError) as error:
        module.fail_json(msg=f"{path}: {getattr(error, 'strerror', None) or error}")
    module.exit_json(changed=bool(changes), changes=changes, backup=backup)


if __name__ == "__main__":
    main()
