# SPDX-License-Identifier: Apache-2.0
"""Let plugins import the rooms of module_utils/yunkube: each plugin that does so runs this file first.

Ansible packs module_utils for modules alone; what runs in its own process finds only Ansible's own
(https://github.com/ansible/ansible/issues/66402). Which plugin of ours comes first depends on the command: an inventory
in ansible-inventory, a callback in ansible-playbook, a lookup or an action in ansible and ansible-console.
"""

from pathlib import Path

import ansible.module_utils

FOLDER = str(Path(__file__).resolve().parents[1] / "module_utils")
if FOLDER not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(FOLDER)
