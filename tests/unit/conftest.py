"""Let tests import what Ansible would put beside a module: `ansible.module_utils.yunkube`."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ROOT = Path(__file__).resolve().parents[2]

# library/ and scripts/ come by `pythonpath` in pyproject.toml.
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
