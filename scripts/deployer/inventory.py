# SPDX-License-Identifier: Apache-2.0
"""What an inventory says of the cluster: asked of Ansible, and kept for as long as the files are the same."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.yunkube.control import inventory_files, yaml_reader
from ansible.module_utils.yunkube.control.inventory_files import Entry, Inventory

from deployer.bundle import cache
from deployer.errors import DeployError
from deployer.stop import tied

ROOT = Path(__file__).absolute().parents[2]
READER = Path(__file__).with_name("ansible_inventory.py")

# Seconds that an inventory script or a plugin that asks a cloud may take; ours gives up by itself after two minutes.
PATIENCE = 180

# The variables that the command needs before a play runs.
KEYS = (
    "cluster_name", "cluster_provider", "cluster_state_dir", "cluster_registry_host", "cluster_registry_ca",
    "alicloud_hosts_masters", "alicloud_hosts_nodes",
)  # fmt: skip

FOLDERS = ("group_vars", "host_vars")


@dataclass(frozen=True)
class Answer:
    """What Ansible reads, as far as it is needed here."""

    variables: Mapping[str, Any]
    hosts: tuple[str, ...]


class Source:
    """An inventory's files."""

    def __init__(self, path: Path) -> None:
        """Take the file or the directory that -i names."""
        self.path = path

    def read(self, extra: Mapping[str, Any]) -> Answer:
        """Return what Ansible reads in them; C(extra) are the variables of the command line, which win."""
        note = cache_folder() / f"{_digest(str(self.path).encode())}.json"
        files = self._state()
        found = _kept(note, files)
        if found is None:
            found = self._ask(extra)
            if found["fixed"]:
                _keep(note, {"files": files, "answer": {**found, "unread": []}})
        variables = {key: value for key, value in found["variables"].items() if value is not None}
        return Answer(variables | dict(extra), tuple(found["groups"].get("all", [])))

    @cached_property
    def files(self) -> Inventory:
        """What the files say, with file and line of each key."""
        return inventory_files.read([self.path])

    def where(self, key: str) -> Entry | None:
        """Return where a key is set: for all hosts if it is, else for some."""
        return self.files.where(key)

    def place(self, key: str) -> str:
        """Return file and line of a key, or the file where it belongs."""
        if entry := self.where(key):
            return f"{shown(entry.file)}:{entry.line}"
        return shown((self.path if self.path.is_dir() else self.path.parent) / "group_vars/all/cluster.yml")

    @property
    def encrypted(self) -> list[str]:
        """The places of what ansible-vault wrote."""
        return [f"{shown(file)}:{line}" for file, line in self.files.encrypted]

    def problems(self) -> list[str]:
        """Return why Ansible cannot read a file, with file and line."""
        return [_fault(one, *one.value) for one in self.files.problems]

    def check(self, extra: Collection[str] = ()) -> None:
        """Refuse what Ansible meets only when a task needs it: files that are no YAML or no INI, and wrong templates.

        C(extra) are the names of the command line's variables.
        """
        if any(one.key in ("YAML", "INI") for one in self.files.problems):
            raise DeployError("\n".join(self.problems()))
        if lines := [*self._connection_faults(), *self._template_faults(set(extra))]:
            raise DeployError("\n".join(lines))

    def _connection_faults(self) -> list[str]:
        """Return why Ansible could not connect, before any check of a play is reached."""
        from ansible.module_utils.yunkube.control.config import check_connection  # noqa: PLC0415 - only runs need it

        return [_fault(one, *found) for one in self.files.entries for found in check_connection(one.key, one.value)]

    def _template_faults(self, known: set[str]) -> list[str]:
        """Return what is wrong with templates."""
        from ansible.module_utils.yunkube.control.shapes import is_template  # noqa: PLC0415 - only runs need it

        if not any(is_template(str(entry.value)) for entry in self.files.entries):
            return []
        # Slow to import, and most inventories have no template.
        from ansible.module_utils.yunkube.control.references import complaints  # noqa: PLC0415

        if not any(complaints(self.files, known)):
            return []
        options = inventory_files.role_options(ROOT / "roles")
        return sorted(_fault(*found) for found in complaints(self.files, known | set(options)))

    def everything(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Return C(hosts), with all variables of each, and C(groups); the inventory may be another project's."""
        return self._ask(extra, everything=True)

    def _ask(self, extra: Mapping[str, Any], *, everything: bool = False) -> dict[str, Any]:
        """Ask Ansible, which would wait for what a pipe never says."""
        for path in self._paths():
            if path.exists() and not (path.is_file() or path.is_dir()):
                hint = "remove it from the inventory: it cannot be read twice, and reading it may block"
                raise DeployError(f"{shown(path)}: is neither a file nor a directory", hint)
        # Its own configuration, whatever project this shell is set up for.
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
        question = json.dumps({"keys": KEYS, "everything": everything, "extra": dict(extra)}, default=str)
        with os.fdopen(os.memfd_create("answer"), "r", encoding="utf-8") as file:
            argv = [sys.executable, str(READER), str(self.path), str(file.fileno())]
            try:
                subprocess.run(
                    tied(argv, "KILL"), input=question, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                    encoding="utf-8", errors="backslashreplace", check=True, timeout=PATIENCE, env=environment,
                    cwd=ROOT, pass_fds=[file.fileno()],
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                hint = "try ansible-inventory --list -i with the same inventory"
                raise DeployError(f"{shown(self.path)}: could not be read within {PATIENCE} s", hint) from error
            except subprocess.CalledProcessError as error:
                raise DeployError(f"{shown(self.path)}: Ansible cannot read it: {reason_of(error.stderr)}") from error
            file.seek(0)
            found: dict[str, Any] = json.load(file)
        if "key" in found:
            raise DeployError(f"{self.place(found['key'])}: {found['key']}: {found['error']}")
        # Beside the hosts' file, others' directories hold what is none.
        unread = found.get("unread", []) if not everything or not found.get("hosts") else []
        if reasons := [found["error"]] if "error" in found else unread:
            raise DeployError("\n".join(self.problems() or [f"{shown(self.path)}: {line}" for line in reasons]))
        return found

    def _state(self) -> str:
        """Return a digest of all that the answer follows from."""
        plugins = os.environ.get("ANSIBLE_VARS_ENABLED", "")
        total = hashlib.sha256(f"{sys.prefix}\0{plugins}\0".encode() + READER.read_bytes())
        for file in self._paths():
            total.update(f"\0{file}\0".encode() + (file.read_bytes() if file.is_file() else b""))
        return total.hexdigest()

    def _paths(self) -> Iterator[Path]:
        if self.path.is_dir():
            yield from inventory_files.below(self.path)
            return
        yield self.path
        for folder in FOLDERS:
            yield from inventory_files.below(self.path.parent / folder)


def cache_folder() -> Path:
    """Return the directory where answers are kept, one for each inventory."""
    return cache() / "inventories"


def read_yaml(file: Path, loader: Any) -> Any:
    """Return what a YAML file holds, read by a loader of yaml_reader.py; what it refuses has file and line."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DeployError(f"{shown(file)}: is not UTF-8 text", "save it as UTF-8") from error
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader's child
    except yaml_reader.REFUSALS as error:
        line, problem = yaml_reader.why(error, text)
        place = f"{shown(file)}:{line}" if line else shown(file)
        raise DeployError(f"{place}: is not valid YAML: {problem}", "fix it at this line or just above") from error


def shown(path: Path) -> str:
    """Return a path as a person at this shell would type it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def reason_of(said: str) -> str:
    """Return why Ansible could not begin, in one line, with the variable of this shell that holds what it refuses."""
    line = (said.strip().splitlines() or ["no reason given"])[-1].strip()
    line = re.sub(r"^[\w.]+(Error|Exception): ", "", line)
    named = [name for name in os.environ if name in line]
    held = [name for name, value in os.environ.items() if name.startswith(("ANSIBLE_", "HOME")) and value in line]
    return line if named or not held else f"{held[0]}={os.environ[held[0]]}: {line}"


def _fault(entry: Entry, message: str, remedy: str) -> str:
    """Return what is wrong with an entry as a line."""
    return f"{shown(entry.file)}:{entry.line}: {entry.key}: {message}; {remedy}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _kept(note: Path, files: str) -> dict[str, Any] | None:
    try:
        kept: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
        answer: dict[str, Any] = kept["answer"]
        return answer if kept["files"] == files else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(note: Path, content: Mapping[str, Any]) -> None:
    """Write it, whole; where that cannot be done, Ansible is asked each time."""
    temporary = note.with_suffix(f".{os.getpid()}")
    try:
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(note)
    except OSError:
        temporary.unlink(missing_ok=True)
