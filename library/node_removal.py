#!/usr/bin/python
"""Take nodes out of the cluster, pod by pod."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_removal
short_description: Drain nodes, and delete them
description:
  - Runs on the control plane host. In state C(drained) it first judges all the hosts, and changes nothing when one of
    them must not go. Then a node takes no new pods, and its pods are evicted as their disruption budgets allow; pods of
    DaemonSets and static pods stay. What cannot be evicted in time fails the module, and the node takes pods again.
  - In state C(absent) the node is deleted, and so is the etcd member of a further master; it may be called for a host
    that is dead, of which C(drained) only judges.
author: [Yunkube]
options:
  hosts: {description: Names of the hosts, type: list, elements: str, required: true}
  state: {description: How far to go, type: str, choices: [drained, absent], required: true}
  addresses: {description: Where each host of the inventory is reached. Empty - its name, type: dict, required: true}
  ports: {description: The port of SSH of each, type: dict, required: true}
  control_plane_host: {description: The master that all others reach the API at, type: str, required: true}
  force:
    description: Delete pods that nothing would make anew, and those that a disruption budget keeps when time is up.
    type: bool
    default: false
  dead: {description: The hosts do not answer; they are deleted without being drained, type: bool, default: false}
  timeout: {description: Seconds for the pods of one host to leave, type: int, default: 120}
  cluster: {description: The cluster's name, type: str, required: true}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
attributes:
  check_mode: {support: full}
"""
RETURN = r"""
changes: {description: What was (or would be) done., returned: always, type: list, elements: str}
"""

import contextlib
import json
import socket
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube import identity, kube_probe
from ansible.module_utils.yunkube.kube_api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube_health import condition
from ansible.module_utils.yunkube.words import counted

RUNTIME = "unix:///run/containerd/containerd.sock"
ETCD = "/etc/kubernetes/pki/etcd"
MARK = "yunkube/removing"  # on a node that a removal has cordoned
MASTER = "node-role.kubernetes.io/control-plane"


class RemovalError(Exception):
    """A node cannot go; the message says why and what to do."""


def faults(options: Json, nodes: t.Mapping[str, Json], answers: t.Callable[[str, int], bool]) -> list[Json]:
    """Return why hosts must not go, all of them at once; `nodes` are those of the API, by name."""
    found: list[Json] = []
    leaving = [host.lower() for host in options["hosts"]]
    remaining = [name for name in nodes if is_master(nodes[name]) and name not in leaving]
    for host in options["hosts"]:
        if is_master(nodes.get(host.lower(), {})) and not remaining:
            found.append(_fault(host, "last master", "is the last master", "take the whole cluster away: `down`"))
        elif host == options["control_plane_host"]:
            remedy = "it cannot go while the cluster is reached at its address"
            found.append(_fault(host, "control plane host", "is the master that all others reach the API at", remedy))
        elif host not in options["addresses"] and not options["dead"] and host.lower() in nodes:
            remedy = "put its line back, so that it can be reset, or, if it is gone for good, use --dead"
            found.append(_fault(host, "inventory", "is not in the inventory", remedy))
        elif host.lower() not in nodes:
            there = ", ".join(sorted(nodes))
            found.append(_fault(host, "no node", f"is no node of {options['cluster']}", f"there are: {there}"))
        elif options["dead"]:
            address, port = place_of(host, options, nodes[host.lower()])
            if answers(address, port):
                remedy = "remove it without --dead, so that nothing is left on it"
                found.append(_fault(host, "alive", f"is not dead: it answers at {address}:{port}", remedy))
    return found


def _fault(host: str, check: str, message: str, remedy: str) -> Json:
    return {"host": host, "check": check, "message": message, "remedy": remedy}


def place_of(host: str, options: Json, node: Json) -> tuple[str, int]:
    """Return where a host answers to SSH when it lives; one that left the inventory at its node's address."""
    address = options["addresses"][host] or host if host in options["addresses"] else address_of(node)
    return str(address), int(options["ports"].get(host, 22))


def is_master(node: Json) -> bool:
    """Say whether a node is of the control plane."""
    return MASTER in (node.get("metadata", {}).get("labels") or {})


def address_of(node: Json) -> str:
    """Return a node's own address."""
    addresses = node.get("status", {}).get("addresses") or []
    return next((str(entry["address"]) for entry in addresses if entry["type"] == "InternalIP"), "")


def answers(address: str, port: int, seconds: float = 3) -> bool:
    """Say whether something listens there, as SSH does."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), seconds):
        return True
    return False


def to_evict(pods: list[Json]) -> list[Json]:
    """Return the pods that must leave: neither static ones, nor a DaemonSet's, nor those that have ended."""
    return [
        pod
        for pod in pods
        if "kubernetes.io/config.mirror" not in (pod["metadata"].get("annotations") or {})
        and owner(pod) != "DaemonSet"
        and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
    ]


def owner(pod: Json) -> str:
    """Return the kind of the controller that would make the pod anew, or nothing."""
    references = pod["metadata"].get("ownerReferences") or []
    return next((str(entry["kind"]) for entry in references if entry.get("controller")), "")


def is_leaving(pod: Json) -> bool:
    """Say whether a pod is on its way out, as the probes of a verification are."""
    labels = pod["metadata"].get("labels") or {}
    return "deletionTimestamp" in pod["metadata"] or kube_probe.LABELS.items() <= labels.items()


def cordon(*, on: bool) -> Json:
    """Return the patch with which a node takes no pods for our sake, or takes them again."""
    return {"metadata": {"annotations": {MARK: "" if on else None}}, "spec": {"unschedulable": True if on else None}}


def name_of(pod: Json) -> str:
    """Return namespace/name."""
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


class Drain:
    """The eviction of the pods of some nodes, all at once: none moves to another that leaves as well."""

    def __init__(self, api: KubeApi, nodes: t.Sequence[str], *, force: bool, seconds: float) -> None:
        """See what is on the nodes."""
        self.api, self.nodes, self.force, self.seconds = api, nodes, force, seconds
        self.pods = self._left()
        self.blocked: dict[str, str] = {}

    def orphans(self) -> list[str]:
        """Return the pods that are gone for good when they leave."""
        return [name_of(pod) for pod in self.pods if not owner(pod) and not is_leaving(pod)]

    def run(self) -> None:
        """Cordon the nodes and let their pods leave; when they do not, the nodes take pods again."""
        ours = [node for node in self.nodes if self._takes_pods(node)]
        try:
            for node in ours:
                self.api.patch(f"/api/v1/nodes/{node}", cordon(on=True))
            self._evict(time.monotonic() + self.seconds)
        except (RemovalError, KubeError):
            for node in ours:
                with contextlib.suppress(KubeError):
                    self.api.patch(f"/api/v1/nodes/{node}", cordon(on=False))
            raise

    def _takes_pods(self, name: str) -> bool:
        """Say whether a node takes pods, or does not because a removal of ours was cut short."""
        node = self.api.get(f"/api/v1/nodes/{name}")
        return not node["spec"].get("unschedulable") or MARK in (node["metadata"].get("annotations") or {})

    def _evict(self, deadline: float) -> None:
        while pods := self._left():
            late = time.monotonic() > deadline
            if late and not self.force:
                reasons = [f"{name} ({why})" for name, why in self.blocked.items()] or [name_of(pod) for pod in pods]
                raise RemovalError(
                    f"{', '.join(self.nodes)}: not drained in {self.seconds:g} s: {'; '.join(reasons)}; pods are taken "
                    "again; wait for what they wait for, give more time (--drain-timeout), or --force"
                )
            grace = max(int(pod["spec"].get("terminationGracePeriodSeconds") or 0) for pod in pods)
            if time.monotonic() > deadline + 30 + grace:
                raise RemovalError(f"{counted([name_of(pod) for pod in pods], 'pod')} do not end; their nodes may hang")
            self.blocked = {}
            for pod in pods:
                if "deletionTimestamp" not in pod["metadata"]:
                    self._send_away(pod, delete=late)
            time.sleep(0.5)

    def _send_away(self, pod: Json, *, delete: bool) -> None:
        metadata = {key: pod["metadata"][key] for key in ("name", "namespace")}
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if delete:
            self.api.delete(path)
            return
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        try:
            self.api.post(f"{path}/eviction", eviction)
        except KubeError as error:
            # 429: a budget says no for now; 500: several budgets cover the pod, which the API does not weigh.
            if error.status in (429, 500):
                budgets = self._budgets_of(pod)
                kept = f"kept by the PodDisruptionBudget {' and '.join(budgets)}"
                self.blocked[name_of(pod)] = kept if budgets else str(error)
            elif error.status != 404 and "being terminated" not in str(error):  # its namespace takes it away
                raise

    def _budgets_of(self, pod: Json) -> list[str]:
        """Return the names of the budgets that cover a pod."""
        labels = pod["metadata"].get("labels") or {}
        budgets = self.api.items(f"/apis/policy/v1/namespaces/{pod['metadata']['namespace']}/poddisruptionbudgets")
        wanted = {b["metadata"]["name"]: (b["spec"].get("selector") or {}).get("matchLabels") or {} for b in budgets}
        return [name for name, chosen in wanted.items() if chosen.items() <= labels.items()]

    def _left(self) -> list[Json]:
        """Return the pods that are still to leave."""
        on_nodes = [self.api.items("/api/v1/pods", fieldSelector=f"spec.nodeName={node}") for node in self.nodes]
        return to_evict([pod for pods in on_nodes for pod in pods])


def member_of(listing: str, name: str) -> str:
    """Return the id, in hexadecimal, of the etcd member of that name out of etcdctl's JSON, or nothing."""
    members = json.loads(listing)["members"]
    return next((f"{member['ID']:x}" for member in members if member.get("name") == name), "")


class Removal:
    """The module's work."""

    def __init__(self, module: AnsibleModule) -> None:
        """Reach the API."""
        self.module = module
        self.options = module.params
        self.api = KubeApi.from_file()
        self.nodes = {node["metadata"]["name"]: node for node in self.api.items("/api/v1/nodes")}

    def run(self) -> list[str]:
        """Judge, then do it; return what that took."""
        found = faults(self.options, self.nodes, answers) if self.options["state"] == "drained" else []
        if found:
            lines = [f"{fault['host']}: {fault['message']}; {fault['remedy']}" for fault in found]
            self.module.fail_json(msg="\n".join(lines), kind="config", faults=found)
        names = [host.lower() for host in self.options["hosts"]]
        return self._drain(names) if self.options["state"] == "drained" else self._delete(names)

    def _drain(self, names: list[str]) -> list[str]:
        if self.options["dead"]:
            return []
        # Where the kubelet is gone, no pod would ever say that it ended.
        ready = [name for name in names if condition(self.nodes[name], "Ready").get("status") == "True"]
        drain = Drain(self.api, ready, force=self.options["force"], seconds=self.options["timeout"])
        orphans = drain.orphans()
        if orphans and not self.options["force"]:
            raise RemovalError(
                f"nothing would make {counted(orphans, 'pod')} anew; delete what is not needed, or --force"
            )
        if ready and not self.module.check_mode:
            drain.run()
        pods = [name_of(pod) for pod in drain.pods]
        evicted = f": evict {counted(pods, 'pod')}" if pods else ""
        return [f"drain {', '.join(ready)}{evicted}"] if ready else []

    def _delete(self, names: list[str]) -> list[str]:
        changes = []
        for name in names:
            if is_master(self.nodes.get(name, {})) and (member := self._etcd_member(name)):
                changes.append(f"remove etcd's member {name}")
                if not self.module.check_mode:
                    self._etcdctl("member", "remove", member)
            if name in self.nodes:
                changes.append(f"delete node {name}")
                if not self.module.check_mode:
                    self._forget(name)
        return changes

    def _forget(self, name: str) -> None:
        self.api.delete(f"/api/v1/nodes/{name}")
        # Nobody is there any more to say that they ended; what made them makes them anew elsewhere.
        for pod in self.api.items("/api/v1/pods", fieldSelector=f"spec.nodeName={name}"):
            namespace, _, pod_name = name_of(pod).partition("/")
            self.api.delete(f"/api/v1/namespaces/{namespace}/pods/{pod_name}", gracePeriodSeconds=0)

    def _etcd_member(self, name: str) -> str:
        return member_of(self._etcdctl("member", "list", "--write-out=json"), name)

    def _etcdctl(self, *words: str) -> str:
        crictl = [self.module.get_bin_path("crictl", required=True, opt_dirs=["/usr/local/bin"])]
        crictl += ["--runtime-endpoint", RUNTIME]
        _, container, _ = self.module.run_command([*crictl, "ps", "--quiet", "--name", "^etcd$"])
        files = [f"--{key}={ETCD}/{name}" for key, name in TLS]
        argv = [*crictl, "exec", container.strip(), "etcdctl", "--endpoints=https://127.0.0.1:2379", *files, *words]
        code, out, err = self.module.run_command(argv)
        if code != 0:
            raise RemovalError(f"etcdctl {' '.join(words)}: {(err or out).strip()}")
        return out


TLS = (("cacert", "ca.crt"), ("cert", "healthcheck-client.crt"), ("key", "healthcheck-client.key"))


def main() -> None:
    """Run as Ansible's module."""
    names: dict[str, object] = {"type": "list", "elements": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "hosts": names,
            "state": {"type": "str", "choices": ["drained", "absent"], "required": True},
            "addresses": {"type": "dict", "required": True},
            "ports": {"type": "dict", "required": True},
            "control_plane_host": {"type": "str", "required": True},
            "force": {"type": "bool", "default": False},
            "dead": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
            "cluster": {"type": "str", "required": True},
            "cluster_id": {"type": "str"},
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    try:
        changes = Removal(module).run()
    except (KubeError, RemovalError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
