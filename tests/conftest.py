# SPDX-License-Identifier: Apache-2.0
"""Let tests import what Ansible would put beside a module: `ansible.module_utils.yunkube`."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# library/, scripts/ and tests/support/ come by `pythonpath` in pyproject.toml.
ansible.module_utils.__path__.append(str(Path(__file__).resolve().parents[1] / "module_utils"))
