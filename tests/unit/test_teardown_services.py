# SPDX-License-Identifier: Apache-2.0
"""How a teardown brings services of the host's own back, whose units the cluster's replaced."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.teardown import host

UNITS = {"containerd.service": "enabled", "registry.service": "disabled", "socat.service": "enabled"}
SERVICES = ["containerd.service", "kubelet.service", "registry.service", "socat.service"]
FORGET = f"reset-failed {' '.join(SERVICES)}"


@pytest.mark.parametrize(
    ("record", "asked"),
    [
        (
            {"units": UNITS, "active": ["containerd.service", "registry.service", "ssh.service"]},
            [
                "enable containerd.service",
                "start containerd.service",
                "start registry.service",
                "enable socat.service",
            ],
        ),
        # A record of an earlier release, which does not say what ran.
        ({"units": {"containerd.service": "enabled"}}, ["enable containerd.service"]),
        (None, []),
    ],
)
def test_a_service_is_enabled_and_started_again_as_it_was(record: dict[str, t.Any] | None, asked: list[str]) -> None:
    calls: list[str] = []

    def run_command(argv: list[str], **_more: t.Any) -> tuple[int, str, str]:
        calls.append(" ".join(argv[1:]))
        return 0, "", ""

    torn = host.Host.__new__(host.Host)
    torn.module = t.cast("t.Any", types.SimpleNamespace(run_command=run_command, get_bin_path=lambda name, **_: name))
    torn.record, torn.services = record, SERVICES
    torn._bring_services_back()
    assert calls == [FORGET, *asked]


def test_a_record_says_which_services_ran() -> None:
    def run(argv: t.Sequence[str]) -> str:
        if argv[:2] == ["systemctl", "list-units"] and "--state=active" in argv:
            return "ssh.service loaded active running OpenBSD server\ncron.service loaded active running x\n"
        return ""

    assert host_state.take(run, "prod")["active"] == ["cron.service", "ssh.service"]
