# SPDX-License-Identifier: Apache-2.0
"""Network namespaces and packet filters of others: what looks like a pod's or a cluster's, and stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.teardown import filters, host


class Module:
    """What the teardown asks of Ansible, on a host without any of the programs."""

    params: dict[str, Any] = {"cluster": "ours", "cluster_id": "", "adopt": False, "force": False} | {
        name: [] for name in ("services", "paths", "links", "chain_prefixes", "nft_tables", "shared_sysctls", "accept")
    }

    def get_bin_path(self, *_: Any) -> None:
        """Begin with none."""


def test_a_network_in_which_something_runs_is_not_a_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "netns"
    folder.mkdir()
    monkeypatch.setattr(host, "NETWORKS", folder)
    before = host_state.take(lambda _: "", "ours", root=Path("/nowhere"))
    host_state.write_record({**before, "sysctls": {}})
    (folder / "cni-own").symlink_to("/proc/self/ns/net")  # of a container that was started after the record
    (folder / "cni-pod").touch()
    teardown = host.Host(Module())  # type: ignore[arg-type]
    teardown._remove_paths()
    assert [path.name for path in folder.iterdir()] == ["cni-own"]
    now = {**before, "files": {f"{folder}/cni-own": "444", f"{folder}/cni-left": "444"}}
    monkeypatch.setattr(host_state, "take", lambda *_: now)
    monkeypatch.setattr(host_state, "ALL_TREES", [(str(folder), 1)])
    host_state.write_record({**before, "trees": [[str(folder), 1]], "sysctls": {}})
    assert host.Host(Module()).audit() == [f"file {folder}/cni-left is left"]  # type: ignore[arg-type]


NFT: list[dict[str, Any]] = [
    {"metainfo": {}},
    {"table": {"family": "ip", "name": "filter"}},
    {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "hook": "input", "policy": "accept"}},
    {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "accept"}},
    {"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "expr": [{"accept": None}]}},
    {"table": {"family": "ip", "name": "nat"}},
    {"chain": {"family": "ip", "table": "nat", "name": "PREROUTING", "hook": "prerouting", "policy": "accept"}},
    {"table": {"family": "inet", "name": "own"}},
]


def test_empty_chains_and_tables_of_iptables_go_when_they_are_new() -> None:
    assert filters.nft_leftovers(NFT, []) == [
        ["delete", "chain", "ip", "filter", "FORWARD"],
        ["delete", "table", "ip", "nat"],
    ]
    assert filters.nft_leftovers(NFT, host_state.nft_lines(NFT)) == []
    dropping = [{"chain": {**NFT[6]["chain"], "policy": "drop"}}]
    assert filters.nft_leftovers([NFT[5], *dropping], []) == []
