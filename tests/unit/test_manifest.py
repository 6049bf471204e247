# SPDX-License-Identifier: Apache-2.0
"""What a host gets of the bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.yunkube.control.bundle_manifest import ManifestError, entry_of, read_manifest, select

BOTH = ["master", "node"]
ENTRIES = [
    {"name": "containerd", "kind": "runtime", "purpose": BOTH},
    {"name": "kubelet", "kind": "kubernetes", "purpose": BOTH},
    {"name": "kubectl", "kind": "kubernetes", "purpose": ["master"]},
    {"name": "socat-12", "kind": "package", "purpose": BOTH, "distribution": "debian12"},
    {"name": "socat-13", "kind": "package", "purpose": BOTH, "distribution": "debian13"},
    {"name": "registry", "kind": "image", "purpose": ["registry"]},
]


@pytest.mark.parametrize(
    ("kinds", "purposes", "distribution", "names"),
    [
        (["runtime"], ["node"], "", ["containerd"]),
        (["kubernetes"], ["node"], "", ["kubelet"]),
        (["kubernetes"], ["master"], "", ["kubelet", "kubectl"]),
        (["package"], ["node"], "debian13", ["socat-13"]),
        (["package"], ["node"], "ubuntu24", []),
        (["image"], ["node"], "", []),
        (["image"], ["node", "registry"], "", ["registry"]),
    ],
)
def test_a_host_gets_what_is_for_it(kinds: list[str], purposes: list[str], distribution: str, names: list[str]) -> None:
    assert [entry["name"] for entry in select(ENTRIES, purposes, distribution, kinds)] == names


def test_a_host_is_compared_with_all_that_is_for_it() -> None:
    assert [entry["name"] for entry in select(ENTRIES, ["node"], "debian12")] == ["containerd", "kubelet", "socat-12"]


def test_one_thing_of_the_bundle_is_found_by_its_name() -> None:
    entries = [{"kind": "cni", "name": "flannel"}, {"kind": "image", "name": "ghcr.io/flannel-io/flannel"}]
    assert entry_of(entries, "image", "flannel") is entries[1]
    with pytest.raises(ManifestError, match="the bundle has no image pause"):
        entry_of(entries, "image", "pause")


def test_a_missing_bundle_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"run `up` \(site\.yml\)"):
        read_manifest(str(tmp_path / "manifest.json"))
