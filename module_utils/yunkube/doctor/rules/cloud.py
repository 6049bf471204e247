# SPDX-License-Identifier: Apache-2.0
"""A cloud whose network routes the addresses of pods."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.rule import Hit, Rule
from ansible.module_utils.yunkube.doctor.rules.consequences import PODS


def cloud_route(facts: Facts) -> t.Iterator[Hit]:
    """Nodes to whose pods the cloud's network has no route."""
    missing: dict[str, list[str]] = facts.cloud.get("missing", {})
    for node in facts.cluster.nodes:
        if node["name"] in missing:
            yield Hit(facts.host_of(node["name"]), missing[node["name"]], node["name"])
        elif node["network"]:  # somebody else's routes, as of a cloud's own controller: not ours to make
            evidence = [f"node {node['name']}: NetworkUnavailable, {node['network']}", f"podCIDR {node['pod_cidr']}"]
            yield Hit(facts.host_of(node["name"]), evidence, node["name"], {"undo": ""})


CLOUD_ROUTE_MISSING = Rule(
    "cloud-route-missing",
    title="The cloud's network has no route to the node's pods",
    looks="Pods of the node are reached from the node alone.",
    proof=cloud_route,
    remedy="add the route for {host}'s podCIDR to the VPC's route table, or see why the cloud's controller did not",
    before=("pod-path-broken", *PODS),
    repair="cloud_routes",
    safe=True,
)


def cloud_silent(facts: Facts) -> t.Iterator[Hit]:
    """Whether the routes of the cloud could not be compared with the nodes."""
    if problem := facts.cloud.get("problem"):
        yield Hit("", str(problem).splitlines(), severity=str(facts.cloud.get("severity", "")))


CLOUD_ROUTES_UNKNOWN = Rule(
    "cloud-routes-unknown",
    title="The routes of the cloud could not be compared with the nodes",
    looks="It is not known whether the pods of two nodes reach each other.",
    proof=cloud_silent,
    remedy="do what the message says, then {command}",
    call="doctor",
    severity="warning",
)
