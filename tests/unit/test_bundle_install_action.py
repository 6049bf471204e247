"""What a host gets of the bundle."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from load_plugin import load_plugin

BOTH = ["master", "node"]
ENTRIES = [
    {"name": "containerd", "kind": "runtime", "purpose": BOTH},
    {"name": "kubelet", "kind": "kubernetes", "purpose": BOTH},
    {"name": "kubectl", "kind": "kubernetes", "purpose": ["master"]},
    {"name": "socat-12", "kind": "package", "purpose": BOTH, "distribution": "debian12"},
    {"name": "socat-13", "kind": "package", "purpose": BOTH, "distribution": "debian13"},
]


@pytest.fixture(scope="module")
def plugin() -> t.Any:
    """The plugin, loaded as Ansible loads it: by its path."""
    return load_plugin("action/bundle_install")


@pytest.mark.parametrize(
    ("kinds", "purpose", "distribution", "names"),
    [
        (["runtime"], "node", "", ["containerd"]),
        (["kubernetes"], "node", "", ["kubelet"]),
        (["kubernetes"], "master", "", ["kubelet", "kubectl"]),
        (["package"], "node", "debian13", ["socat-13"]),
        (["package"], "node", "ubuntu24", []),
    ],
)
def test_a_host_gets_what_is_for_it(
    plugin: t.Any, kinds: list[str], purpose: str, distribution: str, names: list[str]
) -> None:
    assert [entry["name"] for entry in plugin.select(ENTRIES, kinds, purpose, distribution)] == names


def test_a_missing_bundle_is_said_with_what_to_do(plugin: t.Any, tmp_path: Path) -> None:
    with pytest.raises(plugin.AnsibleActionFail, match=r"run site\.yml"):
        plugin.manifest_of(str(tmp_path / "manifest.json"))
