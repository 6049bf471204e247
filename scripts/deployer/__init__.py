# SPDX-License-Identifier: Apache-2.0
"""The command over Yunkube's playbooks: it runs them, shows what happens, and says what went wrong."""

from pathlib import Path

import ansible.module_utils

MODULE_UTILS = str(Path(__file__).absolute().parents[2] / "module_utils")
if MODULE_UTILS not in ansible.module_utils.__path__:  # as Ansible lays them out beside a module
    ansible.module_utils.__path__.append(MODULE_UTILS)
