# SPDX-License-Identifier: Apache-2.0
"""What another project's inventory says, as Ansible reads it, and what of it cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from ansible.module_utils.yunkube.control import yaml_reader
from ansible.module_utils.yunkube.control.inventory_files import OPAQUE, Entry, below
from ansible.module_utils.yunkube.control.shapes import is_template

from deployer.errors import DeployError
from deployer.inventory import Source, read_yaml, shown
from deployer.peers import ALIASES, Json

# What Ansible would give a value of this machine to; several levels, for templates that go up some.
_ELSEWHERE = {name: f"/@{name}@" * 3 for name in ("playbook_dir", "ansible_playbook_python")}
_ENCRYPTED = b"$ANSIBLE_VAULT"


class Theirs:
    """An inventory of a peer."""

    def __init__(self, name: str, source: Path) -> None:
        """Read it."""
        self.name = name
        self.file, more = source, {}
        self._left: dict[str, str] = {}
        if name == "kubeasz" and source.is_dir():  # clusters/NAME: ezctl gives config.yml to every run
            self.file = source / "hosts"
            more = self._more(source / "config.yml")
        self._source = Source(self.file)
        found = self._source.everything({**more, **_ELSEWHERE})
        self.groups: Mapping[str, list[str]] = found["groups"]
        self._unread: list[str] = found["unread"]
        self._moved: dict[tuple[str, str], str] = {}
        self.hosts: dict[str, Json] = {host: self._known(host, given) for host, given in found["hosts"].items()}

    def _more(self, file: Path) -> Json:
        if not file.exists():
            return {}
        if file.read_bytes().startswith(_ENCRYPTED):
            self._left[shown(file)] = "is encrypted: none of its settings are imported"
            return {}
        content = read_yaml(file, yaml_reader.Loader)
        if content is not None and not isinstance(content, dict):
            kind = "a list" if isinstance(content, list) else "text"
            self._left[shown(file)] = f"is {kind}, not a dictionary: none of its settings are imported"
        return content if isinstance(content, dict) else {}

    def _known(self, host: str, given: Json) -> Json:
        """Return a host's variables by their names of today; what depends on the machine of their playbooks is None."""
        known: Json = {}
        for theirs, value in given.items():
            if theirs not in _ELSEWHERE:
                key, text = ALIASES.get(theirs, theirs), json.dumps(value)
                if moved := next((name for name in _ELSEWHERE if f"@{name}@" in text), ""):
                    self._moved[host, key] = moved
                known[key] = None if moved else value
        return known

    def _entry(self, key: str, host: str) -> Entry | None:
        names = [key, *(before for before, now in ALIASES.items() if now == key)]
        return next(filter(None, (self._source.files.of_host(name, host) for name in names)), None)

    def place(self, key: str, host: str) -> str:
        """Return where a host's variable stands, in brackets."""
        entry = self._entry(key, host)
        return f" ({shown(entry.file)}:{entry.line})" if entry else ""

    def why(self, key: str, host: str) -> str:
        """Return why a host's variable has no value here."""
        entry = self._entry(key, host)
        value = entry.value if entry else ""
        if moved := self._moved.get((host, key)):
            reason = f"is made of {moved}, which differs here"
        elif is_template(value):
            reason = "is a template that needs facts, a lookup or an encrypted value"
        elif entry and value is OPAQUE:
            reason = "is encrypted"
        elif entry and value is None:
            reason = "is empty"
        else:
            reason = "is empty or encrypted, or needs facts or a lookup"
        return f"{reason}{self.place(key, host)}"

    def not_read(self) -> dict[str, str]:
        """Return the files that nothing was taken from, and what Ansible leaves out with a warning, with the reason."""
        encrypted = {shown(file): "is encrypted: none of its settings are imported" for file in self._encrypted()}
        return {**self._left, **encrypted, **self._refused()}

    def _refused(self) -> dict[str, str]:
        refused: dict[str, str] = {}
        for problem in self._source.files.problems:
            place = f"{shown(problem.file)}:{problem.line}"
            if problem.key in ("YAML", "INI"):  # of a file that is no inventory, perhaps: told once
                if self._unread and not any(name.startswith(f"{shown(problem.file)}:") for name in refused):
                    refused[place] = str(problem.value[0])
            elif problem.key in ("hosts", "children") or problem.key.startswith(("host ", "group ")):
                refused[f"{place}: {problem.key}"] = str(problem.value[0])
        return refused

    def _encrypted(self) -> Iterator[Path]:
        folder = self.file if self.file.is_dir() else self.file.parent
        places = [folder] if self.file.is_dir() else [folder / "group_vars", folder / "host_vars"]
        for file in sorted({self.file, *(inner for place in places for inner in below(place))}):
            if file.is_file():
                with file.open("rb") as stream:
                    if stream.read(len(_ENCRYPTED)) == _ENCRYPTED:
                        yield file

    def without_masters(self, groups: str) -> DeployError:
        """Return the error that it has no host in any of these groups."""
        said = f"{shown(self.file)}: has no host in {groups}"
        if reasons := [f"{place}: {reason}" for place, reason in self._refused().items()]:
            return DeployError("\n".join([said, *reasons]), "fix that in a copy, and import the copy")
        if encrypted := [shown(file) for file in self._encrypted()]:
            hint = "import a copy of the inventory that ansible-vault has decrypted"
            return DeployError(f"{said}, and {', '.join(encrypted)} is encrypted", hint)
        return DeployError(said, f"is it an inventory of {self.name}?")
