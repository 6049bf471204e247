# SPDX-License-Identifier: Apache-2.0
"""What the doctor knows: of each host, and of the cluster through its API. Plain JSON both ways."""

from __future__ import annotations

import dataclasses
import typing as t

Json = dict[str, t.Any]
Known = t.TypeVar("Known", "HostFacts", "ClusterFacts")


@dataclasses.dataclass
class HostFacts:
    """One host at one moment; what could not be found out is empty or None."""

    host: str  # its name in the inventory
    master: bool = False
    unreachable: str = ""  # why there is nothing more
    now: float = 0.0
    seconds: float = 0.0  # what collecting took
    unread: list[str] = dataclasses.field(default_factory=list)  # programs that hang, so that something is not known
    hostname: str = ""
    machine_id: str = ""
    modes: dict[str, str] = dataclasses.field(default_factory=dict)  # of files that matter, those that are there
    units: dict[str, Json] = dataclasses.field(default_factory=dict)
    journal: dict[str, list[str]] = dataclasses.field(default_factory=dict)  # the last errors of each unit
    sysctls: dict[str, str] = dataclasses.field(default_factory=dict)
    swaps: list[str] = dataclasses.field(default_factory=list)
    disks: list[Json] = dataclasses.field(default_factory=list)
    links: dict[str, Json] = dataclasses.field(default_factory=dict)
    routes: list[Json] = dataclasses.field(default_factory=list)
    drops: list[Json] = dataclasses.field(default_factory=list)  # rules that drop ports of the cluster
    listeners: dict[str, str] = dataclasses.field(default_factory=dict)  # TCP port -> process
    certificates: dict[str, Json] = dataclasses.field(default_factory=dict)
    socket: bool = False  # whether containerd's socket answers
    images: list[str] | None = None
    containers: list[Json] | None = None
    probes: dict[str, str] = dataclasses.field(default_factory=dict)  # "ok" or what came instead
    etcd: Json = dataclasses.field(default_factory=dict)
    kubelet: dict[str, str] = dataclasses.field(default_factory=dict)  # top-level values of its configuration
    server: str = ""  # where the kubelet's kubeconfig finds the API
    bootstrap_token: str = ""  # the id of the token that a join left behind
    runtime: Json = dataclasses.field(default_factory=dict)  # of containerd's configuration
    manifests: dict[str, str] = dataclasses.field(default_factory=dict)  # static pod -> what is wrong, or nothing
    options: dict[str, str] = dataclasses.field(default_factory=dict)  # of kube-controller-manager
    cni: dict[str, Json] = dataclasses.field(default_factory=dict)  # configuration -> problem, plugins
    subnet_env: dict[str, str] | None = None
    nameservers: list[str] = dataclasses.field(default_factory=list)
    better_resolv_conf: bool = False  # systemd-resolved keeps one that names the real servers
    paths: list[Json] = dataclasses.field(default_factory=list)  # of the data plane: what was tried, how it ended
    blocked: list[Json] = dataclasses.field(default_factory=list)  # rules that drop packets of the data plane
    pod_addresses: list[str] | None = None  # of the pods that have a network here
    read_only: list[str] = dataclasses.field(default_factory=list)  # places that the cluster writes to
    resolvers: dict[str, str] = dataclasses.field(default_factory=dict)  # name server -> "ok" or what came instead
    service_account: dict[str, str] = dataclasses.field(default_factory=dict)  # digests of one public key, by file
    strays: dict[str, str] = dataclasses.field(default_factory=dict)  # file -> the static pod that it declares again
    boot_sysctls: dict[str, Json] = dataclasses.field(default_factory=dict)  # name -> value, file
    proxied: dict[str, str] = dataclasses.field(default_factory=dict)  # unit -> the proxy that it calls the API by
    client: Json = dataclasses.field(default_factory=dict)  # of the kubelet's certificate: wanted, there, others
    open_keys: dict[str, str] = dataclasses.field(default_factory=dict)  # private file -> mode that lets others read
    missing_keys: list[str] = dataclasses.field(default_factory=list)
    addresses: Json = dataclasses.field(default_factory=dict)  # of pods, as the CNI plugin notes them: folder, taken
    servers: dict[str, str] = dataclasses.field(default_factory=dict)  # kubeconfig -> where it finds the API
    backup: dict[str, str] = dataclasses.field(default_factory=dict)  # of the schedule: timer, enabled, result, said
    named_by_flag: bool = False  # the kubelet is told the node's name, whatever the host is called
    kube_chains: dict[str, int] = dataclasses.field(default_factory=dict)  # packet filter -> chains of Kubernetes

    @property
    def name(self) -> str:
        """Return the node's name."""
        return self.host.lower()

    @property
    def joined(self) -> bool:
        """Say whether the host is, or was meant to be, a node."""
        return "/var/lib/kubelet/config.yaml" in self.modes

    def runs(self, unit: str) -> bool:
        """Say whether a unit runs."""
        return self.units.get(unit, {}).get("ActiveState") == "active"

    def crashes(self, unit: str) -> bool:
        """Say whether systemd starts a unit again and again, also in the moments in which it runs."""
        found = self.units.get(unit, {})
        active, again = found.get("ActiveState"), int(found.get("NRestarts") or 0)
        if active == "failed" or found.get("SubState") == "auto-restart":
            return True
        if active == "activating":
            return again > 0
        return active == "active" and again > 0 and float(found.get("seconds", 60)) < (10 if again == 1 else 20)


@dataclasses.dataclass
class ClusterFacts:
    """The cluster as its API reports it."""

    asked: str = ""  # the host that queried it
    answers: bool = False
    detail: str = ""  # why it does not answer
    server: str = ""
    now: float = 0.0
    nodes: list[Json] = dataclasses.field(default_factory=list)
    pods: list[Json] = dataclasses.field(default_factory=list)  # those of the cluster, and others that do not run
    workloads: dict[str, Json] = dataclasses.field(default_factory=dict)
    net_conf: Json = dataclasses.field(default_factory=dict)
    node_ports: list[Json] = dataclasses.field(default_factory=list)
    dns_endpoints: int | None = None
    tokens: dict[str, str] = dataclasses.field(default_factory=dict)  # id -> when it ends
    paths: dict[str, Json] = dataclasses.field(default_factory=dict)  # node -> what it is to try of the data plane
    missing: list[Json] = dataclasses.field(default_factory=list)  # kubeadm's objects that are not (as) there
    declared: list[Json] = dataclasses.field(default_factory=list)  # objects of `up` that are not as declared
    printed: dict[str, Json] = dataclasses.field(default_factory=dict)  # manifests of kubeadm, by name
    not_printed: str = ""  # why kubeadm does not say what it declares
    disabled: list[str] = dataclasses.field(default_factory=list)  # of coredns and kube-proxy, what is not wanted
    changed: list[Json] = dataclasses.field(default_factory=list)  # kubeadm's objects that are not as it declares them
    addons: list[str] = dataclasses.field(default_factory=list)  # that the inventory has chosen, and that are not there
    webhooks: dict[str, Json] = dataclasses.field(default_factory=dict)  # that refuse where they do not answer
    refused: list[Json] = dataclasses.field(default_factory=list)  # owners whose pods could not be created
    api_services: list[Json] = dataclasses.field(default_factory=list)  # that are not available
    stuck_namespaces: list[Json] = dataclasses.field(default_factory=list)

    def node(self, name: str) -> Json:
        """Return a node, empty where the API knows none of that name."""
        return next((node for node in self.nodes if node["name"] == name), {})


@dataclasses.dataclass
class Facts:
    """All facts of one look at the cluster."""

    hosts: list[HostFacts]
    cluster: ClusterFacts
    now: float = 0.0  # the control machine's clock when the hosts had answered
    declared: Json = dataclasses.field(default_factory=dict)  # what the inventory says
    # Of the VPC that routes pods' addresses, empty where flannel does: `missing` routes by node, or a `problem`.
    cloud: Json = dataclasses.field(default_factory=dict)

    @property
    def reached(self) -> list[HostFacts]:
        """Return the hosts that answered."""
        return [host for host in self.hosts if not host.unreachable]

    @property
    def masters(self) -> list[HostFacts]:
        """Return the masters that answered."""
        return [host for host in self.reached if host.master]

    def host_of(self, node: str) -> str:
        """Return the host of a node, or the node's name if the inventory has no such host."""
        return next((host.host for host in self.hosts if host.name == node), node)

    def pods_on(self, name: str, namespace: str = "", start: str = "") -> list[Json]:
        """Return the pods on a node, of a namespace and with a prefix of their names."""
        return [
            pod
            for pod in self.cluster.pods
            if pod["node"] == name
            and (not namespace or pod["namespace"] == namespace)
            and pod["name"].startswith(start)
        ]


def as_json(facts: HostFacts | ClusterFacts) -> Json:
    """Return facts as a module returns them."""
    return dataclasses.asdict(facts)


def from_json(kind: type[Known], values: t.Mapping[str, t.Any]) -> Known:
    """Return the facts that a module returned; keys that this version does not know are ignored."""
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(**{key: value for key, value in values.items() if key in names})
