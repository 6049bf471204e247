# SPDX-License-Identifier: Apache-2.0
"""What Ansible itself reads in an inventory, as JSON: `python ansible_inventory.py INVENTORY DESCRIPTOR`.

The question is on stdin, and the answer goes to the descriptor: what Ansible prints is none.

A process of its own, for Ansible is slow to import and reads its configuration while it is. The question is an object
with C(keys), the variables to tell, and C(extra), those of the command line. Of the answer, C(fixed) says whether it
follows from the files alone, so that it may be kept; C(unread) is why files were not read, C(error) and its C(key) why
nothing was. With C(everything) in place of C(keys), the answer has C(hosts), all variables of each, as plays see them.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible import constants as C  # noqa: N812 - as Ansible calls it
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import EncryptedString, is_encrypted
from ansible.plugins.loader import init_plugin_loader, lookup_loader, vars_loader
from ansible.template import Templar
from ansible.utils.display import Display
from ansible.vars.manager import VariableManager

# What Ansible itself says of a host.
MAGIC = {
    "ansible_facts",
    "ansible_local",
    "group_names",
    "inventory_dir",
    "inventory_file",
    "inventory_hostname",
    "inventory_hostname_short",
}
# A file with settings of an inventory plugin has this word for a key.
PLUGIN = re.compile(r"\bplugin\b")
NAME_REFERENCE = re.compile(r"{{\s*cluster_name\s*}}")
UNDECRYPTABLE = "undecryptable"  # as Ansible calls what it has no password for
ENCRYPTED = "is encrypted, but deploy.py reads it without a password; store it as plain text"


class Loader(DataLoader):  # type: ignore[misc]
    """Reads encrypted files as empty: nothing that is asked for is a secret, and no password is needed."""

    def _decrypt_if_vault_data(self, b_data: bytes) -> tuple[bytes, bool]:
        return (b"{}", False) if is_encrypted(b_data) else (b_data, True)


class Inventory:
    """An inventory, read once."""

    def __init__(self, path: Path, extra: Mapping[str, Any]) -> None:
        """Read it; what Ansible warns of is kept."""
        self.warnings: list[str] = []
        Display.warning = lambda _, msg, **_options: self.warnings.append(str(msg))
        Display.error_as_warning = lambda _, msg, exception: self.warnings.append(f"{msg} {exception}")
        for name in C.VARIABLE_PLUGINS_ENABLED:
            if not vars_loader.get(name):
                raise AnsibleError(f"ANSIBLE_VARS_ENABLED: no such plugin: {name}")
        self.path = path
        loader = Loader()
        self.manager = InventoryManager(loader, [str(path)])
        manager = self._manager = VariableManager(loader, self.manager)
        self._loader = loader
        host = self.manager.get_host("localhost")
        self._extra = extra
        self._variables = manager.get_vars(host=host)
        self._templar = Templar(loader, variables=self._variables | dict(extra))

    @property
    def unread(self) -> list[str]:
        """Why Ansible could not read files of hosts: it warns, and goes on without them."""
        return [text for text in self.warnings if text.startswith("Failed to parse")]

    @property
    def groups(self) -> dict[str, list[str]]:
        """The names of each group's hosts."""
        return {name: [host.name for host in group.get_hosts()] for name, group in self.manager.groups.items()}

    def value(self, key: str) -> tuple[Any, bool]:
        """Return a variable as a play sees it on localhost, and whether it is the same in every run."""
        raw = self._variables.get(key)
        if isinstance(raw, EncryptedString) and key not in self._extra:
            raise AnsibleError(ENCRYPTED)
        if not _is_template(raw, key):
            return raw, True
        if key in self._extra:
            return None, False
        try:
            return self._templar.template(raw), False
        except AnsibleError as error:
            if UNDECRYPTABLE in str(error):
                raise AnsibleError(ENCRYPTED) from error
            raise

    def variables(self, host: str) -> dict[str, Any]:
        """Return what the inventory sets for a host; a value that cannot be told, being encrypted or so, is None."""
        found = self._manager.get_vars(host=self.manager.get_host(host), include_hostvars=True)
        templar = Templar(self._loader, variables=found | dict(self._extra))
        told: dict[str, Any] = {}
        of_ansible = {*self._manager.get_vars(), *MAGIC} - set(self._extra)
        for key, value in sorted((found | dict(self._extra)).items()):
            if key in of_ansible:
                continue
            try:
                told[key] = templar.template(value)
            except AnsibleError:
                told[key] = None
        return told

    def is_static(self) -> bool:
        """Say whether the hosts stand in files that nothing runs."""
        return not any(_is_dynamic(file) for file in _files(self.path))


def _files(path: Path) -> Iterator[Path]:
    """Yield the files that Ansible looks for hosts in, those in folders below as well."""
    if path.is_dir():
        for inner in path.iterdir():
            if inner.name not in ("group_vars", "host_vars"):
                yield from _files(inner)
    elif path.is_file():
        yield path


def _is_template(raw: Any, key: str) -> bool:
    """Say whether it must be filled in; the name in a state directory is filled in by who asks."""
    text = NAME_REFERENCE.sub("", raw) if isinstance(raw, str) and key == "cluster_state_dir" else raw
    return isinstance(text, str) and ("{{" in text or "{%" in text)


def _is_dynamic(file: Path) -> bool:
    if os.access(file, os.X_OK):
        return True
    text = file.read_text(encoding="utf-8", errors="replace")
    if text.startswith("#!"):
        return True
    if not PLUGIN.search(text):
        return False
    try:
        return "plugin" in yaml.safe_load(text)
    except (yaml.YAMLError, TypeError):
        return True  # Ansible may read more in it


def answer(path: Path, keys: Sequence[str], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is asked for, or what is wrong."""
    try:
        inventory = Inventory(path, extra)
        values, fixed = {}, inventory.is_static()
        for key in keys:
            try:
                values[key], same = inventory.value(key)
            except AnsibleError as error:
                return {"error": str(error), "key": key}
            fixed = fixed and same
    except AnsibleError as error:
        return {"error": str(error)}
    return {
        "variables": values,
        "groups": inventory.groups,
        "unread": inventory.unread,
        "fixed": fixed,
    }


def everything(path: Path, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return all hosts with their variables, or what is wrong; what a lookup would do is not done, for it may write."""
    lookup_loader.get = lambda *_arguments, **_options: None
    try:
        inventory = Inventory(path, extra)
        hosts = [host.name for host in inventory.manager.get_hosts()]
        variables = {host: inventory.variables(host) for host in hosts}
    except AnsibleError as error:
        return {"error": str(error)}
    return {"hosts": variables, "groups": inventory.groups, "unread": inventory.unread}


def main() -> None:
    """Answer the question on stdin."""
    question = json.load(sys.stdin)
    path, extra = Path(sys.argv[1]), question["extra"]
    init_plugin_loader()  # else the full names of Ansible's own plugins are unknown
    try:
        told = everything(path, extra) if question.get("everything") else answer(path, question["keys"], extra)
    except SystemExit as ended:  # our plugin for a cloud, which is not asked in vain
        told = {"error": str(ended).removeprefix("[ERROR]: ")}
    with os.fdopen(int(sys.argv[2]), "w", encoding="utf-8") as file:
        json.dump(told, file, default=str)


if __name__ == "__main__":
    main()
