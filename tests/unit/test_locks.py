# SPDX-License-Identifier: Apache-2.0
"""Every lock is whole: what a cluster of its release is made of is of that release, pinned, and at hand."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.yunkube.build.architectures import lock_for
from ansible.module_utils.yunkube.build.components import Builder
from ansible.module_utils.yunkube.build.debian_packages import package_sets, pins_of, read_pins
from ansible.module_utils.yunkube.control import locks
from lock_files import COMPONENTS, RELEASE, RELEASES

ROOT = COMPONENTS.parent
ARCHITECTURES = ("amd64", "arm64")
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")

pytestmark = pytest.mark.parametrize("release", RELEASES)


def lock_of(release: str) -> dict[str, Any]:
    """Return what the lock of a release says."""
    found: dict[str, Any] = yaml.safe_load(locks.file_of(COMPONENTS, release).read_text())
    return found


def part_of(release: str, name: str) -> dict[str, Any]:
    """Return a component of the lock."""
    return next(one for one in lock_of(release)["components"] if one["name"] == name)


def test_the_file_is_named_after_its_release(release: str) -> None:
    assert lock_of(release)["kubernetes"] == part_of(release, "kubernetes")["version"] == release
    assert RELEASE in RELEASES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_component_is_what_the_lock_says(release: str, architecture: str, tmp_path: Path) -> None:
    assert Builder(lock_for(lock_of(release), architecture), ROOT, tmp_path).faults() == []


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_package_is_pinned_with_what_it_needs(release: str, architecture: str) -> None:
    pins = read_pins(pins_of(locks.file_of(COMPONENTS, release), architecture))
    sets = package_sets(lock_for(lock_of(release), architecture))
    assert {wanted.name for wanted in sets} == set(pins)
    assert {package.architecture for packages in pins.values() for package in packages} == {architecture, "all"}
    for wanted in sets:
        assert set(wanted.wanted) <= {package.name for package in pins[wanted.name]}


def test_the_dates_of_support_follow_each_other(release: str) -> None:
    support = {key: dt.date.fromisoformat(day) for key, day in lock_of(release)["support"].items() if day}
    assert set(lock_of(release)["support"]) == {"released", "maintenance", "ends"}
    assert list(support.values()) == sorted(support.values())
    assert isinstance(lock_of(release)["cluster_tested"], bool)


def test_the_modules_of_kubernetes_are_those_of_the_release(release: str) -> None:
    module = (ROOT / part_of(release, "kubernetes")["directory"] / "go.mod").read_text()
    assert f"\nrequire k8s.io/kubernetes v{release}\n" in module
    staging = set(re.findall(r"(?m)^\tk8s\.io/\S+ => k8s\.io/\S+ (\S+)$", module))
    assert staging == {f"v0.{release.partition('.')[2]}"}


def test_programs_say_that_they_are_of_the_release(release: str) -> None:
    variables = part_of(release, "kubernetes")["variables"]
    major, minor, _patch = release.split(".")
    for values in variables.values():
        said = (values["gitVersion"], values["gitMajor"], values["gitMinor"], values["buildDate"])
        assert said == (f"v{release}", major, minor, lock_of(release)["date"])
    assert set(variables) == {"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"}


def test_images_of_the_control_plane_are_of_the_release(release: str) -> None:
    tags = dict(image["reference"].rsplit(":", 1) for image in lock_of(release)["images"])
    assert {name: tags[f"registry.k8s.io/{name}"] for name in CONTROL_PLANE} == dict.fromkeys(
        CONTROL_PLANE, f"v{release}"
    )


def test_downloads_are_of_the_version_that_is_built(release: str) -> None:
    for part in lock_of(release)["components"]:
        if part["name"] != "cni-flannel":  # whose releases are numbered after the plugins that it is for
            assert not part["origins"] or f"/v{part['version']}/" in str(part["origins"])


def test_locks_that_share_a_component_build_it_once(release: str) -> None:
    lock, default = lock_of(release), lock_of(RELEASE)
    assert [lock[key] for key in ("date", "toolchain", "cross")] == [
        default[key] for key in ("date", "toolchain", "cross")
    ]
    for part in default["components"]:
        other = part_of(release, part["name"])
        if other["version"] == part["version"]:
            assert {**other, "origins": {}} == {**part, "origins": {}}


def test_every_program_is_built_by_one_component(release: str) -> None:
    lock = lock_of(release)
    built = [program for part in lock["components"] for program in part["programs"]]
    placed = {file["program"] for file in lock["files"]} | set(lock["control"])
    placed |= {program for image in lock["images"] for program in image["programs"]}
    assert sorted(built) == sorted(set(built))
    assert placed == set(built)
