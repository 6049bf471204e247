# SPDX-License-Identifier: Apache-2.0
"""The table of all rules: causes before what follows from them, symptoms last."""

from __future__ import annotations

from ansible.module_utils.yunkube.doctor.rule import Rule, in_order
from ansible.module_utils.yunkube.doctor.rules import (
    addons,
    admission,
    backup,
    cloud,
    cni,
    containerd,
    control_plane,
    data_plane,
    dns,
    flannel,
    host,
    images,
    join,
    keys,
    kubelet,
    network,
    node,
    objects,
    pod_network,
    pod_ranges,
    pods,
    services,
    settings,
    symptoms,
    units,
    workload,
)

# If neither follows from the other, the first one here is reported first, and explains what both explain.
AREAS = (
    join,
    host,
    settings,
    containerd,
    units,
    keys,
    kubelet,
    control_plane,
    objects,
    addons,
    admission,
    workload,
    network,
    flannel,
    cni,
    pod_ranges,
    pod_network,
    cloud,
    node,
    pods,
    images,
    dns,
    services,
    data_plane,
    backup,
    symptoms,
)
TABLE = in_order(rule for area in AREAS for rule in vars(area).values() if isinstance(rule, Rule))

# What is found where nothing else explains a symptom.
UNKNOWN = Rule(
    "unknown",
    title="Not healthy, cause unknown",
    looks="Something does not work, and no known fault explains it.",
    proof=lambda _facts: (),
    remedy="check the logs of what the evidence names",
)
BY_ID = {rule.id: rule for rule in (*TABLE, UNKNOWN)}
