# SPDX-License-Identifier: Apache-2.0
# Ansible is published without types; what plugins of ours take from its top.
from typing import Any

constants: Any
context: Any
