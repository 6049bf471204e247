# SPDX-License-Identifier: Apache-2.0
"""Hosts of each architecture get what was built for it, and a cluster of amd64 alone gets what it always got."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.build import architectures
from ansible.module_utils.yunkube.build.bundle import link_of
from ansible.module_utils.yunkube.build.components import Builder
from ansible.module_utils.yunkube.build.debian_packages import package_sets, pins_of
from ansible.module_utils.yunkube.build.tools import BuildError
from lock_files import LOCK_FILE
from role_values import Derived

ROOT = Path(__file__).resolve().parents[2]
LOCK: dict[str, t.Any] = yaml.safe_load(LOCK_FILE.read_text())
ARM = architectures.lock_for(LOCK, "arm64")


def test_the_lock_is_for_amd64_as_it_stands() -> None:
    assert architectures.lock_for(LOCK, "amd64") is LOCK
    assert architectures.go_environment("amd64", None) == {}
    assert "sysroot" not in [one.name for one in package_sets(LOCK)]
    assert pins_of(LOCK_FILE) == LOCK_FILE.with_suffix(".packages")


def test_an_architecture_that_the_lock_lacks_is_refused() -> None:
    with pytest.raises(BuildError, match="has nothing for riscv64, only for amd64, arm64"):
        architectures.lock_for(LOCK, "riscv64")


def test_pythons_packages_are_the_same_versions_on_both() -> None:
    amd64, arm64 = (
        [line.split()[0] for line in (ROOT / part["directory"] / "requirements.txt").read_text().splitlines()[1:]]
        for lock in (LOCK, ARM)
        for part in lock["components"]
        if part["name"] == "kube-web-view"
    )
    assert amd64 == arm64


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_hosts_look_for_the_bundle_where_the_build_links_it(architecture: str, tmp_path: Path) -> None:
    values = {"cluster_lock_file": str(LOCK_FILE), "cluster_architecture": architecture}
    derived = Derived(values, cluster=("cluster_bundle_id", "__cluster_pins"))
    assert derived.text("{{ cluster_bundle_id }}") == link_of(tmp_path, LOCK_FILE, architecture).name


def test_an_image_says_what_it_is_for(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_text("pause")
    image = {"reference": "registry.k8s.io/pause:3", "programs": {"pause": "/pause"}}
    folders = []
    for lock in (LOCK, ARM):
        builder = Builder(lock, ROOT, tmp_path / "cache")
        folder = builder.image(image, {"pause": program})
        folders.append(folder)
        with tarfile.open(folder / "image.tar") as tar:
            (entry,) = member(tar, "index.json")["manifests"]
            manifest = member(tar, blob(entry))
            config = member(tar, blob(manifest["config"]))
        assert entry["platform"]["architecture"] == config["architecture"] == lock["architecture"]
    assert folders[0] != folders[1]


def member(tar: tarfile.TarFile, name: str) -> dict[str, t.Any]:
    """Return what a JSON file of an archive says."""
    return dict(json.loads(t.cast("t.IO[bytes]", tar.extractfile(name)).read()))


def blob(descriptor: dict[str, t.Any]) -> str:
    """Return where an archive has what a descriptor names."""
    return "blobs/" + str(descriptor["digest"]).replace(":", "/")


def test_the_same_source_is_another_result_for_another_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(Builder, "_build_go", lambda self, *_: made.append(str(self.lock["architecture"])))
    part = next(one for one in LOCK["components"] if one["name"] == "probe")
    folders = {Builder(lock, ROOT, tmp_path / "cache").component(part) for lock in (LOCK, ARM, LOCK)}
    assert made == ["amd64", "arm64"]
    assert len(folders) == 2


def test_a_machine_whose_compilers_make_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    architectures.check_machine()
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(BuildError, match="this one is aarch64"):
        architectures.check_machine()


STUB = """
import json
import os
from ansible.module_utils.basic import AnsibleModule
spec = {"run": {"type": "int"}, "hosts": {"type": "list"}, "architectures": {"type": "list"}}
module = AnsibleModule(argument_spec=spec)
with open(os.environ["TOLD"], "w") as file:
    json.dump(module.params["architectures"], file)
module.exit_json(changed=False)
"""
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - bundle_build:
"""


@pytest.mark.parametrize(
    ("inventory", "told"),
    [
        ({"masters": {"hosts": {"a": {}}}, "nodes": {"hosts": {"b": {}}}}, ["amd64"]),
        (
            {"masters": {"hosts": {"a": {}}}, "nodes": {"hosts": {"b": {"cluster_architecture": "arm64"}}}},
            ["amd64", "arm64"],
        ),
        ({"vars": {"cluster_architecture": "arm64"}, "masters": {"hosts": {"a": {}}}}, ["arm64"]),
        ({"masters": {"hosts": {"a": {}}}, "others": {"hosts": {"x": {"cluster_architecture": "arm64"}}}}, ["amd64"]),
    ],
    ids=["amd64", "mixed", "arm64", "hosts of other groups"],
)
def test_only_what_the_hosts_of_the_cluster_are_is_built(
    inventory: dict[str, t.Any], told: list[str], tmp_path: Path
) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library/bundle_build.py").write_text(f"#!/usr/bin/python\n{STUB}")
    (tmp_path / "play.yml").write_text(PLAY)
    groups = {name: about for name, about in inventory.items() if name != "vars"}
    (tmp_path / "hosts.yml").write_text(
        yaml.safe_dump({"all": {"children": groups, "vars": inventory.get("vars", {})}})
    )
    environment = os.environ | {"ANSIBLE_LIBRARY": f"{tmp_path}/library", "TOLD": f"{tmp_path}/told"}
    argv = [sys.executable, "-m", "ansible", "playbook", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml")]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "told").read_text()) == told
