"""What Ansible itself reads in an inventory, as JSON: `python ansible_inventory.py INVENTORY`, a question on stdin.

A process of its own, for Ansible is slow to import and reads its configuration while it is. The question is an object
with C(keys), the variables to tell, and C(extra), those of the command line. Of the answer, C(fixed) says whether it
follows from the files alone, so that it may be kept; C(unread) is why files were not read, C(error) and its C(key) why
nothing was.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import is_encrypted
from ansible.template import Templar
from ansible.utils.display import Display
from ansible.vars.manager import VariableManager

NAME_REFERENCE = re.compile(r"{{\s*cluster_name\s*}}")


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
        self.path = path
        loader = Loader()
        self.manager = InventoryManager(loader, [str(path)])
        manager = VariableManager(loader, self.manager)
        host = self.manager.get_host("localhost")
        self._extra = extra
        self._variables = manager.get_vars(host=host)
        self._templar = Templar(loader, variables=self._variables | dict(extra))

    @property
    def unread(self) -> list[str]:
        """Why Ansible could not read files of hosts: it warns, and goes on without them."""
        return [text for text in self.warnings if text.startswith("Failed to parse")]

    def value(self, key: str) -> tuple[Any, bool]:
        """Return a variable as a play sees it on localhost, and whether it is the same in every run."""
        raw = self._variables.get(key)
        if not _is_template(raw):
            return raw, True
        return None if key in self._extra else self._templar.template(raw), False

    def is_static(self) -> bool:
        """Say whether the hosts stand in files that nothing runs."""
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        return not any(_is_dynamic(file) for file in files if file.is_file())


def _is_template(raw: Any) -> bool:
    return isinstance(raw, str) and ("{{" in NAME_REFERENCE.sub("", raw) or "{%" in raw)


def _is_dynamic(file: Path) -> bool:
    if os.access(file, os.X_OK):
        return True
    text = file.read_text(encoding="utf-8", errors="replace")
    return text.startswith("#!") or bool(re.search(r"(?m)^plugin\s*:", text))


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
        "groups": {name: [host.name for host in group.get_hosts()] for name, group in inventory.manager.groups.items()},
        "unread": inventory.unread,
        "fixed": fixed,
    }


def main() -> None:
    """Answer the question on stdin."""
    question = json.load(sys.stdin)
    json.dump(answer(Path(sys.argv[1]), question["keys"], question["extra"]), sys.stdout, default=str)


if __name__ == "__main__":
    main()
