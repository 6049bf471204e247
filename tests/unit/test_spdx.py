# SPDX-License-Identifier: Apache-2.0
"""Every file of ours that can hold a remark says its licence in one of its first three lines."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINE = "SPDX-License-Identifier: Apache-2.0"
WITH_REMARKS = {".bash", ".cfg", ".fish", ".py", ".pyi", ".sh", ".toml", ".yaml", ".yml", ".zsh"}
# Where one more line would change more than the file.
BESIDE = (
    "bench/floor.d/",  # what the floor puts on hosts
    "components/",  # its bytes name the bundle
    "roles/docker_hosts/files/",  # its bytes name the hosts' image
    "tests/support/playbooks/",  # tests name lines of it
    "tests/unit/data/",  # recorded
)


def wants_it(name: str, path: Path) -> bool:
    """Say whether a file is to have the line."""
    if name.startswith(BESIDE) or path.is_symlink() or not path.is_file() or not path.stat().st_size:
        return False
    return path.suffix in WITH_REMARKS or path.name == "Makefile" or path.read_bytes().startswith(b"#!")


def has_it(path: Path) -> bool:
    """Say whether a file has the line, as a remark of its own."""
    first = path.read_text().splitlines()[:3]
    return any(line.removesuffix(LINE).strip() in {"#", "//"} for line in first if line.endswith(LINE))


def test_every_file_of_ours_names_its_licence() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    ours = [name for name in listed.stdout.split("\0") if name and wants_it(name, ROOT / name)]
    assert len(ours) > 500
    assert [name for name in ours if not has_it(ROOT / name)] == []


def test_it_is_the_licence_of_the_project() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == LINE.rpartition(" ")[2]
    assert "Apache License" in (ROOT / "LICENSE").read_text().splitlines()[1]


@pytest.mark.parametrize(
    ("text", "has"),
    [
        (f"#!/usr/bin/python\n# {LINE}\n", True),
        (f"---\n# {LINE}\n", True),
        (f"\n\n\n# {LINE}\n", False),
        (f'"""{LINE}"""\n', False),
        (f"# {LINE.replace('Apache-2.0', 'MIT')}\n", False),
        (f"# {LINE}-only\n", False),
    ],
)
def test_the_line_is_a_remark_near_the_top(tmp_path: Path, text: str, has: bool) -> None:
    (tmp_path / "a.py").write_text(text)
    assert has_it(tmp_path / "a.py") is has
