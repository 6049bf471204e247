"""Faults of a cloud whose network routes the addresses of pods."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts
from ansible.module_utils.yunkube.doctor.fault import PODS, Fault, Hit


def cloud_route(facts: Facts) -> t.Iterator[Hit]:
    """Nodes to whose pods the cloud's network has no route."""
    missing: dict[str, list[str]] = facts.cloud.get("missing", {})
    for node in facts.cluster.nodes:
        if node["name"] in missing:
            yield Hit(facts.host_of(node["name"]), missing[node["name"]], node["name"])
        elif node["network"]:  # somebody else's routes, as of a cloud's own controller: not ours to make
            evidence = [f"node {node['name']}: NetworkUnavailable, {node['network']}", f"podCIDR {node['pod_cidr']}"]
            yield Hit(facts.host_of(node["name"]), evidence, node["name"], {"undo": ""})


def cloud_silent(facts: Facts) -> t.Iterator[Hit]:
    """Whether the routes of the cloud could not be compared with the nodes."""
    if problem := facts.cloud.get("problem"):
        yield Hit("", str(problem).splitlines(), severity=str(facts.cloud.get("severity", "")))


FAULTS = (
    Fault(
        "cloud-route-missing",
        "The cloud's network has no route to the node's pods",
        "Pods of the node are reached from the node alone.",
        cloud_route,
        "add the route for {host}'s podCIDR to the VPC's route table, or see why the cloud's controller did not",
        explains=PODS,
        repair="cloud_routes",
        safe=True,
    ),
    Fault(
        "cloud-routes-unknown",
        "The routes of the cloud could not be compared with the nodes",
        "It is not known whether the pods of two nodes reach each other.",
        cloud_silent,
        "do what the message says, then {command}",
        call="doctor",
        severity="warning",
    ),
)
