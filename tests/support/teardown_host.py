# SPDX-License-Identifier: Apache-2.0
"""A module and a record of a host, for tests of the teardown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.yunkube.host import state as host_state

ID = "0123456789abcdef"


class Module:
    """What a host is asked through: it has no programs."""

    check_mode = True

    def __init__(self, **params: Any) -> None:
        """Take what the module was called with."""
        lists = ("services", "paths", "links", "chain_prefixes", "nft_tables", "shared_sysctls", "accept")
        self.params = {
            "cluster": "ours",
            "cluster_id": ID,
            "adopt": False,
            "force": False,
            **{key: [] for key in lists},
            **params,
        }

    def get_bin_path(self, _name: str) -> None:
        """Return that there is none."""


def record_of(cluster: str) -> host_state.Json:
    """Return a record of a host with nothing on it."""
    about = host_state.take(lambda _: "", cluster, ID, root=Path("/nowhere"))
    return {**about, "sysctls": {}}
