# SPDX-License-Identifier: Apache-2.0
"""Take hosts out of the cluster: which may leave, then pods first, then etcd's members, then the nodes."""

from __future__ import annotations

import contextlib
import socket
import typing as t
from urllib.parse import urlsplit

from ansible.module_utils.yunkube import constants
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube import etcd
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError, is_master
from ansible.module_utils.yunkube.kube.drain import Drain, name_of
from ansible.module_utils.yunkube.kube.health import address_of, condition
from ansible.module_utils.yunkube.result import CONFIG, Fault, Report
from ansible.module_utils.yunkube.words import counted, joined

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def faults(
    options: Json,
    nodes: t.Mapping[str, Json],
    answers: t.Callable[[str, int], bool],
    members: t.Mapping[str, etcd.Member],
    healthy: t.Container[str] = (),
) -> list[Fault]:
    """Return why hosts must not go, all of them at once.

    `nodes` are those of the API, by name, as are `members` of etcd; `healthy` are etcd's endpoints that answer.
    """
    found: list[Fault] = []
    leaving = [host.lower() for host in options["hosts"]]
    there = {*nodes, *members}
    remaining = [name for name in nodes if is_master(nodes[name]) and name not in leaving]
    for host in options["hosts"]:
        if (is_master(nodes.get(host.lower(), {})) or host.lower() in members) and not remaining:
            remedy = "remove the whole cluster: `down`"
            found.append(Fault("last master", "is the last master", remedy, host, commands=("down",)))
        elif holds_endpoint(host, options, nodes.get(host.lower(), {})):
            message = f"has the address at which all hosts reach the API, {options['endpoint']}"
            remedy = "it must stay as long as the cluster's endpoint is on it, and not on a load balancer"
            found.append(Fault("endpoint", message, remedy, host))
        elif host == options["control_plane_host"]:
            message = "is cluster_control_plane_host, through which this run works"
            remedy = f"name another master there: {', '.join(remaining)}"
            found.append(Fault("control plane host", message, remedy, host))
        elif host not in options["addresses"] and not options["dead"] and host.lower() in there:
            remedy = "put its line back, so that it can be reset, or, if it is gone for good, use --dead"
            dead = (f"remove --dead {host}",)
            found.append(Fault("inventory", "is not in the inventory", remedy, host, commands=dead))
        elif host.lower() not in there and options["gone"]:
            continue
        elif host.lower() not in there:
            names = ", ".join(sorted(nodes))
            found.append(Fault("no node", f"is not a node of {options['cluster']}", f"there are: {names}", host))
        elif options["dead"] and (
            why := alive(host, options, nodes.get(host.lower(), {}), answers, members.get(host.lower()), healthy)
        ):
            remedy = "remove it without --dead, so that nothing is left on it"
            found.append(Fault("alive", f"is not dead: {why}", remedy, host, commands=(f"remove {host}",)))
    return found


def alive(
    host: str,
    options: Json,
    node: Json,
    answers: t.Callable[[str, int], bool],
    member: etcd.Member | None,
    healthy: t.Container[str],
) -> str:
    """Return what shows that a host is not dead: its member of etcd, or that it answers; empty if nothing does."""
    if member and etcd.is_healthy(member, healthy):
        return "its member of etcd is healthy"
    places = [place_of(host, options, node)]
    if member and not node:  # all that is known of where it is
        ports = (int(options["ports"].get(host, 22)), constants.ETCD_PORTS[1])
        places += [(peer, port) for peer in member.peers for port in ports]
    return next((f"it answers at {address}:{port}" for address, port in places if answers(address, port)), "")


def place_of(host: str, options: Json, node: Json) -> tuple[str, int]:
    """Return where a host answers to SSH when it lives; one that left the inventory at its node's address."""
    address = options["addresses"][host] or host if host in options["addresses"] else address_of(node)
    return str(address), int(options["ports"].get(host, 22))


def answers(address: str, port: int, seconds: float = scaled(3)) -> bool:
    """Say whether something listens there, as SSH does."""
    if not address:
        return False  # nothing is known, while an empty address would be this host's own
    with contextlib.suppress(OSError), socket.create_connection((address, port), seconds):
        return True
    return False


def holds_endpoint(host: str, options: Json, node: Json) -> bool:
    """Say whether the cluster's endpoint is an address or the name of a host."""
    where = urlsplit(f"//{options['endpoint']}").hostname or ""
    return where in {host.lower(), str(options["addresses"].get(host) or "").lower(), address_of(node)} - {""}


class Removal:
    """The module's work."""

    def __init__(self, module: AnsibleModule) -> None:
        """Reach the API."""
        self.module = module
        self.options = module.params
        self.etcd = etcd.Etcd(self._run, self._program("crictl"))
        try:
            self.api = KubeApi.from_file()
            self.nodes = {node["metadata"]["name"]: node for node in self.api.items("/api/v1/nodes")}
        except KubeError as error:
            module.fail_json(msg=f"{error}{self._why_silent(error)}")
        self.options["endpoint"] = urlsplit(self.api.server).netloc
        self.healthy: set[str] = set()  # endpoints of etcd
        self.result: Json = {}

    def run(self) -> list[str]:
        """Judge, then do it; return what that took."""
        names = [host.lower() for host in self.options["hosts"]]
        if self.options["state"] == "absent":
            return self._delete(names)
        members = self._members()
        theirs = self._theirs(members)
        self.healthy = self.etcd.healthy(members) if theirs else set()
        self._refuse(faults(self.options, self.nodes, answers, theirs, self.healthy), CONFIG)
        leaving = self._in_order(members, theirs)
        return self._drain([name for name in names if name in self.nodes]) + self._leave(leaving)

    def _refuse(self, found: list[Fault], kind: str = "") -> None:
        """End when there are faults, and tell all of them."""
        if found:
            self.module.fail_json(**Report(tuple(found), kind).as_failure())

    def _drain(self, names: list[str]) -> list[str]:
        if self.options["dead"]:
            return []
        options = self.options
        drain = Drain(
            self.api,
            self._kubectl,
            [self.nodes[name] for name in names],
            force=options["force"],
            data=options["delete_emptydir_data"],
            seconds=options["timeout"],
        )
        found = [Fault.of(one).on(host) for host, against in options["objections"].items() for one in against]
        self._refuse(found + drain.faults())
        # Where the kubelet is gone, no pod would ever say that it ended.
        ready = [name for name in names if condition(self.nodes[name], "Ready").get("status") == "True"]
        if ready and not self.module.check_mode:
            drain.run(ready)
        pods = [name_of(pod) for name in ready for pod in drain.pods[name]]
        evicted = f": evict {counted(pods, 'pod')}" if pods else ""
        return [f"drain {', '.join(ready)}{evicted}"] if ready else []

    def _members(self) -> list[etcd.Member]:
        """Return all members of etcd; none where it runs elsewhere, or where no host that leaves can have one."""
        if not etcd.MANIFEST.exists():
            return []
        try:
            return self.etcd.members()
        except etcd.EtcdError:
            nodes = [self.nodes.get(host.lower()) for host in self.options["hosts"]]
            if any(node is None or is_master(node) for node in nodes):
                raise
            return []

    def _theirs(self, members: list[etcd.Member]) -> dict[str, etcd.Member]:
        """Return the members of the hosts that leave, by name, also of those whose node is gone."""
        found: dict[str, etcd.Member] = {}
        for host in self.options["hosts"]:
            name = host.lower()
            node = self.nodes.get(name)
            address = address_of(node) if node else str(self.options["addresses"].get(host) or "")
            if member := etcd.member_of(members, name, address):
                found[name] = member
        return found

    def _in_order(self, members: list[etcd.Member], theirs: dict[str, etcd.Member]) -> list[etcd.Member]:
        """Return the leaving members in the order in which they go; refuse what would cost etcd its quorum."""
        if not theirs:
            return []
        if message := etcd.objection(members, self.healthy, list(theirs.values())):
            remedy = "start the other masters again, or first remove those that are gone for good, with --dead"
            self._refuse([Fault("etcd's quorum", message, remedy, joined(list(theirs)))], CONFIG)
        return etcd.in_removal_order(theirs.values(), self.healthy)

    def _leave(self, members: list[etcd.Member]) -> list[str]:
        """Remove members of etcd, each when all is well after the one before."""
        if members and not self.module.check_mode:
            kept = self.etcd.snapshot(f"before-removal-of-{'-'.join(member.name or member.id for member in members)}")
            self.result["snapshot"] = str(kept)
            for member in members:
                self.etcd.remove(member, self.healthy)
        saved = [f"save a snapshot of etcd in {self.result.get('snapshot', etcd.SNAPSHOTS)}"] if members else []
        return saved + [f"remove the etcd member {etcd.label(member)}" for member in members]

    def _delete(self, names: list[str]) -> list[str]:
        changes = []
        for name in names:
            if name in self.nodes:
                changes.append(f"delete node {name}")
                if not self.module.check_mode:
                    self._forget(name)
        return changes

    def _forget(self, name: str) -> None:
        self.api.delete(f"/api/v1/nodes/{name}")
        # Nobody is there any more to say that they ended; their controllers replace them elsewhere.
        for pod in self.api.items("/api/v1/pods", fieldSelector=f"spec.nodeName={name}"):
            namespace, _, pod_name = name_of(pod).partition("/")
            self.api.delete(f"/api/v1/namespaces/{namespace}/pods/{pod_name}", gracePeriodSeconds=0)

    def _why_silent(self, error: KubeError) -> str:
        """Say whether etcd is why the API does not answer."""
        if not error.silent and error.status < 500:
            return ""
        with contextlib.suppress(etcd.EtcdError, ValueError):
            members = self.etcd.members()
            if message := etcd.objection(members, self.etcd.healthy(members), []):
                return (
                    f"; {message}. No host can be removed like this: start those members' hosts again. When they are "
                    f"lost for good, restore etcd by hand, from a snapshot ({etcd.SNAPSHOTS}) or --force-new-cluster"
                )
        return ""

    def _kubectl(self, words: list[str]) -> tuple[int, str, str]:
        return self._run([self._program("kubectl"), *words])

    def _program(self, name: str) -> str:
        return str(self.module.get_bin_path(name, required=True, opt_dirs=["/usr/local/bin"]))

    def _run(self, argv: list[str]) -> tuple[int, str, str]:
        code, out, err = self.module.run_command(argv)
        return code, out, err
