"""Files with plain manifests, read on the control machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from load_plugin import load_plugin

RC = "apiVersion: v1\nkind: ReplicationController\nmetadata: {name: web}\n"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
SHOP = {"name": "shop", "image": "shop:1"}


def resolved(base: Path, *paths: str) -> tuple[list[Any], list[Any]]:
    """Return the manifests and the faults of a service of these files, beside one that has none."""
    services, faults = load_plugin("action/web_services").resolve([SHOP, {"name": "web", "manifests": paths}], base)
    assert services[0] == SHOP
    assert "manifests" not in services[1]
    return services[1]["resources"], faults


def test_all_documents_of_all_files_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"---\n{RC}---\n{SERVICE}---\n")
    (tmp_path / "b.yaml").write_text(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}\n"
    )
    manifests, faults = resolved(tmp_path, "a.yaml", str(tmp_path / "b.yaml"))
    assert [manifest["kind"] for manifest in manifests] == ["ReplicationController", "Service", "Secret"]
    assert faults == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file"),
        ("a: [", "is no YAML"),
        ("kind: Pod\n", "document 1 is no manifest"),
        (f"{RC}---\n- a\n", "document 2 is no manifest"),
        ("---\n", "holds no manifest"),
        ("apiVersion: v1\nkind: Pod\nmetadata: web\n", "document 1 is no manifest"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 123}\n", "metadata.name 123 is no text: write it in quotes"),
    ],
)
def test_a_file_that_holds_none_is_named(tmp_path: Path, content: str | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "web.yaml").write_text(content)
    (fault,) = resolved(tmp_path, "web.yaml")[1]
    assert fault["host"] == "default/web"
    assert complaint in fault["message"]


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    assert len(resolved(tmp_path, "a.yaml", "b.yaml")[1]) == 2
