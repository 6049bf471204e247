# SPDX-License-Identifier: Apache-2.0
"""kubectl reaches the cluster's API, whatever this shell is set up for."""

from __future__ import annotations

from pathlib import Path

import pytest
from deployer.cluster import Cluster
from deployer.inventory import Source
from deployer.kubectl import environment_of


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "10.77.0.11"), ({"NO_PROXY": "a,b"}, "a,b,10.77.0.11"), ({"no_proxy": "c"}, "c,10.77.0.11")],
    ids=str,
)
def test_no_proxy_stands_before_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: str
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    cluster = Cluster("test", Source(tmp_path), tmp_path)
    cluster.kubeconfig.write_text("clusters:\n- cluster:\n    server: https://10.77.0.11:6443\n  name: test\n")
    environment = environment_of(cluster)
    assert (environment["NO_PROXY"], environment["no_proxy"]) == (expected, expected)
    assert environment["KUBECONFIG"] == str(cluster.kubeconfig)
