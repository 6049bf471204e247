# SPDX-License-Identifier: Apache-2.0
"""Ports, sockets and terms that several rooms and roles share stand in one file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from ansible.module_utils.yunkube import constants
from ansible.plugins.loader import lookup_loader
from role_values import load_lookups

ROOT = Path(__file__).resolve().parents[2]
CONSTANTS = ROOT / "module_utils/yunkube/constants.py"
PORTS = [*constants.MASTER_PORTS, constants.VXLAN_PORT, constants.WIREGUARD_PORT, *constants.REGISTRY_PORTS]
# As a port is written: alone, after a colon, or as a range. EVENT_QUEUE_DEPTH of flannel is 5000, too.
COPY = re.compile(
    rf"(?<![\d.])(?:{'|'.join(map(str, PORTS))})(?!\d)(?=[/,:\]\s)'\"}}-]|$)|{constants.CONTAINERD_SOCKET}",
    re.MULTILINE,
)
FLANNEL_QUEUE = '{name: EVENT_QUEUE_DEPTH, value: "5000"}'
# A person reads these: what dropped packets look like, an example of an endpoint, the port of another project.
SAID = {"control/cluster_rules.py", "deployer/peers.py", "rules/network.py"}
TEMPLATES = [
    file
    for pattern in ("*.yml", "*.j2")
    for file in (*ROOT.glob(f"roles/**/{pattern}"), *ROOT.glob(f"playbooks/**/{pattern}"))
]
SOURCES = [
    file for folder in ("module_utils", "library", "plugins", "scripts") for file in ROOT.glob(f"{folder}/**/*.py")
]


def values(file: Path) -> list[str]:
    """Return the numbers and texts of a Python file, without its documentation."""
    tree = ast.parse(file.read_text())
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    documentation |= {
        id(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("DOCUMENTATION", "EXAMPLES", "RETURN")
    }
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in documentation]
    return [str(node.value) for node in found]


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_role_has_no_copy(file: Path) -> None:
    text = re.sub(r"(?m)(^|\s)#.*$", "", file.read_text()).replace(FLANNEL_QUEUE, "")
    assert COPY.findall(text) == []


def test_no_source_has_a_copy() -> None:
    copies = {
        "/".join(file.parts[-2:]): found
        for file in SOURCES
        if file != CONSTANTS and (found := [value for value in values(file) if COPY.search(value)])
    }
    assert set(copies) <= SAID, copies


def test_a_template_gets_the_value() -> None:
    load_lookups()
    lookup = lookup_loader.get("constant")
    assert lookup.run(["API_PORT"]) == [constants.API_PORT]
    assert lookup.run(["REGISTRY_PORTS"]) == [[*constants.REGISTRY_PORTS]]
    with pytest.raises(Exception, match="has no NOTHING"):
        lookup.run(["NOTHING"])
