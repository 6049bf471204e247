# SPDX-License-Identifier: Apache-2.0
"""The measurements that README and docs/numbers.md quote; each one command, `bench/run NAME`."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).resolve().parents[2] / "plugins/rooms.py"))  # for those of tests/support
