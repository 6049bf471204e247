# SPDX-License-Identifier: Apache-2.0
"""Swap that was turned off for a cluster is on again once the cluster is removed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.teardown import host


def test_swap_that_fstab_does_not_name_is_on_again_with_its_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    on = ["/dev/vdb"]
    ran: list[list[str]] = []

    def swapon(argv: Sequence[str]) -> str:
        ran.append([*argv])
        on.append(argv[-1])
        return ""

    torn = host.Host.__new__(host.Host)
    monkeypatch.setattr(host_state, "swaps", lambda: list(on))
    monkeypatch.setattr(torn, "_run", lambda *_: on.append("/dev/vdc"), raising=False)  # fstab names this one
    torn.run_quietly = swapon
    torn.record = {"swaps": ["/dev/vdb", "/dev/vdc", "/dev/zram0", "/swapfile"]}
    torn.changes = {
        "fstab": [],
        "swaps": [["/dev/vdc", 5], ["/dev/zram0", 100], ["/swapfile", -2], ["/dev/later", -2]],
    }
    torn._bring_swap_back()
    assert ran == [["swapon", "--priority", "100", "/dev/zram0"], ["swapon", "/swapfile"]]
