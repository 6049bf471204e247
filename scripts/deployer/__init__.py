# SPDX-License-Identifier: Apache-2.0
"""The command over Yunkube's playbooks: it runs them, shows what happens, and says what went wrong."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).resolve().parents[2] / "plugins/rooms.py"))
