# SPDX-License-Identifier: Apache-2.0
"""The way of workloads to their declared pods: a ReplicationController is rolled pod by pod, others roll by themselves.

All are followed at once. What waiting does not heal ends the wait for that one after a while.
"""

from __future__ import annotations

import json
import time
import typing as t

from ansible.module_utils.yunkube.host import patience
from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.health import condition, workload_problem
from ansible.module_utils.yunkube.result import Fault
from ansible.module_utils.yunkube.web import diagnosis as web_diagnosis
from ansible.module_utils.yunkube.web.diagnosis import Trouble
from ansible.module_utils.yunkube.web.service import BEFORE, WORKLOADS, stamp_of

COST = "controller.kubernetes.io/pod-deletion-cost"
PATIENCE = patience.scaled(20.0)  # seconds that a lasting trouble must last
PAUSE = 0.5


class Workload(t.NamedTuple):
    """What is followed: whose it is, where it is, and a ReplicationController's manifest as it shall be in the end."""

    service: str
    path: str
    controller: Json | None = None


def planned(manifest: Json, before: Json | None) -> Json:
    """Return a stamped ReplicationController that remembers the template before, which a rollback goes back to."""
    if before is None:
        return manifest
    former = (before["metadata"].get("annotations") or {}).get(BEFORE)
    if stamp_of(before) != stamp_of(manifest):
        former = json.dumps(before["spec"]["template"], sort_keys=True)
    if not former:
        return manifest
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), BEFORE: former}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def surging(manifest: Json, pods: list[Json]) -> Json:
    """Return it as it is to be applied now: with one pod more while old ones are to be replaced."""
    wanted = manifest["spec"].get("replicas", 1)
    return scaled(manifest, wanted + 1) if wanted and old_pods(manifest, pods) else manifest


def scaled(manifest: Json, replicas: int) -> Json:
    """Return a workload's manifest with another number of pods."""
    return {**manifest, "spec": {**manifest["spec"], "replicas": replicas}}


def old_pods(controller: Json, pods: list[Json]) -> list[Json]:
    """Return the pods of another template than the controller's; none when it bears no stamp."""
    stamp = stamp_of(controller)
    return [pod for pod in pods if stamp and stamp_of(pod) != stamp and not pod["metadata"].get("deletionTimestamp")]


def pods_of(api: KubeApi, controller: Json) -> list[Json]:
    """Return the pods of a ReplicationController."""
    return web_diagnosis.owned(api.items(f"/api/v1/namespaces/{controller['metadata']['namespace']}/pods"), controller)


def is_ready(pod: Json) -> bool:
    """Say whether a pod answers."""
    return condition(pod, "Ready").get("status") == "True" and not pod["metadata"].get("deletionTimestamp")


def roll(api: KubeApi, found: Json, manifest: Json) -> str:
    """Take the next step that can be taken; say what is waited for, or nothing when all pods are new."""
    pods = pods_of(api, found)
    wanted, now = manifest["spec"].get("replicas", 1), found["spec"].get("replicas", 1)
    old, ready = old_pods(manifest, pods), sum(map(is_ready, pods))
    if not old or not wanted:
        if now != wanted:
            api.apply(manifest)
        return "" if now == wanted else f"is scaled to {wanted} pods"
    failing = [pod for pod in old if not is_ready(pod)]
    if failing:  # it serves nobody, and holds the place of one that may
        delete_pod(api, failing[0])
    elif len(old) == 1 and ready > wanted:
        # The last one goes by scaling back, so that none is made in its place; its cost makes it the one.
        if COST not in (old[0]["metadata"].get("annotations") or {}):
            api.patch(path_of_pod(old[0]), {"metadata": {"annotations": {COST: "-1000"}}})
        else:
            api.apply(manifest)
    elif now != wanted + 1:
        api.apply(scaled(manifest, wanted + 1))
    elif ready > wanted:
        delete_pod(api, old[0])
    return f"{len(old)} pods have the former template"


def delete_pod(api: KubeApi, pod: Json) -> None:
    """End a pod, in its own time."""
    api.delete(path_of_pod(pod))


def path_of_pod(pod: Json) -> str:
    """Return where a pod is."""
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def unfinished(found: Json | None) -> str:
    """Say what a workload still lacks, or has too much of, or nothing."""
    problem = workload_problem(found)
    if problem or found is None or found["kind"] == "DaemonSet":
        return problem
    more = found.get("status", {}).get("replicas", 0) - found["spec"].get("replicas", 1)
    return f"{more} surplus pods" if more > 0 else ""


class Follower:
    """Follows one workload, and knows what is wrong with it and since when."""

    def __init__(self, api: KubeApi, workload: Workload) -> None:
        """Begin."""
        self.api, self.workload = api, workload
        self.lacks = "not checked yet"
        self.trouble: Trouble | None = None
        self._since = 0.0

    def look(self) -> bool:
        """Look, and do what is to be done; say whether the workload is where it shall be."""
        found = self.api.find(self.workload.path)
        if self.workload.controller is not None and found is not None:
            self.lacks = roll(self.api, found, self.workload.controller)
            if self.lacks:
                self._judge(found)
                return False
        self.lacks = unfinished(found)
        if found is not None and self.lacks:
            self._judge(found)
        return not self.lacks

    def hopeless(self, now: float) -> bool:
        """Say whether waiting is of no use any more."""
        return self.trouble is not None and self.trouble.lasting and now - self._since > PATIENCE

    def fault(self, seconds: float) -> Fault:
        """Return what is wrong in the end."""
        late = Fault("rollout", f"{self.lacks} after {seconds:.0f} s", "allow more time, or check its pods")
        return (self.trouble.fault if self.trouble else late).on(self.workload.service)

    def _judge(self, found: Json) -> None:
        seen = web_diagnosis.see(self.api, found, stamp_of)
        trouble = web_diagnosis.diagnose(seen, web_diagnosis.log_of(self.api))
        if trouble is None or self.trouble is None or trouble.fault.check != self.trouble.fault.check:
            self._since = time.monotonic()
        self.trouble = trouble


def follow(api: KubeApi, workloads: t.Iterable[Workload], seconds: float) -> list[Fault]:
    """Wait for all workloads at once; return what is wrong with those that do not come to it."""
    began = time.monotonic()
    left = [Follower(api, workload) for workload in workloads]
    faults = []
    while left:
        started = time.monotonic()
        try:
            left = [follower for follower in left if not follower.look()]
        except KubeError as error:
            if not error.silent and error.status not in (409, 429, 500, 503):
                raise
        now = time.monotonic()
        ended = [follower for follower in left if now - began > seconds or follower.hopeless(now)]
        faults += [follower.fault(now - began) for follower in ended]
        left = [follower for follower in left if follower not in ended]
        if left:
            time.sleep(max(PAUSE, 2 * (now - started)))
    return faults


def workload_of(service: str, manifest: Json, path: str) -> Workload | None:
    """Return what is to be followed of an object, nothing when it has no pods."""
    if manifest["kind"] not in WORKLOADS:
        return None
    return Workload(service, path, manifest if manifest["kind"] == "ReplicationController" else None)
