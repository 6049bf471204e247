# SPDX-License-Identifier: Apache-2.0
"""Controllers for the fake API: workloads come to what they say at once, and pods are ready when they are made."""

from __future__ import annotations

import copy
import typing as t

from fake_kube_api import FakeKubeApi, Json

READY = {"conditions": [{"type": "Ready", "status": "True"}]}
COST = "controller.kubernetes.io/pod-deletion-cost"


class Controllers:
    """Hears of every change; `images` that are bad make pods that are never ready."""

    def __init__(self, api: FakeKubeApi) -> None:
        """Begin to listen."""
        self.bad: set[str] = set()
        self.fewest = 1 << 30  # ready pods at any moment since it was reset
        self.most = 0
        self._number = 0
        api.changed = self.act

    def act(self, api: FakeKubeApi, _path: str) -> None:
        """Bring every workload to what it says."""
        for path, found in list(api.objects.items()):
            if "/deployments/" in path:
                replicas = found["spec"].get("replicas", 1)
                images = {entry["image"] for entry in found["spec"]["template"]["spec"]["containers"]}
                ready = 0 if images & self.bad else replicas
                found["status"] = {"replicas": replicas, "updatedReplicas": replicas, "readyReplicas": ready}
                found["status"]["observedGeneration"] = found["metadata"]["generation"]
            elif "/replicationcontrollers/" in path:
                self._replicate(api, found)

    def pods(self, api: FakeKubeApi) -> list[Json]:
        """Return the pods that there are, the oldest first."""
        return [found for path, found in api.objects.items() if "/pods/" in path]

    def _replicate(self, api: FakeKubeApi, found: Json) -> None:
        place = f"/api/v1/namespaces/{found['metadata']['namespace']}/pods"
        wanted, template = found["spec"].get("replicas", 1), found["spec"]["template"]
        self._measure(api)
        while len(self.pods(api)) < wanted:
            self._number += 1
            metadata: t.Any = copy.deepcopy(template["metadata"])
            metadata["ownerReferences"] = [{"uid": found["metadata"]["uid"], "controller": True}]
            bad = template["spec"]["containers"][0]["image"] in self.bad
            spec = copy.deepcopy(template["spec"])
            api.put(f"{place}/pod-{self._number}", metadata=metadata, spec=spec, status={} if bad else READY)
        # As the real one chooses: first what is not ready, then what costs least, then the newest.
        while len(pods := self.pods(api)) > wanted:
            leaving = min(reversed(pods), key=lambda pod: (pod["status"] == READY, self._cost(pod)))
            del api.objects[f"{place}/{leaving['metadata']['name']}"]
        self._measure(api)
        ready = sum(pod["status"] == READY for pod in self.pods(api))
        found["status"] = {"replicas": wanted, "readyReplicas": ready}
        found["status"]["observedGeneration"] = found["metadata"]["generation"]

    def _cost(self, pod: Json) -> int:
        return int((pod["metadata"].get("annotations") or {}).get(COST, 0))

    def _measure(self, api: FakeKubeApi) -> None:
        ready = sum(pod["status"] == READY for pod in self.pods(api))
        self.fewest, self.most = min(self.fewest, ready), max(self.most, len(self.pods(api)))
