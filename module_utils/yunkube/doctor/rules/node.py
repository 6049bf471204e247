# SPDX-License-Identifier: Apache-2.0
"""Nodes that accept no pods, or evict them."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import PODS


def cordoned(facts: Facts) -> t.Iterator[Hit]:
    """Nodes that accept no pods, and are not being removed."""
    for node in facts.cluster.nodes:
        if node["cordoned"] and not node["removing"]:
            yield Hit(node["name"], [f"node {node['name']}: unschedulable"], node["name"], {"node": node["name"]})


NODE_CORDONED = Rule(
    "node-cordoned",
    title="The node is cordoned",
    looks="It accepts no new pods; usually left over from maintenance.",
    proof=cordoned,
    remedy="{command}",
    call="kubectl -- uncordon {target}",
    severity="warning",
    before=PODS,
    scope="all",
    repair="uncordon",
    on_master=True,
    link="https://kubernetes.io/docs/tasks/administer-cluster/safely-drain-node/",
)


def pressure(facts: Facts) -> t.Iterator[Hit]:
    """Nodes that report pressure on memory, disk or processes."""
    for node in facts.cluster.nodes:
        if node["pressure"]:
            yield Hit(node["name"], [f"node {node['name']}: {', '.join(node['pressure'])}"], node["name"])


NODE_PRESSURE = Rule(
    "node-pressure",
    title="The node runs out of memory, disk or processes",
    looks="Pods are evicted, and new ones go elsewhere.",
    proof=pressure,
    remedy="find what uses it: {command}",
    call="kubectl -- describe node {target}",
    before=PODS,
    link="https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/",
)
