# SPDX-License-Identifier: Apache-2.0
"""Nothing gets into the virtual environment whose hash is not in the lock, build tools included."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()


def test_every_package_has_a_hash() -> None:
    packages = re.split(r"\n(?=[a-z])", LOCK)
    assert len(packages) > 50
    assert [one.partition(" ")[0] for one in packages if not re.search("--hash=sha256:[0-9a-f]{64}", one)] == []


def test_what_is_built_is_built_with_the_setuptools_of_the_lock() -> None:
    script = (ROOT / "scripts/setup").read_text()
    assert "--require-hashes" in script
    installs = re.findall(r'(?m)^  "\$\{install\[@\]\}" (.*)$', script)
    assert [words.split()[0] for words in installs] == ["--only-binary=:all:", "--no-build-isolation"]
    (extract,) = re.findall(r"(?m)^  (sed .*) >", script)
    first = subprocess.run(["bash", "-c", extract], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"setuptools==\S+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", first)
