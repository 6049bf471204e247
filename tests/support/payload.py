# SPDX-License-Identifier: Apache-2.0
"""Print, as JSON, the files of ours that Ansible packs with modules: {module: files}.

In a process of its own: Ansible's loader changes how Python imports. Arguments are files of modules.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import sys
import zipfile
from pathlib import Path

from ansible._internal._ansiballz import _builder
from ansible.executor.module_common import recursive_finder
from ansible.plugins.loader import init_plugin_loader, module_utils_loader


def packed(module: Path) -> list[str]:
    """Return which files of ours travel with a module."""
    extensions = _builder.ExtensionManager.create(task_vars={})
    with zipfile.ZipFile(io.BytesIO(), "w") as payload:
        now = dt.datetime.now(dt.UTC)
        recursive_finder(module.stem, f"ansible.legacy.{module.stem}", module.read_bytes(), payload, now, extensions)
        return sorted(name.partition("yunkube/")[2] for name in payload.namelist() if "/yunkube/" in name)


if __name__ == "__main__":
    init_plugin_loader()
    module_utils_loader.add_directory(str(Path(__file__).resolve().parents[2] / "module_utils"))
    json.dump({Path(name).stem: packed(Path(name)) for name in sys.argv[1:]}, sys.stdout)
