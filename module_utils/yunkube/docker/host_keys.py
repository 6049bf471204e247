# SPDX-License-Identifier: Apache-2.0
"""The SSH keys of the hosts that Docker runs: one that opens all of them, the host key of each, and known_hosts."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.atomic_file import write_atomic

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# Path within the folder, and the comment that the key carries.
Keys = dict[str, str]

CLIENT = "id_ed25519"
HOSTS = "hosts"


def wanted_keys(hosts: t.Mapping[str, str]) -> Keys:
    """Return every key that there should be, with its comment."""
    return {CLIENT: "yunkube", **{f"{HOSTS}/{name}": name for name in hosts}}


def known_hosts(hosts: t.Mapping[str, str], public_keys: t.Mapping[str, str]) -> str:
    """Return the known_hosts file: one line a host, by address."""
    return "".join(f"{hosts[name]} {public_keys[name]}\n" for name in sorted(hosts))


def listing(directory: Path) -> str:
    """Return what a diff shows: the files, and known_hosts in full."""
    if not directory.is_dir():
        return ""
    names = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    known = directory / "known_hosts"
    return "".join(f"{name}\n" for name in names) + (known.read_text() if known.exists() else "")


class KeyFolder:
    """The folder as it is and what would make it as it should be."""

    def __init__(self, module: AnsibleModule, directory: Path) -> None:
        """Look at nothing yet."""
        self.module = module
        self.directory = directory
        self.changes: list[str] = []

    def absent(self) -> None:
        """Remove the folder."""
        if self.directory.exists():
            self._change(f"remove {self.directory}", lambda: shutil.rmtree(self.directory))

    def present(self, hosts: t.Mapping[str, str]) -> None:
        """Make what is missing and remove what is not wanted."""
        self._folder(self.directory)
        self._folder(self.directory / HOSTS)
        keys = wanted_keys(hosts)
        public = {name: self._key(self.directory / name, comment) for name, comment in keys.items()}
        self._text(
            self.directory / "known_hosts", known_hosts(hosts, {name: public[f"{HOSTS}/{name}"] for name in hosts})
        )

    def _change(self, words: str, action: t.Callable[[], object]) -> None:
        self.changes.append(words)
        if not self.module.check_mode:
            action()

    def _folder(self, path: Path) -> None:
        if not path.is_dir():
            self._change(f"create {path}", lambda: path.mkdir(mode=0o700, parents=True))
        else:
            self._mode(path, 0o700)

    def _mode(self, path: Path, mode: int) -> None:
        if path.stat().st_mode & 0o777 != mode:
            self._change(f"give {path} the mode {mode:04o}", lambda: path.chmod(mode))

    def _text(self, path: Path, text: str) -> None:
        if not path.exists() or path.read_text() != text:
            self._change(f"write {path}", lambda: write_atomic(path, text, 0o600))
        else:
            self._mode(path, 0o600)

    def _key(self, path: Path, comment: str) -> str:
        public = path.with_name(f"{path.name}.pub")
        if not path.exists():
            self._change(f"create the key {path}", lambda: self._generate(path, comment))
        elif not public.exists():
            self._change(f"write {public}", lambda: write_atomic(public, f"{self._public(path)}\n", 0o600))
        else:
            self._mode(path, 0o600)
        return public.read_text().strip() if public.exists() else f"(the key of {comment}, still to be created)"

    def _generate(self, path: Path, comment: str) -> None:
        part = path.with_name(f".{path.name}.{os.getpid()}")
        self._ssh_keygen("-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(part))
        # The private key last: where it is, its public half is too.
        part.with_name(f"{part.name}.pub").replace(path.with_name(f"{path.name}.pub"))
        part.replace(path)

    def _public(self, path: Path) -> str:
        return self._ssh_keygen("-y", "-f", str(path)).strip()

    def _ssh_keygen(self, *words: str) -> str:
        program = self.module.get_bin_path("ssh-keygen")
        if program is None:
            self.module.fail_json(msg="ssh-keygen is missing; install the package openssh-client", kind="preflight")
        code, out, err = self.module.run_command([program, *words])
        if code != 0:
            self.module.fail_json(
                msg=f"ssh-keygen failed on {words[-1]}: {err.strip()}; remove any file that is not a key"
            )
        return out
