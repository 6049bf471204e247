# SPDX-License-Identifier: Apache-2.0
"""Conditions between the values of one cluster, whatever file they came from.

Every rule yields (key, message, remedy); the caller finds the file and the line. A key that
names a host begins with `host `.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, ip_address
from itertools import combinations
from typing import Any

from ansible.module_utils.yunkube.control import backup_rules, cloud_rules, locks, shapes
from ansible.module_utils.yunkube.teardown.paths import is_system
from ansible.module_utils.yunkube.web.ownership import RESERVED
from ansible.module_utils.yunkube.words import closest, one_of

Finding = tuple[str, str, str]

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SERVICE = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")  # a Service's name begins with a letter
_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
_ENDPOINT = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}")
DASHBOARDS = ("headlamp", "kube_web_view")
_PORT_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
# Other projects' names for the group of nodes.
NODE_GROUPS = ("workers", "worker", "node", "kube_node", "kube-node", "agents", "agent", "minions")
_NODE_PREFIX = 24  # every node takes a /24 of the pods' range


@dataclass(frozen=True)
class Cluster:
    """The final values, templated, and the hosts that they are for."""

    values: Mapping[str, Any]
    hosts: Mapping[str, str] = field(default_factory=dict)  # inventory name -> address
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ports: Mapping[str, int | str] = field(default_factory=dict)  # of SSH, where one is set
    node_ips: Mapping[str, str] = field(default_factory=dict)  # cluster_node_ip, where it is set
    written: Collection[str] = ()  # the keys that the inventory sets; the others are defaults
    releases: Sequence[str] = ()  # the Kubernetes releases that are locked
    tagged: bool = False  # whether the hosts are those that a cloud has by their tags
    hosts_pending: bool = False  # whether the run creates the hosts, which the inventory has afterwards

    def text(self, key: str) -> str:
        """Return a value as text, empty when it is not set."""
        return str(self.values.get(key) or "")

    def network(self, key: str) -> IPv4Network | None:
        """Return a value as a network when it is one, with its prefix."""
        try:
            return IPv4Network(self.text(key)) if "/" in self.text(key) else None
        except ValueError:
            return None

    @property
    def node_ports(self) -> range:
        """The node ports that Services may have."""
        found = _PORT_RANGE.fullmatch(_port_range(self.values.get("master_cluster_configuration")))
        return range(int(found[1]), int(found[2]) + 1) if found else range(1, 65536)

    @property
    def masters(self) -> Sequence[str]:
        """The control plane's hosts."""
        return self.groups.get("masters", ())

    @property
    def nodes(self) -> Sequence[str]:
        """The workers."""
        return self.groups.get("nodes", ())


def findings(cluster: Cluster) -> Iterator[Finding]:
    """Yield everything that is wrong, all rules one after another."""
    for rule in RULES:
        yield from rule(cluster)


def warnings(cluster: Cluster) -> Iterator[str]:
    """Yield what works but is probably not intended."""
    if cluster.masters and len(cluster.masters) % 2 == 0:
        count = len(cluster.masters)
        yield f"masters has {count} hosts; etcd survives no more losses with {count} members than with {count - 1}"
    for host in cluster.hosts:
        if host not in cluster.masters and host not in cluster.nodes:
            group = next((name for name in NODE_GROUPS if host in cluster.groups.get(name, ())), None)
            meant = f'; did you mean nodes by group "{group}"?' if group else ""
            yield f"host {host} is in neither masters nor nodes and is ignored{meant}"


def names(cluster: Cluster) -> Iterator[Finding]:
    """Names that become DNS names must be valid ones."""
    name = cluster.text("cluster_name")
    if not name:
        yield "cluster_name", "has no value", "give it a name that none of your other clusters has, such as prod"
    elif not _LABEL.fullmatch(name):
        yield (
            "cluster_name",
            f'"{name}" is not a DNS label',
            "use at most 63 of a-z, 0-9 and -, a letter or digit at both ends",
        )
    domain = cluster.text("cluster_dns_domain")
    if not _is_domain(domain):
        yield "cluster_dns_domain", f'"{domain}" is not a domain', "write one such as cluster.local"
    taken = set(cluster.hosts)
    for host in dict.fromkeys((*cluster.masters, *cluster.nodes)):
        if not _is_domain(host):
            name = _free(as_domain(host), taken)
            taken.add(name)
            yield f"host {host}", "not a DNS name, which a Kubernetes node's name must be", f"call it {name}"


def release(cluster: Cluster) -> Iterator[Finding]:
    """The Kubernetes release must be a locked one."""
    wanted = cluster.text("cluster_kubernetes_version")
    if wanted not in cluster.releases:
        locked = ", ".join(sorted(cluster.releases, key=locks.numbers)) or "none"
        message = f"{wanted} has no lock in components/, which has {locked}"
        yield "cluster_kubernetes_version", message, locks.what_to_write(wanted, cluster.releases)


def ranges(cluster: Cluster) -> Iterator[Finding]:
    """Address ranges must be networks of a useful size, apart from each other."""
    for key in ("cluster_pod_cidr", "cluster_service_cidr"):
        yield from _range(key, cluster.text(key))
    pods, services = cluster.network("cluster_pod_cidr"), cluster.network("cluster_service_cidr")
    if services and not 12 <= services.prefixlen <= 28:
        yield "cluster_service_cidr", f"/{services.prefixlen} is out of bounds", "use a prefix from /12 to /28"
    if pods and not 8 <= pods.prefixlen <= _NODE_PREFIX:
        yield "cluster_pod_cidr", f"/{pods.prefixlen} is out of bounds", "use a prefix from /8 to /24"
    elif pods and (room := 2 ** (_NODE_PREFIX - pods.prefixlen)) < (count := len(cluster.masters) + len(cluster.nodes)):
        yield (
            "cluster_pod_cidr",
            f"{pods} has room for {room} hosts and there are {count}",
            f"use a prefix of /{_NODE_PREFIX - (count - 1).bit_length()} or less",
        )


def overlaps(cluster: Cluster) -> Iterator[Finding]:
    """No range may overlap another one, or contain a host."""
    keys = ["cluster_pod_cidr", "cluster_service_cidr"]
    if cluster.text("cluster_provider") == "docker":
        keys.append("docker_hosts_subnet")
    keys.sort(key=lambda key: key not in cluster.written)  # so that a fault points to a line that can be edited
    taken = [(key, network) for key in keys if (network := cluster.network(key))]
    for (key, network), (other, its) in combinations(taken, 2):
        if network.overlaps(its):
            yield key, f"{network} overlaps {other} {its}", "choose ranges that do not overlap"
    for key, network in taken:
        if key == "docker_hosts_subnet":
            continue
        for host, address in cluster.hosts.items():
            if (ip := _address(address)) and ip in network:
                yield key, f"{network} contains the address of host {host}, {address}", "choose a range without hosts"


def hosts(cluster: Cluster) -> Iterator[Finding]:
    """There is a master, and no host is in both groups or shares an address."""
    if not cluster.masters and not cluster.hosts_pending:
        meant = closest(
            "masters", [group for group in cluster.groups if group not in ("all", "ungrouped", "masters", "nodes")]
        )
        hint = f'did you mean that by group "{meant}"?' if meant else "add the control plane's hosts to it"
        if cluster.tagged:
            hint = cloud_rules.TAG_THEM
        yield "group masters", "has no hosts", hint
    for host in cluster.masters:
        if host in cluster.nodes:
            yield f"host {host}", "in masters and in nodes", "leave it in masters, with node_taints: [] for pods"
    owners: dict[tuple[str, str], str] = {}
    sharing: dict[str, str] = {}
    for host in (*cluster.masters, *(node for node in cluster.nodes if node not in cluster.masters)):
        address, port = cluster.hosts.get(host, host), str(cluster.ports.get(host) or 22)
        if not _may_be_reached(address):
            yield f"host {host}", f'"{address}" is neither an address nor a name', "write one such as 10.0.0.11"
        elif (address, port) in owners:
            other = owners[address, port]
            yield f"host {host}", f"has the address of host {other}, {address}", "give each host its own"
        elif address in sharing and not cluster.node_ips.get(host):
            message = f"has the address of host {sharing[address]}, {address}, and another port"
            yield f"host {host}", message, "set its cluster_node_ip, the address at which the other hosts reach it"
        elif _is_ipv6(address) and not cluster.node_ips.get(host):
            message = f"its address {address} is IPv6, and clusters are IPv4"
            yield f"host {host}", message, "set its cluster_node_ip to the IPv4 address that hosts share"
        owners.setdefault((address, port), host)
        sharing.setdefault(address, host)


def node_addresses(cluster: Cluster) -> Iterator[Finding]:
    """A node's address is IPv4, and no other host's."""
    owners: dict[str, str] = {}
    for host in dict.fromkeys((*cluster.masters, *cluster.nodes)):
        text = cluster.node_ips.get(host, "")
        key, ip = f"cluster_node_ip of {host}", _address(text)
        if not text or shapes.is_template(text):
            continue
        if ip is None:
            yield key, f"{text} is not an IPv4 address", "write the one at which the other hosts reach it"
        elif ip.is_loopback or ip.is_unspecified or ip.is_multicast:
            yield key, f"{text} is not a host address", "write the one at which the other hosts reach it"
        elif text in owners:
            yield key, f"{text} is also that of host {owners[text]}", "give each host its own"
        owners.setdefault(text, host)


def docker(cluster: Cluster) -> Iterator[Finding]:
    """Docker hosts are in the network that is created for them."""
    if cluster.text("cluster_provider") != "docker" or not cluster.text("docker_hosts_subnet"):
        return
    yield from _range("docker_hosts_subnet", cluster.text("docker_hosts_subnet"))
    subnet = cluster.network("docker_hosts_subnet")
    if not subnet or subnet.num_addresses < 4:
        return
    for host in (*cluster.masters, *cluster.nodes):
        address = cluster.hosts.get(host, "")
        ip = _address(address)
        if ip is None or ip not in subnet:
            remedy = f"give it an ansible_host from {subnet[2]} to {subnet[-2]}"
            yield f"host {host}", f"{address} is not an address in docker_hosts_subnet {subnet}", remedy
        elif ip in (subnet[0], subnet[1], subnet[-1]):
            what = "this machine's own, the gateway" if ip == subnet[1] else "the network's"
            yield f"host {host}", f"{address} is {what}", f"give it an ansible_host from {subnet[2]} to {subnet[-2]}"


def control_plane(cluster: Cluster) -> Iterator[Finding]:
    """The API has an address, and the control plane host is a master."""
    host, endpoint = cluster.text("cluster_control_plane_host"), cluster.text("cluster_control_plane_endpoint")
    if host and cluster.masters and host not in cluster.masters:
        yield "cluster_control_plane_host", f"{host} is not in group masters", f"name {', '.join(cluster.masters)}"
    if _is_ipv6(cluster.hosts.get(host, "")) and "cluster_control_plane_endpoint" not in cluster.written:
        return  # it follows from the host's address, of which a rule says that it cannot be
    if endpoint and not _is_endpoint(endpoint):
        yield "cluster_control_plane_endpoint", f'"{endpoint}" is not host:port', "write one such as 10.0.0.10:6443"
    elif _is_loopback(endpoint.rpartition(":")[0]):
        given = "cluster_control_plane_endpoint" in cluster.written
        remedy = "write an address" if given else f"set cluster_node_ip of {host} to the address"
        key = "cluster_control_plane_endpoint" if given or not host else f"host {host}"
        yield key, f"the API's endpoint is {endpoint}, each host itself", f"{remedy} that all hosts reach"


def node_ports(cluster: Cluster) -> Iterator[Finding]:
    """The range of node ports is written so that services, the dashboard and firewalls can follow it."""
    text = _port_range(cluster.values.get("master_cluster_configuration"))
    found = _PORT_RANGE.fullmatch(text)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= 65535:
        message = f'service-node-port-range "{text}" is not FIRST-LAST'
        yield "master_cluster_configuration", message, "write two ports from 1 to 65535, such as 30000-32767"


def _port_range(configuration: Any) -> str:
    """Return kube-apiserver's service-node-port-range by master_cluster_configuration, else its default."""
    server = configuration.get("apiServer") if isinstance(configuration, Mapping) else None
    arguments = server.get("extraArgs") if isinstance(server, Mapping) else None
    named = [one for one in arguments if isinstance(one, Mapping)] if isinstance(arguments, list) else []
    set_here = [one.get("value") for one in named if one.get("name") == "service-node-port-range"]
    return str(set_here[0]) if set_here else "30000-32767"


def addons(cluster: Cluster) -> Iterator[Finding]:
    """Addons and the registry are on an existing host, at a valid port."""
    known = [*cluster.masters, *cluster.nodes]
    for key in ("cluster_registry_host", "cluster_addons_host"):
        host = cluster.text(key)
        if host and known and host not in known:
            meant = closest(host, known)
            remedy = f"did you mean {meant}?" if meant else f"name one of {', '.join(known)}"
            yield key, f"{host} is in neither masters nor nodes", remedy
    address = cluster.text("cluster_registry_address")
    if address and not _is_endpoint(address):
        yield "cluster_registry_address", f'"{address}" is not host:port', "write one such as harbor.example.com:443"


def dashboard(cluster: Cluster) -> Iterator[Finding]:
    """A dashboard has a node port, and one that gets tokens of the cluster is pinned to the chosen image."""
    provider, port = cluster.text("dashboard_provider"), cluster.values.get("dashboard_node_port")
    if provider not in DASHBOARDS:
        return
    if isinstance(port, int) and port not in cluster.node_ports:
        yield "dashboard_node_port", f"{port} is out of range", one_of(cluster.node_ports)
    image = cluster.text("dashboard_headlamp_image")  # its default has a digest
    if (
        provider == "headlamp"
        and image
        and not _DIGEST.fullmatch(image)
        and not cluster.values.get("dashboard_headlamp_allow_tag")
    ):
        remedy = "write NAME@sha256:DIGEST as roles/dashboard/README.md says, or dashboard_provider: kube_web_view"
        message = f"{image} names no digest, so whoever moves its tag gets its users' tokens"
        yield "dashboard_headlamp_image", message, f"{remedy}; dashboard_headlamp_allow_tag: true accepts it"


def safety(cluster: Cluster) -> Iterator[Finding]:
    """Values that would hide faults, or remove system folders."""
    if "all" in (cluster.values.get("cluster_ignore_preflight_errors") or []):
        yield "cluster_ignore_preflight_errors", "all would hide the next fault, too", "name the checks to ignore"
    for path in cluster.values.get("teardown_paths") or []:
        if is_system(path):
            remedy = "name the folder that pods wrote to, such as /srv/data"
            yield "teardown_paths", f"{path} is a system folder, which down would remove", remedy


def web_services(cluster: Cluster) -> Iterator[Finding]:
    """Every web service has a name and a port of its own, and either an image or files."""
    key, declared = "web_services", cluster.values.get("web_services") or []
    names: set[tuple[str, str]] = set()
    ports: dict[int, str] = {}
    if cluster.text("dashboard_provider") in DASHBOARDS:
        ports[cluster.values.get("dashboard_node_port") or 0] = "the dashboard"
    for number, service in enumerate(entry for entry in declared if isinstance(entry, Mapping)):
        name, space = str(service.get("name") or ""), str(service.get("namespace") or "default")
        who = f"{space}/{name}" if name else f"entry {number}"
        yield from ((key, f"{who}: {message}", remedy) for message, remedy in _place(name, space))
        if (space, name) in names:
            yield key, f"{who}: declared twice", "give each service of a namespace its own name"
        names.add((space, name))
        if bool(service.get("image")) == bool(service.get("manifests")):
            both = "both image and manifests" if service.get("image") else "neither image nor manifests"
            yield key, f"{who}: {both}", "write one of them"
        yield from ((key, f"{who}: {message}", remedy) for message, remedy in _environment(service))
        port, node_port, replicas = service.get("port", 8080), service.get("node_port"), service.get("replicas", 2)
        if isinstance(port, int) and not 1 <= port <= 65535:
            yield key, f"{who}: port {port} is not a valid port", "use one from 1 to 65535"
        if isinstance(replicas, int) and replicas < 0:
            yield key, f"{who}: replicas {replicas} is negative", "use 0 to scale to zero, or remove the entry"
        if not isinstance(node_port, int):
            continue
        if node_port not in cluster.node_ports:
            yield key, f"{who}: node_port {node_port} is out of range", one_of(cluster.node_ports)
        elif node_port in ports:
            yield key, f"{who}: node_port {node_port} is that of {ports[node_port]}", "give each service its own"
        ports.setdefault(node_port, who)


def _place(name: str, space: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a service's name and namespace."""
    if not _SERVICE.fullmatch(name):
        yield f'name "{name}" is not a DNS label', "use a-z, 0-9 and -, a letter first"
    if not _LABEL.fullmatch(space):
        yield f'namespace "{space}" is not a DNS label', "use at most 63 of a-z, 0-9 and -"
    elif space in RESERVED:
        remedy = f"choose another one; these are reserved: {', '.join(RESERVED)}"
        yield f"namespace {space} is reserved for Kubernetes and the addons", remedy


def _environment(service: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with environment variables, without showing a value."""
    env, sources = service.get("env") or {}, service.get("env_from") or []
    for name, value in env.items() if isinstance(env, Mapping) else ():
        if isinstance(value, Mapping):
            wanted = [set(value) == {kind, "key"} and all(value.values()) for kind in ("secret", "config_map")]
            if not any(wanted):
                yield f"env {name}: names no key", "write {secret: NAME, key: KEY} or {config_map: NAME, key: KEY}"
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield f"env {name}: is a list", "write one value, in quotes"
    for number, one in enumerate(sources if isinstance(sources, Sequence) else ()):
        named = [kind for kind in ("secret", "config_map") if isinstance(one, Mapping) and one.get(kind)]
        if len(named) != 1:
            yield (
                f"env_from[{number}]: names no Secret or ConfigMap, or both",
                "write {secret: NAME} or {config_map: NAME}",
            )


RULES: tuple[Callable[[Cluster], Iterator[Finding]], ...] = (
    names,
    release,
    ranges,
    overlaps,
    hosts,
    node_addresses,
    docker,
    control_plane,
    addons,
    node_ports,
    dashboard,
    web_services,
    *cloud_rules.RULES,
    *backup_rules.RULES,
    safety,
)


def _range(key: str, text: str) -> Iterator[Finding]:
    try:
        IPv4Network(text)
    except ValueError:
        try:
            yield key, f"{text} does not start on its network's address", f"write {IPv4Network(text, strict=False)}"
        except ValueError:
            yield key, f'"{text}" is not an IPv4 network', "write one such as 10.244.0.0/16"
    else:
        if "/" not in text:
            yield key, f"{text} has no prefix", "write one such as 10.244.0.0/16"


def _address(text: str) -> IPv4Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return found if isinstance(found, IPv4Address) else None


def _is_ipv6(text: str) -> bool:
    try:
        return ip_address(text.strip("[]")).version == 6
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    """Say whether a name or an address is that of every host itself."""
    address = _address(host)
    return host == "localhost" or bool(address and address.is_loopback)


def _is_endpoint(text: str) -> bool:
    """Say whether it is host:port, with a valid port."""
    return bool(_ENDPOINT.fullmatch(text)) and 1 <= int(text.rpartition(":")[2]) <= 65535


def _is_domain(text: str) -> bool:
    return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in text.split("."))


def as_domain(text: str, otherwise: str = "node1") -> str:
    """Return a valid DNS name; a default if nothing of the text is left."""
    return re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.") or otherwise


def _free(name: str, taken: Collection[str]) -> str:
    """Return the name, with a number appended if it is taken."""
    numbered = (f"{name.rstrip('0123456789')}{number}" for number in range(1, len(taken) + 2))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def _may_be_reached(host: str) -> bool:
    """Say whether this may be an address, or a name for DNS or ssh; what is templated is not known."""
    if shapes.is_template(host):
        return True
    if re.fullmatch(r"[0-9.]+", host):
        return _address(host) is not None
    return _is_ipv6(host) or re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?(%\w+)?", host) is not None
