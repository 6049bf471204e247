# SPDX-License-Identifier: Apache-2.0
"""Drain nodes with kubectl, and name beforehand what would be lost."""

from __future__ import annotations

import contextlib
import re
import typing as t

from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube import probe as kube_probe
from ansible.module_utils.yunkube.kube.api import ADMIN_CONF, Json, KubeApi, KubeError
from ansible.module_utils.yunkube.result import Fault
from ansible.module_utils.yunkube.teardown import paths
from ansible.module_utils.yunkube.words import counted, joined

MARK = "yunkube/removing"  # on a node that a removal has cordoned
HOSTNAME = "kubernetes.io/hostname"
# With which a pod says that volumes of it hold nothing of worth; the cluster autoscaler reads it as well.
SCRATCH = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
DATA_FLAG = "--delete-emptydir-data"
# The probes of a verification are deleted by the verification; kubectl would refuse them, as nothing owns them.
NO_PROBES = f"!{kube_probe.PROBE}"
KUBECTL_CACHE = "/run/yunkube/kubectl"  # by default it would leave ~/.kube/cache on the host
END = scaled(30)  # seconds, beside their grace period, for pods that are deleted

# kubectl says it twice; here in lines of their own, the last ones.
_REFUSED = re.compile(r"^cannot delete (.+?) \(use (--[\w-]+) to override\): (.+)$", re.MULTILINE)
_STUCK = re.compile(r'(?:pods/|pod )"([^"]+)" (?:-n|in namespace) "([^"]+)"')

Run = t.Callable[[list[str]], tuple[int, str, str]]


class DrainError(Exception):
    """A node was not drained; the message says why and what to do."""


def to_evict(pods: list[Json]) -> list[Json]:
    """Return the pods that must leave: neither static ones, nor a DaemonSet's, nor those that have ended."""
    return [
        pod
        for pod in pods
        if "kubernetes.io/config.mirror" not in (pod["metadata"].get("annotations") or {})
        and owner(pod) != "DaemonSet"
        and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        and kube_probe.PROBE not in (pod["metadata"].get("labels") or {})
    ]


def owner(pod: Json) -> str:
    """Return the kind of the controller that would replace the pod, or nothing."""
    references = pod["metadata"].get("ownerReferences") or []
    return next((str(entry["kind"]) for entry in references if entry.get("controller")), "")


def name_of(pod: Json) -> str:
    """Return namespace/name."""
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def local_volumes(volumes: list[Json], node: Json) -> dict[tuple[str, str], str]:
    """Return the PersistentVolumes that only this node has, by the namespace and name of their claim."""
    names = {node["metadata"]["name"], (node["metadata"].get("labels") or {}).get(HOSTNAME, "")}
    found = {}
    for volume in volumes:
        spec, claim = volume["spec"], volume["spec"].get("claimRef")
        terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or []
        pinned = [
            set(match.get("values") or ())
            for term in terms
            for match in term.get("matchExpressions") or ()
            if match.get("key") == HOSTNAME and match.get("operator") == "In"
        ]
        is_here = any(values & names for values in pinned)
        if claim and (is_here or (not pinned and ("hostPath" in spec or "local" in spec))):
            found[str(claim["namespace"]), str(claim["name"])] = str(volume["metadata"]["name"])
    return found


def local_data(pod: Json, claims: t.Mapping[tuple[str, str], str]) -> list[str]:
    """Return what the pod keeps on its host alone, in words."""
    space, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    scratch = str((pod["metadata"].get("annotations") or {}).get(SCRATCH, "")).split(",")
    kept = []
    for volume in pod["spec"].get("volumes") or []:
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
        if "ephemeral" in volume:
            claim = f"{name}-{volume['name']}"
        if "emptyDir" in volume and volume["name"] not in scratch:
            kept.append(f"emptyDir {volume['name']}")
        elif volume.get("hostPath", {}).get("path") == str(host_state.FOLDER / paths.REGISTRY):
            continue  # the registry's images, which are counted and asked for by themselves
        elif "hostPath" in volume:
            kept.append(f"hostPath {volume['hostPath'].get('path')}")
        elif (space, claim) in claims:
            kept.append(f"PersistentVolume {claims[space, claim]}")
    return kept


def refusals(said: str) -> list[tuple[str, str, str]]:
    """Return what kubectl refuses to delete: which kind of pods, their names, the flag that would allow it."""
    return [(what, names.strip(), flag) for what, flag, names in _REFUSED.findall(said)]


def cordon(*, on: bool, mark: str = MARK) -> Json:
    """Return the patch with which a node takes no pods because of us, or takes them again."""
    return {"metadata": {"annotations": {mark: "" if on else None}}, "spec": {"unschedulable": True if on else None}}


class Drain:
    """The draining of some nodes."""

    def __init__(
        self,
        api: KubeApi,
        run: Run,
        nodes: t.Sequence[Json],
        *,
        force: bool,
        data: bool,
        seconds: float,
        mark: str = MARK,
    ) -> None:
        """See what runs on the nodes; `mark` is the annotation of those that it cordons."""
        self.api, self._run, self.force, self.data, self.seconds = api, run, force, data, seconds
        self._mark = mark
        self.nodes = {node["metadata"]["name"]: node for node in nodes}
        self.pods = {name: self._left(name) for name in self.nodes}

    def faults(self) -> list[Fault]:
        """Return which pods must not be evicted without a flag. Nothing is changed."""
        found = []
        volumes = self.api.items("/api/v1/persistentvolumes") if not self.data else []
        for name, node in self.nodes.items():
            if not self.data:
                claims = local_volumes(volumes, node)
                kept = [
                    f"{name_of(pod)} ({', '.join(data)})"
                    for pod in self.pods[name]
                    if (data := local_data(pod, claims))
                ]
                if kept:
                    message = f"data that exists only on this host would be lost, of {counted(kept, 'pod')}"
                    found.append(Fault("local data", message, f"move what is needed, then: {DATA_FLAG}", name))
            code, out, err = self._kubectl(name, "--dry-run=client")
            refused = refusals(err or out)
            for what, names, flag in refused:
                message = f"kubectl drain refuses to delete {what}: {names}"
                found.append(Fault("drain", message, f"delete what is not needed, or allow it: {flag}", name))
            if code != 0 and not refused:
                raise DrainError(f"kubectl drain {name}: {(err or out).strip()[-300:]}")
        return found

    def run(self, names: t.Sequence[str]) -> None:
        """Cordon the nodes, so that no pod moves to another that leaves as well, then drain one after the other."""
        ours = [name for name in names if self._takes_pods(name)]
        try:
            for name in ours:
                self.api.patch(f"/api/v1/nodes/{name}", cordon(on=True, mark=self._mark))
            for name in names:
                self._drain(name)
        except (DrainError, KubeError):
            for name in ours:
                with contextlib.suppress(KubeError):
                    self.api.patch(f"/api/v1/nodes/{name}", cordon(on=False, mark=self._mark))
            raise

    def _takes_pods(self, name: str) -> bool:
        """Say whether a node takes pods, or does not because a run of ours was cut short."""
        node = self.api.get(f"/api/v1/nodes/{name}")
        return not node["spec"].get("unschedulable") or self._mark in (node["metadata"].get("annotations") or {})

    def _drain(self, name: str) -> None:
        code, out, err = self._kubectl(name, f"--timeout={self.seconds:g}s")
        if code == 0:
            return
        reasons = self._reasons(err or out)
        if not self.force:
            raise DrainError(
                f"{name}: not drained in {self.seconds:g} s: {'; '.join(reasons)}; it accepts pods again; remove "
                "the cause, allow more time (--drain-timeout), or use --force"
            )
        left = self._left(name)
        grace = max([int(pod["spec"].get("terminationGracePeriodSeconds") or 0) for pod in left], default=0)
        code, out, err = self._kubectl(name, "--disable-eviction", f"--timeout={grace + END:g}s")
        if code != 0:
            raise DrainError(f"{name}: {'; '.join(self._reasons(err or out))}; the node may hang")

    def _reasons(self, said: str) -> list[str]:
        """Say why pods did not leave, by what kubectl says."""
        names = list(dict.fromkeys((space, name) for name, space in _STUCK.findall(said)))
        reasons = []
        for space, name in names:
            pod = self.api.find(f"/api/v1/namespaces/{space}/pods/{name}")
            budgets = self._budgets_of(pod) if pod and "deletionTimestamp" not in pod["metadata"] else []
            kept = f" (kept by the PodDisruptionBudget {joined(budgets)})" if budgets else ""
            reasons.append(f"{space}/{name}{kept}")
        return reasons or [said.strip()[-300:]]

    def _budgets_of(self, pod: Json) -> list[str]:
        """Return the names of the budgets that cover a pod."""
        labels = pod["metadata"].get("labels") or {}
        budgets = self.api.items(f"/apis/policy/v1/namespaces/{pod['metadata']['namespace']}/poddisruptionbudgets")
        wanted = {b["metadata"]["name"]: (b["spec"].get("selector") or {}).get("matchLabels") or {} for b in budgets}
        return [name for name, chosen in wanted.items() if chosen.items() <= labels.items()]

    def _kubectl(self, node: str, *options: str) -> tuple[int, str, str]:
        flags = ["--ignore-daemonsets", DATA_FLAG, f"--pod-selector={NO_PROBES}"]  # local data is judged by `faults`
        flags += ["--force"] if self.force else []
        own = ["--kubeconfig", ADMIN_CONF, "--cache-dir", KUBECTL_CACHE]
        return self._run([*own, "drain", node, *flags, *options])

    def _left(self, name: str) -> list[Json]:
        """Return the pods that are still to leave a node."""
        return to_evict(self.api.items("/api/v1/pods", fieldSelector=f"spec.nodeName={name}"))
