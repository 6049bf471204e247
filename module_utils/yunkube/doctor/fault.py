"""What an entry of the table is, and what its proof finds."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible.module_utils.yunkube.doctor.facts import Facts, Json

# The worst first; `workload` is a user's own, and no fault of the cluster.
SEVERITIES = ("critical", "error", "warning", "workload")

# What follows from what, by groups that many causes share.
PODS = ("pod-not-ready", "user-pod-broken", "dns-not-ready", "workload-not-rolled-out")
NODE = ("node-not-ready", *PODS)
FLANNEL = ("flannel-not-ready", "flannel-link-missing", "pod-route-missing", "subnet-env-missing", "cni-config-missing")
PULLS = ("image-name-wrong", "image-access-denied", "image-registry-tls", "image-registry-unreachable")
CONTROL_PLANE = ("etcd-down", "api-server-down", "control-plane-part-down", "api-unreachable", "api-silent")


# How kubeadm is called by hand: without its configuration it may take its own defaults, and say nothing of it.
BY_HAND = "--config cluster.yaml (docs/kubeadm.md says how to get it)"


class Hit(t.NamedTuple):
    """One place where a fault was proved."""

    host: str  # its name in the inventory; empty for the cluster as a whole
    evidence: list[str]
    target: str = ""  # a pod, a file, a unit
    arguments: t.Mapping[str, t.Any] = {}  # of the repair
    severity: str = ""  # where it is another than the entry's


@dataclasses.dataclass(frozen=True)
class Fault:
    """One entry: data, but for the proof."""

    id: str
    title: str
    looks: str  # what one sees of it
    proof: t.Callable[[Facts], t.Iterable[Hit]]
    remedy: str  # what to do by hand; {host}, {target}, {command} and the repair's arguments stand in braces
    call: str = ""  # what deploy.py is called with for {command}: a verb and its arguments
    severity: str = "error"
    explains: tuple[str, ...] = ()  # entries that follow from it, all of them later in the table
    scope: str = "host"  # whose: those of the same `host`, of the same `target`, or of `all` hosts
    repair: str = ""  # in repairs.py; empty where there is none
    safe: bool = False  # whether `--fix` may do it unasked
    weight: int = 1  # of repairs, the lightest goes first; one that waits for pods is heavier than those of hosts
    on_master: bool = False  # where the repair runs
    generic: bool = False  # a symptom: where nothing explains it, the cause is unknown
    link: str = ""


@dataclasses.dataclass
class Finding:
    """A cause with what follows from it."""

    id: str
    title: str
    severity: str
    host: str
    target: str
    evidence: list[str]
    chain: list[str]  # what follows from it, in words
    implied: list[str]  # the ids of these
    remedy: str
    command: str  # what to type to have it repaired; empty where nothing is
    page: str
    safe: bool
    repair: Json

    @property
    def key(self) -> str:
        """Return what tells it from others."""
        return " ".join(part for part in (self.id, self.host, self.target) if part)
