# SPDX-License-Identifier: Apache-2.0
"""The CNI configuration and plugins of a host."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import NODE
from ansible.module_utils.yunkube.doctor.rules.flannel import FLANNEL_RESTART
from ansible.module_utils.yunkube.doctor.rules.pods import WAIT


def cni_config(facts: Facts) -> t.Iterator[Hit]:
    """Hosts whose first CNI configuration is missing or cannot be read."""
    for host in facts.reached:
        fresh = any(pod["age"] < WAIT and pod["problem"] for pod in facts.pods_on(host.name, "kube-flannel"))
        if not host.joined or fresh or not facts.cluster.node(host.name):
            continue
        first, found = next(iter(host.cni.items()), ("", {}))
        path = f"/etc/cni/net.d/{first or '10-flannel.conflist'}"
        if not first:
            yield Hit(host.host, ["/etc/cni/net.d holds no configuration"], path)
        elif found["problem"]:
            yield Hit(host.host, [f"{path} {found['problem']}"], path)


CNI_CONFIG_MISSING = Rule(
    "cni-config-missing",
    title="The CNI configuration is missing or broken",
    looks="The node turns NotReady: `cni plugin not initialized`.",
    proof=cni_config,
    remedy=FLANNEL_RESTART,
    before=NODE,
    repair="restart_flannel",
    safe=True,
)


def cni_plugins(facts: Facts) -> t.Iterator[Hit]:
    """Hosts without a plugin that their configuration names."""
    for host in facts.reached:
        wanted: list[str] = next((one["plugins"] for one in host.cni.values() if not one["problem"]), [])
        for name in dict.fromkeys(wanted):
            path = f"/opt/cni/bin/{name}"
            if path not in host.modes:
                yield Hit(host.host, [f"{path} is not there"], path)


CNI_PLUGIN_MISSING = Rule(
    "cni-plugin-missing",
    title="A CNI plugin is missing",
    looks="Pods stay in ContainerCreating: `failed to find plugin`.",
    proof=cni_plugins,
    remedy="{command} reinstalls it",
    call="up --limit {host}",
    before=NODE,
    repair="plugins",
    safe=True,
    weight=2,
)


def cni_modes(facts: Facts) -> t.Iterator[Hit]:
    """Hosts with plugins that are not executable."""
    for host in facts.reached:
        for path, mode in host.modes.items():
            if path.startswith("/opt/cni/bin/") and not int(mode, 8) & 0o100:
                yield Hit(host.host, [f"{path} has mode {mode}: it cannot be run"], path, {"path": path})


CNI_PLUGIN_MODE = Rule(
    "cni-plugin-mode",
    title="A CNI plugin is not executable",
    looks="Pods stay in ContainerCreating: `permission denied`.",
    proof=cni_modes,
    remedy="chmod 0755 {target} on {host}",
    before=NODE,
    repair="set_mode",
    safe=True,
)
