# SPDX-License-Identifier: Apache-2.0
"""The execution environment of AWX and ansible-navigator has the packages of the lock, and no others."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "execution-environment.yml"
LOCK = ROOT / "requirements.lock"
REQUIREMENT = re.compile(r"(?m)^([a-z0-9.-]+)==(\S+)")
# What pyproject.toml asks for beside the development tools.
NEEDED = {
    "ansible-core",
    "ansible-runner",
    "footmark",
    "jinja2",
    "pyyaml",
    "rich",
    "ruamel-yaml",
    "shtab",
    "setuptools",
    "zstandard",
}


@pytest.fixture(scope="module")
def environment() -> Any:
    return yaml.safe_load(FILE.read_text())


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ansible-builder makes of it, without any network: the folder that an image is built of."""
    folder = tmp_path_factory.mktemp("context") / "context"
    argv = [str(ROOT / ".venv/bin/ansible-builder"), "create", "--file", str(FILE), "--context", str(folder)]
    done = subprocess.run(argv, cwd=folder.parent, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return folder


def recipe(context: Path) -> list[str]:
    """Return the lines of the Containerfile."""
    (path,) = [path for path in (context / "Containerfile", context / "Dockerfile") if path.exists()]
    return path.read_text().splitlines()


def test_ansible_builder_takes_it_and_ships_the_lock_as_it_is(context: Path) -> None:
    assert (context / "_build/lock/requirements.lock").read_text() == LOCK.read_text()
    assert "COPY _build/lock/requirements.lock /opt/yunkube/requirements.lock" in recipe(context)


def test_what_it_needs_is_in_the_lock(environment: Any) -> None:
    locked = dict(REQUIREMENT.findall(LOCK.read_text()))
    assert set(locked) >= NEEDED
    # Another version beside the lock's would win: so there is none.
    dependencies = environment["dependencies"]
    assert {"python", "ansible_core", "ansible_runner", "galaxy"} & set(dependencies) == set()
    assert "package_pip" not in environment["options"]["container_init"]
    project = (ROOT / "pyproject.toml").read_text()
    (runtime,) = re.findall(r"(?ms)^dependencies = \[(.*?)^\]", project)
    assert set(re.findall(r'"([a-z0-9-]+)', runtime)) == NEEDED


def test_every_package_is_installed_by_its_hash(context: Path) -> None:
    installs = [line for line in recipe(context) if "pip install" in line]
    # The builder's own tools are in the lock already, so pip finds them installed.
    (tools,) = [line for line in installs if "--require-hashes" not in line]
    assert set(tools.split("--no-cache-dir ")[1].split()) <= set(dict(REQUIREMENT.findall(LOCK.read_text())))
    mine = [line for line in installs if "--require-hashes" in line]
    assert [line.rpartition(" ")[2] for line in mine] == [
        "/opt/yunkube/build-tools.txt",
        "/opt/yunkube/requirements.lock",
    ]
    assert all("--no-deps" in line for line in mine)


def test_the_lock_is_of_the_python_that_the_image_has(environment: Any) -> None:
    assert environment["images"]["base_image"]["name"] == "docker.io/library/debian:12"
    assert environment["dependencies"]["python_interpreter"]["python_path"] == "/usr/bin/python3"  # 3.11
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text()


def test_what_a_build_of_the_bundle_needs_is_installed(environment: Any, context: Path) -> None:
    wanted = {line.split()[0] for line in environment["dependencies"]["system"]}
    lock = next((ROOT / "components").glob("kubernetes-*.yml"))
    assert set(yaml.safe_load(lock.read_text())["toolchain"]["c"]) <= wanted
    assert {"openssh-client", "debian-archive-keyring"} <= wanted
    assert {line.split()[0] for line in (context / "_build/bindep.txt").read_text().splitlines()} == wanted


def test_files_that_it_names_exist(environment: Any) -> None:
    assert [one["src"] for one in environment["additional_build_files"]] == ["requirements.lock"]
    assert [one["src"] for one in environment["additional_build_files"] if not (ROOT / one["src"]).exists()] == []
