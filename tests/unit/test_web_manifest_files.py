# SPDX-License-Identifier: Apache-2.0
"""Files with plain manifests, read on the control machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.yunkube.control import web_manifests
from ansible.module_utils.yunkube.result import Fault
from load_plugin import load_plugin

RC = "apiVersion: v1\nkind: ReplicationController\nmetadata: {name: web}\n"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
SHOP = {"name": "shop", "image": "shop:1"}


def resolved(base: Path, *paths: str) -> tuple[list[Any], list[Any]]:
    """Return the manifests and the faults of a service of these files, beside one that has none."""
    services, faults, _ = load_plugin("action/web_services").resolve([SHOP, {"name": "web", "manifests": paths}], base)
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
        ("a: [", "web.yaml:2: is not valid YAML"),
        ("a:\n\tb: c\n", "web.yaml:2: is not valid YAML"),
        ("kind: Pod\n", "web.yaml:1: is no manifest"),
        (f"{RC}---\n- a\n", "web.yaml:5: is no manifest"),
        ("---\n", "web.yaml: holds no manifest"),
        ("apiVersion: v1\nkind: Pod\nmetadata: web\n", "web.yaml:1: is no manifest"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 123}\n", "web.yaml:3: metadata.name 123 is no text"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 0}\n", "web.yaml:3: metadata.name 0 is no text"),
        ("apiVersion: v1\nkind: Pod  //one\nmetadata: {name: a}\n", 'web.yaml:2: kind is "Pod  //one"'),
        (f"{SERVICE}spec:\n  ports: [{{port: 1}}]\n  type: NodePort\n  ports: []\n", "web.yaml:7: ports is set twice"),
        (f"{SERVICE}spec: &a [*a]\n", "web.yaml:4: an alias is inside the value that it refers to"),
        (
            f"{SERVICE}spec: {{a: 2026-02-30}}\n",
            "web.yaml:4: is not valid YAML: 2026-02-30 is no timestamp: day is out",
        ),
        (f"{SERVICE}spec: {{a: !!bool b}}\n", "web.yaml:4: is not valid YAML: b is no bool"),
        (f"{SERVICE}spec: a\x07b\n", "web.yaml:4: is not valid YAML: holds a control character, U+0007"),
        (f"{SERVICE}spec: {'[' * 3000}{']' * 3000}\n", "web.yaml: is not valid YAML: is nested too deep"),
        ("apiVersion: v1\nkind: List\nitems:\n  a: b\n", "web.yaml:4: is no manifest"),
        (f"{SERVICE}spec: {{type: !mine x}}\n", "web.yaml:4: is not valid YAML: could not determine a constructor"),
    ],
)
def test_a_file_that_holds_none_is_named(tmp_path: Path, content: str | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "web.yaml").write_text(content)
    (fault,) = resolved(tmp_path, "web.yaml")[1]
    assert fault.host == "default/web"
    assert complaint in fault.message


def test_a_node_port_out_of_the_range_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    ports = "  ports:\n  - {port: 80, nodePort: 80}\n  - {port: 81, nodePort: 31111}\n  - {port: 82}\n"
    file.write_text(
        f"apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: Service, metadata: {{name: a}},\n"
        f"  spec: {{ports: [{{nodePort: 80}}]}}}}\n---\n{SERVICE}spec:\n{ports}"
    )
    documents, broken = web_manifests.read(file, range(30000, 32768))
    assert len(documents) == 2
    assert [(one.line, one.message) for one in broken] == [
        (5, "nodePort 80 is out of range"),
        (12, "nodePort 80 is out of range"),
    ]
    assert web_manifests.read(file, range(80, 32768))[1] == []


@pytest.mark.parametrize(
    ("path", "complaint"), [("a\0b", "embedded null"), ("~nobody-here/a", "No such file"), ("", "is no file")]
)
def test_a_path_that_no_file_has_is_named(tmp_path: Path, path: str, complaint: str) -> None:
    [fault] = resolved(tmp_path, path)[1]
    assert complaint in fault.message


def test_what_the_api_says_of_an_object_has_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{RC}---\n{SERVICE}")
    plugin = load_plugin("action/web_services")
    *_, origins = plugin.resolve([{"name": "web", "namespace": "shop", "manifests": ["a.yaml"]}], tmp_path)
    said = [
        "ReplicationController shop/web: the API server has no kind",
        "Service web: taken",
        "Pod web: is",
        "pod web-1 is",
    ]
    faults = [plugin.with_file(Fault("manifest", message, host="shop/web"), origins) for message in said]
    file = f"{tmp_path}/a.yaml: "
    assert [fault.message for fault in faults] == [f"{file}{said[0]}", f"{file}{said[1]}", *said[2:]]
    other = Fault("manifest", said[0], host="default/web")
    assert plugin.with_file(other, origins) == other


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    assert len(resolved(tmp_path, "a.yaml", "b.yaml")[1]) == 2
