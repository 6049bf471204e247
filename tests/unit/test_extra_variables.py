# SPDX-License-Identifier: Apache-2.0
"""Variables of the command line are read as their keys' types, and checked like those of the inventory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.yunkube.control import spec_check
from ansible.module_utils.yunkube.control.cluster_rules import Cluster
from ansible.module_utils.yunkube.control.inventory_files import read, role_options
from checkout import play
from deployer.arguments import parse
from deployer.errors import DeployError

ROOT = Path(__file__).resolve().parents[2]


def variables(*extra: str) -> dict[str, Any]:
    """Return what `-e` comes to."""
    argv = [part for text in extra for part in ("-e", text)]
    return dict(parse(["plan", *argv]).extra_vars)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dashboard_tls=false", False),
        ("dashboard_tls=maybe", "maybe"),
        ("cluster_bundle_port=8800", 8800),
        ("cluster_kubernetes_version=1", "1"),
        ("cluster_name=true", "true"),
        ("node_taints=[]", []),
        ("x_mine=7", "7"),
    ],
)
def test_a_value_has_the_type_of_its_key(text: str, value: object) -> None:
    assert variables(text) == {text.partition("=")[0]: value}


def test_an_object_is_taken_as_ansible_takes_it() -> None:
    assert variables('{"dashboard_tls": false, "cluster_name": "a"}') == {"dashboard_tls": False, "cluster_name": "a"}
    with pytest.raises(DeployError, match="not valid JSON"):
        variables("{dashboard_tls: false}")


def faults(tmp_path: Path, **extra: Any) -> list[str]:
    """Return what is said of these variables."""
    inventory = read([tmp_path])
    inventory.extra = extra
    final = {key: value for key, value in extra.items() if key.startswith("cluster_")}
    given = Cluster({"cluster_pod_cidr": "10.244.0.0/16", **final}, written=set(extra))
    options = role_options(ROOT / "roles")
    found = spec_check.faults_of(inventory, options, given, tmp_path)
    return [str(fault) for fault in found if fault.file == "-e"]


def test_faults_of_the_command_line_blame_the_command_line(tmp_path: Path) -> None:
    assert faults(tmp_path, cluster_pod_cdir="10.9.0.0/16") == [
        "-e: cluster_pod_cdir: unknown key; did you mean cluster_pod_cidr?"
    ]
    [line] = faults(tmp_path, dashboard_tls="false")
    assert line.startswith('-e: dashboard_tls: wants true or false, not the string "false"; ')
    assert line.endswith("write it as JSON, such as -e '{\"dashboard_tls\": true}'")
    assert faults(tmp_path, prepare_host_swap="of") == [
        "-e: prepare_host_swap: of is not one of off, leave; did you mean off?"
    ]
    [line] = faults(tmp_path, cluster_service_cidr="10.244.1.0/24", cluster_name="a")
    assert line.startswith("-e: cluster_service_cidr: 10.244.1.0/24 overlaps cluster_pod_cidr 10.244.0.0/16; ")
    assert faults(tmp_path, x_mine=1, ansible_user="root", molecule_yml={}) == []


def test_a_plain_playbook_refuses_them_too(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: {children: {masters: {hosts: {m1: {ansible_host: 10.0.0.11}}}}}\n")
    extra = ["-e", "nonsense=1", "-e", "cluster_name=a", "-e", "cluster_provider=existing"]
    done = play(tmp_path / "hosts.yml", "site.yml", *extra)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "-e: nonsense: unknown key" in " ".join(done.stdout.split())
