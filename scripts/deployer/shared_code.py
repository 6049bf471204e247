"""The code of the modules, for use in this process where it is not needed by every verb."""

from __future__ import annotations

import importlib
from types import ModuleType


def shared(name: str) -> ModuleType:
    """Return a file of module_utils/yunkube."""
    return importlib.import_module(f"ansible.module_utils.yunkube.{name}")
