# SPDX-License-Identifier: Apache-2.0
"""A checkout of the test's own, in which deploy.py runs as a person runs it."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLAYBOOKS = ROOT / "tests" / "support" / "playbooks"

# A second or two each; a machine that builds beside it may take a hundred times as long.
PATIENCE = 300

# Of this process alone, and gone with it.
_CACHE = tempfile.mkdtemp(prefix="yunkube-tests-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

Result = subprocess.CompletedProcess[str]
Deploy = Callable[..., Result]


def make_checkout(folder: Path) -> Path:
    """Make a checkout with this project's scripts and configuration, and an inventory of its own."""
    checkout = folder / "checkout"
    all_hosts = checkout / "inventory" / "docker" / "group_vars" / "all"
    all_hosts.mkdir(parents=True)
    (checkout / "playbooks").mkdir()
    for name in ("scripts", "plugins/callback", "plugins/inventory", "plugins/lookup", "roles/cluster/defaults"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("ansible.cfg", "requirements.lock", "plugins/rooms.py"):
        shutil.copy(ROOT / name, checkout / name)
    (checkout / ".venv").symlink_to((ROOT / ".venv").resolve())
    (checkout / "module_utils").symlink_to(ROOT / "module_utils")
    shutil.copytree(PLAYBOOKS / "library", checkout / "library")
    shutil.copy(PLAYBOOKS / "hosts.yml", checkout / "inventory" / "docker")
    (all_hosts / "cluster.yml").write_text(
        f"cluster_name: test\ncluster_provider: existing\ncluster_state_dir: {folder}/state\n"
    )
    return checkout


def environment() -> dict[str, str]:
    """Return this process's environment without what would change Ansible."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return keep | {"XDG_CACHE_HOME": _CACHE, "PYTHONDONTWRITEBYTECODE": "1"}


def start(checkout: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """Start deploy.py, with some more environment variables."""
    return subprocess.Popen(
        [sys.executable, checkout / "scripts" / "deploy.py", *arguments],
        cwd=checkout,
        env=environment() | more,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(checkout: Path, *arguments: str, **more: str) -> Result:
    """Run deploy.py to its end."""
    with start(checkout, *arguments, **more) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    return Result(process.args, process.returncode, out, err)


def play(inventory: Path, playbook: str, *options: str) -> Result:
    """Run one of this project's playbooks as a person does who does not use deploy.py."""
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, *options, ROOT / playbook],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
