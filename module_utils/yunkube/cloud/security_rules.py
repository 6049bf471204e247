# SPDX-License-Identifier: Apache-2.0
"""Which traffic reaches a cluster's hosts on Alibaba Cloud: one table, compared with what the groups let in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.cloud.declaration import ROLES, Declaration, network

MARK = "yunkube: "  # begins the description of rules that are ours; others' are left alone
PODS = "pods, routed by the VPC"
HOSTS, ADMINS, CLIENTS = "hosts", "admins", "clients"
# (hosts that it reaches, protocol, ports, who, why). "-1/-1" is the API's way to say all ports.
TABLE = (
    ("master node", "TCP", "22/22", (ADMINS,), "SSH"),
    ("master", "TCP", f"{constants.API_PORT}/{constants.API_PORT}", (HOSTS, ADMINS), "the Kubernetes API"),
    ("master", "TCP", "/".join(map(str, constants.ETCD_PORTS)), ("master",), "etcd"),
    ("master node", "TCP", f"{constants.KUBELET_PORT}/{constants.KUBELET_PORT}", (HOSTS,), "kubelet"),
    ("master node", "ICMP", "-1/-1", (HOSTS, ADMINS), "reachability and path MTU"),
)


@dataclass(frozen=True)
class Rule:
    """One rule, as it is compared: `source` is a CIDR or the id of a group."""

    protocol: str
    ports: str
    source: str
    why: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes two rules the same to the API."""
        return self.protocol, self.ports, self.source

    def __str__(self) -> str:
        """Return the words for an operator."""
        ports = "" if self.ports == "-1/-1" else f" {self.ports.replace('/', '-')}"
        return f"{self.protocol}{ports} from {self.source}"


def table(wanted: Declaration) -> Iterator[tuple[str, str, str, tuple[str, ...], str]]:
    """Yield the rows that count for this declaration."""
    yield from TABLE
    if port := wanted.overlay_port:
        yield "master node", "UDP", f"{port}/{port}", (HOSTS,), "flannel, between hosts"
    node_ports = wanted.node_ports.replace("-", "/")
    for protocol in ("TCP", "UDP"):
        yield "master node", protocol, node_ports, (HOSTS, ADMINS, CLIENTS), "node ports"
    for port in wanted.ports:
        yield "master node", "TCP", f"{port}/{port}", (HOSTS, ADMINS), "the cluster's registry"
    if wanted.routed_pods:
        yield "master node", "ALL", "-1/-1", ("pods",), PODS


def rules(wanted: Declaration, role: str, groups: Mapping[str, str]) -> list[Rule]:
    """Return the rules of the group of a role; `groups` are the ids of groups, by role."""
    sources = {
        HOSTS: [groups[name] for name in ROLES],
        ADMINS: list(wanted.admin_cidrs),
        CLIENTS: list(wanted.client_cidrs),
        "master": [groups["master"]],
        "pods": [wanted.cluster_networks["cluster_pod_cidr"]] if wanted.routed_pods else [],
    }
    found: dict[tuple[str, str, str], Rule] = {}
    for reached, protocol, ports, who, why in table(wanted):
        if role in reached.split():
            for source in (source for name in who for source in sources[name]):
                rule = Rule(protocol, ports, source, why)
                found.setdefault(rule.identity, rule)
    return list(found.values())


def there(permissions: Iterable[Mapping[str, Any]]) -> dict[Rule, tuple[str, bool]]:
    """Return the id of each rule that a group has, and whether it is ours."""
    found = {}
    for one in permissions:
        if one.get("Policy") != "Accept" or one.get("Direction", "ingress") != "ingress":
            continue
        source = str(one.get("SourceGroupId") or _as_network(str(one.get("SourceCidrIp") or "")))
        rule = Rule(str(one["IpProtocol"]).upper(), str(one["PortRange"]), source)
        ours = str(one.get("Description", "")).startswith(MARK)
        found[rule] = (str(one["SecurityGroupRuleId"]), ours)
    return found


def admit_pods(groups: Iterable[Mapping[str, Any]]) -> bool:
    """Say whether groups let pods' own addresses in: as long as they do, there may be routes to pods."""
    permissions = (one for group in groups for one in (group.get("Permissions") or {}).get("Permission") or [])
    return any(one.get("Description") == f"{MARK}{PODS}" for one in permissions)


def _as_network(source: str) -> str:
    """Return a source with its length, which a single address may lack."""
    block = network(source)
    return str(block) if block else source


def compare(wanted: Iterable[Rule], have: Mapping[Rule, tuple[str, bool]]) -> tuple[list[Rule], dict[Rule, str]]:
    """Return the rules to add, and those of ours to take back with their ids."""
    identities = {rule.identity for rule in have}
    needed = {rule.identity: rule for rule in wanted}
    add = [rule for identity, rule in needed.items() if identity not in identities]
    gone = {rule: rule_id for rule, (rule_id, ours) in have.items() if ours and rule.identity not in needed}
    return add, gone


def as_permission(rule: Rule) -> dict[str, str]:
    """Return a rule as the API takes it."""
    source = "SourceCidrIp" if "/" in rule.source else "SourceGroupId"
    return {
        "IpProtocol": rule.protocol,
        "PortRange": rule.ports,
        source: rule.source,
        "Policy": "Accept",
        "Priority": "1",
        "Description": f"{MARK}{rule.why}",
    }
