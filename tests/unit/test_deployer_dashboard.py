# SPDX-License-Identifier: Apache-2.0
"""The dashboard login has read-only rights by default, and a CA that is not the cluster's."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from deployer.arguments import parse
from deployer.cluster import Cluster
from deployer.commands.dashboard import show_dashboard
from deployer.inventory import Source

KUBECTL = """#!/bin/sh
echo "$*" >> "{folder}/asked"
case "$*" in
  "get service "*) cat "{folder}/service" ;;
  "get secret dashboard-tls "*) cat "{folder}/tls" ;;
  "create token "*) echo "token-of-$3" ;;
esac
"""


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """A cluster whose kubectl answers for a dashboard with tokens."""
    notes = {"yunkube/address": "https://10.0.0.1:30443/", "yunkube/login": "token"}
    (tmp_path / "service").write_text(json.dumps({"metadata": {"annotations": notes}}))
    (tmp_path / "tls").write_text(json.dumps({"data": {"ca.crt": encoded("the dashboard's\n")}}))
    authority = {"certificate-authority-data": encoded("the cluster's\n")}
    (tmp_path / "kubeconfig").write_text(json.dumps({"clusters": [{"cluster": authority}]}))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/kubectl").write_text(KUBECTL.format(folder=tmp_path))
    (tmp_path / "bin/kubectl").chmod(0o755)
    return Cluster("test", Source(tmp_path), tmp_path)


def told(cluster: Cluster, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    """Return what the command says."""
    assert show_dashboard(cluster, parse(["dashboard", "--json", *options])) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("options", "account"),
    [((), "dashboard-viewer"), (("--viewer",), "dashboard-viewer"), (("--admin",), "dashboard-admin")],
)
def test_a_token_of_all_rights_is_for_those_who_ask_for_it(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], account: str
) -> None:
    found = told(cluster, capsys, *options)
    assert (found["account"], found["token"]) == (account, f"token-of-{account}")


def test_browsers_get_an_authority_of_the_dashboard_and_never_the_clusters(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Path(told(cluster, capsys)["authority"]).read_text() == "the dashboard's\n"
    (cluster.state_dir / "tls").write_text(json.dumps({"data": {"ca.crt": encoded("the cluster's\n")}}))
    assert "authority" not in told(cluster, capsys)
