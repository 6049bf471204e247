# SPDX-License-Identifier: Apache-2.0
"""Who and what a run waits for, said while it lasts: a slow host or link must not look like a run that hangs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from deployer.happenings import Happening, StageEnded, TaskEnded, TaskStarted, Waiting

# Seconds that a task may take before it is said; then each time the wait has doubled, and every five minutes.
FIRST = 15.0
MOST = 300.0

# What a module that may take long waits for, as it is said after "waiting for". Others are told by their task's name.
AWAITED = {
    "addon_certificates": "new pods of the addon, with the new certificate, to be ready",
    "alicloud_hosts": "the cloud to create instances, and their SSH servers to answer",
    "bundle_build": "programs and images to be downloaded or built",
    "bundle_install": "downloads from the control machine or cluster_bundle_url to arrive and be installed",
    "bundle_upload": "the bundle to be uploaded to the bucket",
    "cluster_verify": "nodes to be ready, system pods to run, and probes to reach each other",
    "docker_machines": "the SSH servers of the new hosts to answer",
    "host_facts": "an SSH connection to open, then Python on the host to answer",
    "kube_apply": "the API server to accept the objects",
    "kubeadm_certs": "new certificates to be in use, and the control plane to be healthy again",
    "kubeadm_init": "etcd and the API server to start (up to master_init_timeout)",
    "kubeadm_join": "the API server to answer and the kubelet to get its certificate (up to node_join_timeout)",
    "kubeadm_token": "the control plane to sign the new tokens",
    "kubelet_rollout": "the kubelet to restart, and its node to be ready again",
    "node_removal": "pods to be evicted from the node (up to node_drain_timeout_seconds)",
    "pod_cidrs": "the control plane to assign ranges to the new nodes",
    "web_services": "the pods of the services to be ready (up to web_service_timeout)",
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
        """Yield a notice when one is due, with the hosts that have not answered yet."""
        waited = self._clock() - self._since
        if self._task is not None and running and waited >= self._next:
            self._next = waited + min(waited, MOST)
            task = self._task
            yield Waiting(task.name, task.path, running, round(waited, 1), AWAITED.get(task.action, ""))
