# SPDX-License-Identifier: Apache-2.0
"""Fewer hosts on Alibaba Cloud than there are: those that are too many leave the cluster, then are released."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import Any

from deployer.arguments import Request
from deployer.cluster import Cluster
from deployer.commands import PLAYS
from deployer.commands.remove import COMMAND as REMOVE
from deployer.confirm import ask, confirmed, listed
from deployer.errors import DeployError, Exit
from deployer.session import run_verb, with_passwords

AGREED = "alicloud_hosts_remove_surplus"
_NAME = re.compile(r"(master|node)-([1-9]\d*)")


def surplus(cluster: Cluster) -> list[str]:
    """Return the hosts that are more than declared; none where their numbers are not known, which the run warns of."""
    if cluster.variables.get("cluster_provider") != "alicloud":
        return []
    return [name for name in cluster.hosts if _is_too_many(name, cluster)]


def _is_too_many(name: str, cluster: Cluster) -> bool:
    match = _NAME.fullmatch(name)
    declared: Any = cluster.variables.get(f"alicloud_hosts_{match[1]}s") if match else None
    return bool(match and str(declared).isdecimal() and int(match[2]) > int(declared))


def without_surplus(request: Request, cluster: Cluster) -> tuple[Request, Exit]:
    """Let hosts that are too many leave, where that is agreed to; return the request that releases their instances."""
    agreed = replace(request, extra_vars={**request.extra_vars, AGREED: True})
    names = surplus(cluster)
    if not names:
        return request, Exit.OK
    if PLAYS[request.verb].check:
        return agreed, Exit.OK
    nodes = ask(cluster, "nodes")
    if nodes is None and request.extra_vars.get(AGREED):
        return request, Exit.OK
    if nodes is None:
        raise DeployError(
            f"{listed(names)}: more than declared, and it is not known whether they are in the cluster: its API does "
            "not answer",
            f"see what is wrong with it: doctor; where there is no cluster yet: -e {AGREED}=true",
        )
    if not request.yes and not sys.stdin.isatty():
        raise DeployError(
            f"{listed(names)}: more than declared; cloud up would drain them and release their instances",
            "add --yes to skip the confirmation, or declare them",
        )
    known = {str(node["metadata"]["name"]) for node in nodes}
    leaving = tuple(name for name in names if name in known)
    if not leaving:
        return agreed, Exit.OK
    agreed = with_passwords(agreed)
    removal = replace(
        agreed, verb=REMOVE.name, hosts=leaving, extra_vars={**agreed.extra_vars, "node_leaving": [*leaving]}
    )
    if not request.yes and not confirmed(removal, cluster):
        print("Nothing was changed.")
        return agreed, Exit.USAGE
    return agreed, run_verb(removal, cluster)
