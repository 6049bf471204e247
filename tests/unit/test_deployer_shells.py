# SPDX-License-Identifier: Apache-2.0
"""The command works in whatever shell it is started: time zone, locale, mask, user, proxy, Ansible's settings."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
from pathlib import Path

import ansible
import pytest
from deployer.settings import NOT_OF_THE_SHELL

ROOT = Path(__file__).parents[2]
ANSIBLE = Path(ansible.__file__).parent
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
    assert (done.returncode, "cluster prod does not exist yet" in done.stderr) == (3, True), done.stderr


# Each broke a run, or let it do something else than this project's ansible.cfg says.
FOREIGN_SETTINGS = {
    "ANSIBLE_GATHERING": "explicit",
    "ANSIBLE_STDOUT_CALLBACK": "json",
    "ANSIBLE_CALLBACKS_ENABLED": "nosuch",
    "ANSIBLE_STRATEGY": "nosuch",
    "ANSIBLE_ROLES_PATH": "/nonexistent",
    "ANSIBLE_LIBRARY": "/nonexistent",
    "ANSIBLE_MODULE_UTILS": "/nonexistent",
    "ANSIBLE_ACTION_PLUGINS": "/nonexistent",
    "ANSIBLE_LOOKUP_PLUGINS": "/nonexistent",
    "ANSIBLE_FILTER_PLUGINS": "/nonexistent",
    "ANSIBLE_INVENTORY_ENABLED": "ini",
    "ANSIBLE_INVENTORY_IGNORE": ".yml",
    "ANSIBLE_YAML_FILENAME_EXT": ".none",
    "ANSIBLE_HASH_BEHAVIOUR": "merge",
    "ANSIBLE_ERROR_ON_UNDEFINED_VARS": "false",
    "ANSIBLE_RUN_TAGS": "none",
    "ANSIBLE_NO_LOG": "true",
    "ANSIBLE_DISPLAY_FAILED_STDERR": "true",
    "ANSIBLE_CACHE_PLUGIN": "jsonfile",
    "ANSIBLE_JINJA2_EXTENSIONS": "nosuch",
}


def test_settings_of_the_shell_for_other_projects_do_not_count(folder: Path) -> None:
    done = run(folder, FOREIGN_SETTINGS, "plan")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "cluster.yml:4: cluster_pod_cdir: unknown key; did you mean cluster_pod_cidr?" in done.stderr


def test_every_setting_of_the_table_is_one_of_ansible() -> None:
    known = "".join(path.read_text(encoding="utf-8") for path in ANSIBLE.rglob("*.yml"))
    known += "".join(path.read_text(encoding="utf-8") for path in (ANSIBLE / "plugins").rglob("*.py"))
    for name in NOT_OF_THE_SHELL:
        assert name in known


def test_every_place_that_the_configuration_names_is_the_projects_own() -> None:
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "ansible.cfg")
    places = {f"ANSIBLE_{key.upper()}" for key, value in configuration["defaults"].items() if (ROOT / value).is_dir()}
    assert {"ANSIBLE_LIBRARY", "ANSIBLE_CALLBACK_PLUGINS"} <= places
    assert places - {*NOT_OF_THE_SHELL} == set()


@pytest.mark.parametrize(
    "shell",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}],
    ids=["ascii", "POSIX", "UTF-8"],
)
def test_a_name_that_the_terminal_cannot_show_is_no_traceback(folder: Path, shell: dict[str, str]) -> None:
    settings = folder / "group_vars/all/cluster.yml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("cdir", "cidr"), encoding="utf-8")
    hosts = json.dumps(HOSTS).replace("master1", "n\u0153ud1").replace('"192.0.2.11"', '"127.0.0.1", "ansible_port": 1')
    (folder / "hosts.yml").write_text(hosts, encoding="utf-8")
    done = run(folder, shell, "verify")
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    assert ("n\\u0153ud1" if shell else "n\u0153ud1") in said
