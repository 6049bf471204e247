"""The command works in whatever shell it is started: time zone, locale, mask, user, proxy, Ansible's settings."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOSTS = {"all": {"children": {"masters": {"hosts": {"master1": {"ansible_host": "192.0.2.11"}}}}}}
FOREIGN = (
    "[defaults]\nforks = none\nroles_path = /nonexistent\nlibrary = /nonexistent\ncallback_plugins = /nonexistent\n"
)
SHELLS = {
    "no locale": {"LC_ALL": "C"},
    "a locale that is not installed": {"LANG": "de_DE.UTF-8", "LC_ALL": ""},
    "eight hours ahead": {"TZ": "Asia/Shanghai"},
    "three hours and a half behind": {"TZ": "America/St_Johns"},
    "the configuration of another project": {"ANSIBLE_CONFIG": "foreign.cfg"},
    "a proxy that does not answer": {"HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"},
    "a mask": {"MASK": "077"},
    "a user without root": {"UNSHARE": "1"},
}


def run(folder: Path, shell: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run deploy.py in a shell."""
    # Nobody's root in a user namespace: the files are still readable, and nothing that needs root works.
    before = ["unshare", "--user", "--map-user=1000"] if shell.get("UNSHARE") else []
    return subprocess.run(
        [*before, ROOT / "scripts/deploy.py", arguments[0], "-i", folder, *arguments[1:]],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        umask=int(shell.get("MASK", "022"), 8),
        env={**os.environ, "XDG_CACHE_HOME": str(folder.parent / "cache"), **shell},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An inventory of another alphabet, with a key that is misspelt."""
    folder = tmp_path / "mine"
    (folder / "group_vars/all").mkdir(parents=True)
    (folder / "hosts.yml").write_text(json.dumps(HOSTS))
    settings = "cluster_name: prod\ncluster_provider: existing\nx_note: 集群\ncluster_pod_cdir: 10.244.0.0/16\n"
    (folder / "group_vars/all/cluster.yml").write_text(settings, encoding="utf-8")
    (tmp_path / "foreign.cfg").write_text(FOREIGN)
    return folder


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_a_misspelt_key_is_named_in_any_shell(folder: Path, shell: dict[str, str]) -> None:
    done = run(folder, shell, "plan")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "cluster.yml:4: cluster_pod_cdir: unknown key; did you mean cluster_pod_cidr?" in done.stdout + done.stderr


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_the_command_reads_the_inventory_in_any_shell(folder: Path, shell: dict[str, str]) -> None:
    file = folder / "group_vars/all/cluster.yml"
    file.write_text(file.read_text(encoding="utf-8").replace("cdir", "cidr"), encoding="utf-8")
    done = run(folder, shell, "kubectl", "--", "get", "nodes")
    assert (done.returncode, "there is no cluster prod yet" in done.stderr) == (3, True), done.stderr
