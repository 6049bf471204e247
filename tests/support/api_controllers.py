# SPDX-License-Identifier: Apache-2.0
"""The little of controllers that web services wait for, at a real API: Deployments come up and end, namespaces end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError, parse_kubeconfig
from kube_api_server import ApiServer

PAUSE = 0.05


@contextlib.contextmanager
def running(server: ApiServer) -> Iterator[None]:
    """Run them repeatedly for as long as the `with` lasts."""
    ended = threading.Event()
    thread = threading.Thread(target=_act, args=(server, ended))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _act(server: ApiServer, ended: threading.Event) -> None:
    with KubeApi(parse_kubeconfig(server.kubeconfig), timeout=60) as api:
        while not ended.wait(PAUSE):
            with contextlib.suppress(KubeError):  # what was changed or deleted meanwhile is seen in the next round
                for one in api.items("/apis/apps/v1/deployments"):
                    _follow(api, one)
                for space in api.items("/api/v1/namespaces"):
                    if "deletionTimestamp" in space["metadata"]:
                        path = f"/api/v1/namespaces/{space['metadata']['name']}"
                        api.request("PUT", f"{path}/finalize", {**space, "spec": {"finalizers": []}})


def _follow(api: KubeApi, found: Json) -> None:
    metadata, count = found["metadata"], found["spec"]["replicas"]
    path = f"/apis/apps/v1/namespaces/{metadata['namespace']}/deployments/{metadata['name']}"
    if "deletionTimestamp" in metadata:  # the collector of garbage lets it go when its pods are gone
        api.patch(path, {"metadata": {"finalizers": None}})
        return
    status = {"observedGeneration": metadata["generation"]}
    status |= dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), count)
    if found.get("status", {}).get("observedGeneration") != metadata["generation"]:
        api.request("PUT", f"{path}/status", {**found, "status": status})
