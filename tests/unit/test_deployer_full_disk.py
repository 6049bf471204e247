# SPDX-License-Identifier: Apache-2.0
"""A full disk under the state directory hides nothing of what happens, and foreign names there are left alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import PATIENCE, PLAYBOOKS, Deploy, Result, environment


def on_a_disk_of(size: str, checkout: Path, playbook: str, *arguments: str) -> Result:
    """Run deploy.py with a file system of its own for the state directory, in a namespace of its own."""
    shutil.copy(PLAYBOOKS / f"{playbook}.yml", checkout / "site.yml")
    state = checkout.parent / "state"
    state.mkdir()
    command = f'mount -t tmpfs -o size={size} tmpfs "$1" && shift && exec "$@"'
    argv = ["unshare", "--mount", "--map-root-user", "sh", "-c", command, "sh", str(state)]
    argv += [sys.executable, str(checkout / "scripts/deploy.py"), *arguments]
    env = environment()
    done = subprocess.run(argv, cwd=checkout, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE)
    return Result(argv, done.returncode, done.stdout, done.stderr)


def test_a_run_does_not_begin_on_a_full_disk(checkout: Path, tmp_path: Path) -> None:
    result = on_a_disk_of("1m", checkout, "works", "up", "-e", f"x_file={tmp_path / 'written'}")
    assert result.returncode == 3
    assert "is full: 1 MiB are free, but a run needs 16" in result.stderr
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_disk_that_fills_up_hides_no_failure(checkout: Path, tmp_path: Path, form: list[str]) -> None:
    result = on_a_disk_of("24m", checkout, "fills", "up", *form, "-e", f"x_file={tmp_path}/state/fill")
    assert result.returncode == 3
    assert "a: Fail on the full disk failed" in result.stderr
    assert "this is the reason" in result.stderr
    assert result.stdout.count("some output could not be written to") == 1


def test_a_foreign_name_in_the_run_folder_is_left_alone(deploy: Deploy, tmp_path: Path) -> None:
    foreign = tmp_path / "state/run/lost+found"
    foreign.mkdir(parents=True)
    assert deploy("works", "up", "-e", f"x_file={tmp_path / 'written'}").returncode == 0
    assert foreign.exists()


def test_what_a_killed_run_left_in_memory_goes_with_the_next(
    deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "memory"
    (memory / "yunkube-run-999999999-x").mkdir(parents=True)
    (memory / "of-another").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(memory))
    assert deploy("works", "up", "-e", f"x_file={tmp_path / 'written'}").returncode == 0
    assert [path.name for path in memory.iterdir()] == ["of-another"]
