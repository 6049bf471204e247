# SPDX-License-Identifier: Apache-2.0
"""Let tests import what Ansible would put beside a module: `ansible.module_utils.yunkube`."""

from __future__ import annotations

import runpy
from pathlib import Path

# library/, scripts/ and tests/support/ come by `pythonpath` in pyproject.toml.
runpy.run_path(str(Path(__file__).resolve().parents[1] / "plugins/rooms.py"))
