# SPDX-License-Identifier: Apache-2.0
"""A release is one commit and one tag, and nothing where something is wrong."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A verb.\n\n## [0.1.0] - 2026-01-01\n\n- All.\n"


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "0.1.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "A person"), ("user.email", "person@example.com")):
        git(tmp_path, "config", key, value)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "Begin")
    return tmp_path


def release(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts/release.py", *arguments], cwd=project, capture_output=True, text=True, check=False
    )


def test_a_release_is_a_commit_and_a_tag_with_its_notes(project: Path) -> None:
    done = release(project, "0.2.0")
    assert done.returncode == 0, done.stderr
    assert 'version = "0.2.0"' in (project / "pyproject.toml").read_text()
    changelog = (project / "CHANGELOG.md").read_text()
    assert changelog.index("## [Unreleased]\n\n## [0.2.0] - ") < changelog.index("- A verb.")
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "log", "--format=%s").splitlines() == ["Release 0.2.0", "Begin"]
    assert git(project, "tag", "--list", "--format=%(contents)") == "Yunkube 0.2.0\n\n### Added\n\n- A verb.\n\n"
    again = release(project, "0.3.0")
    assert again.returncode == 2
    assert "nothing under [Unreleased]" in again.stderr


@pytest.mark.parametrize(
    ("version", "words"), [("1", "not a version"), ("0.1.0", "does not follow 0.1.0"), ("v0.2.0", "not a version")]
)
def test_a_wrong_version_is_refused(project: Path, version: str, words: str) -> None:
    done = release(project, version)
    assert done.returncode == 2
    assert words in done.stderr
    assert git(project, "status", "--porcelain") == ""


def test_all_reasons_are_given_at_once_and_nothing_is_changed(project: Path) -> None:
    git(project, "tag", "v0.2.0")
    (project / "CHANGELOG.md").write_text(CHANGELOG.replace("### Added\n\n- A verb.\n\n", ""))
    done = release(project, "0.2.0")
    assert done.returncode == 2
    assert [word in done.stderr for word in ("[Unreleased]", "tag v0.2.0 already", "not committed")] == [True] * 3
    assert git(project, "log", "--format=%s").splitlines() == ["Begin"]
