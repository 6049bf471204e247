# SPDX-License-Identifier: Apache-2.0
"""What systemd reports of the services of a host."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts, HostFacts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule


def state_of(host: HostFacts, unit: str) -> str:
    """Return what systemd reports of a unit."""
    found = host.units[unit]
    words = [f"{unit} is {found.get('ActiveState')} ({found.get('SubState')})"]
    if found.get("Result") not in ("success", "", None):
        words.append(f"last result {found['Result']}")
    if found.get("NRestarts") not in ("0", "", None):
        words.append(f"restarted {found['NRestarts']} times")
    return ", ".join(words)


def stopped(facts: Facts, unit: str) -> t.Iterator[Hit]:
    """Return hosts on which a unit does not run and systemd does not restart it."""
    for host in facts.reached:
        found = host.units.get(unit, {})
        if host.joined and found.get("ActiveState") in ("inactive", "deactivating"):
            yield Hit(host.host, [state_of(host, unit)], unit, {"unit": unit})


def disabled(facts: Facts) -> t.Iterator[Hit]:
    """Units that would not start after a reboot."""
    for host in facts.reached:
        for unit, found in host.units.items():
            if host.joined and found.get("UnitFileState") in ("disabled", "masked") and host.runs(unit):
                evidence = f"{unit} runs, but is {found['UnitFileState']}: it does not start at boot"
                yield Hit(host.host, [evidence], unit, {"unit": unit})


UNIT_DISABLED = Rule(
    "unit-disabled",
    title="A service is not enabled at boot",
    looks="Nothing yet; the service will be down after a reboot.",
    proof=disabled,
    remedy="systemctl enable {target} on {host}",
    severity="warning",
    repair="start_unit",
    safe=True,
    weight=0,
)
