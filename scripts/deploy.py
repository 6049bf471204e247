#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Yunkube's command: `./scripts/deploy.py --help`.

Works on a fresh checkout: when the virtual environment is missing or of another lock file,
`scripts/setup` makes it first, and this file starts itself again inside.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parent.parent
VENV = ROOT / ".venv"


def environment_is_current() -> bool:
    """Say whether .venv is whole and made from this checkout's requirements.lock."""
    digest = hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()[:16]
    return VENV.resolve().name.startswith(f"{digest}-") and (VENV / "complete").exists()


def enter_environment() -> None:
    """Start this file again with the virtual environment's Python, unless it runs there."""
    if not environment_is_current():
        # To stderr: stdout belongs to --json.
        code = subprocess.call([ROOT / "scripts" / "setup"], stdout=sys.stderr)
        if code:
            sys.exit(code)
    if Path(sys.prefix).resolve() != VENV.resolve():
        python = str(VENV / "bin" / "python")
        os.execv(python, [python, str(Path(__file__).absolute()), *sys.argv[1:]])  # noqa: S606 - no shell is needed


if __name__ == "__main__":
    enter_environment()
    from deployer.cli import main

    sys.exit(main(sys.argv[1:]))
