# SPDX-License-Identifier: Apache-2.0
"""Who and what a run waits for, said while it lasts: a slow host or link must not look like a run that hangs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from deployer.happenings import Happening, StageEnded, TaskEnded, TaskStarted, Waiting

# Seconds that a task may take before it is said; then each time the wait has doubled, and every five minutes.
FIRST = 15.0
MOST = 300.0

# What a module that may take long waits for. Others are told by their task's name alone.
AWAITED = {
    "alicloud_hosts": "the cloud creates instances, and their SSH servers answer",
    "bundle_build": "programs and images are built from source",
    "bundle_install": "downloads from the control machine or cluster_bundle_url, then their installation",
    "bundle_upload": "the bundle is uploaded to the bucket",
    "cluster_verify": "nodes are ready, system pods run, and probes reach each other",
    "docker_machines": "the SSH servers of the new hosts answer",
    "host_facts": "an SSH connection, then Python on the host",
    "kube_apply": "the API server accepts the objects",
    "kubeadm_init": "kubeadm; etcd and the API server start (up to master_init_timeout)",
    "kubeadm_join": "kubeadm; the API server answers, and the kubelet gets its certificate (up to node_join_timeout)",
    "kubeadm_token": "the control plane signs the new tokens",
    "kubelet_rollout": "the kubelet restarts, and its node is ready again",
    "node_removal": "pods are evicted from the node (up to node_drain_timeout_seconds)",
    "pod_cidrs": "the control plane assigns ranges to the new nodes",
    "web_services": "the pods of the services are ready (up to web_service_timeout)",
}


class Waits:
    """Knows since when the task under way runs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no task."""
        self._clock = clock
        self._task: TaskStarted | None = None
        self._since = self._next = 0.0

    def note(self, happening: Happening) -> None:
        """Note which task is under way."""
        match happening:
            case TaskStarted():
                self._task, self._since, self._next = happening, self._clock(), FIRST
            case TaskEnded() | StageEnded():
                self._task = None

    def due(self, running: tuple[str, ...]) -> Iterator[Waiting]:
        """Say it where it is time to, of the hosts that have not answered yet."""
        waited = self._clock() - self._since
        if self._task is not None and running and waited >= self._next:
            self._next = waited + min(waited, MOST)
            task = self._task
            yield Waiting(task.name, task.path, running, round(waited, 1), AWAITED.get(task.action, ""))
