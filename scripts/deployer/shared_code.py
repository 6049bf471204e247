"""The code of the modules, which Ansible packs for the hosts, for use in this process."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

MODULE_UTILS = str(Path(__file__).absolute().parents[2] / "module_utils")


def shared(name: str) -> ModuleType:
    """Return a file of module_utils/yunkube. Ansible's package is slow to import, and not every verb needs it."""
    import ansible.module_utils  # noqa: PLC0415

    if MODULE_UTILS not in ansible.module_utils.__path__:
        ansible.module_utils.__path__.append(MODULE_UTILS)
    return importlib.import_module(f"ansible.module_utils.yunkube.{name}")
