# SPDX-License-Identifier: Apache-2.0
"""Read what the running cluster was created with and what its kubelets are to run with, as text.

Any host that has joined may ask: kubeadm lets nodes read C(kubeadm-config) and C(kubelet-config). The text is YAML,
which hosts have no parser for, so the control machine compares it (see first_run.py and kubelet_settings.py).
"""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube.node_marks import facts_of

CONFIGMAPS = "/api/v1/namespaces/kube-system/configmaps"
KUBELET_CONFIGMAP = f"{CONFIGMAPS}/kubelet-config"
# Annotation of ConfigMap kubelet-config: the cluster_kubelet_config that is in it, so that a removed key is noticed.
DECLARED = "yunkube/kubelet-config"
KUBECONFIGS = ("etc/kubernetes/admin.conf", "etc/kubernetes/kubelet.conf")
NAMES = ("yunkube", "kubeadm-config", "kubelet-config", "kube-proxy")
KUBELET_FILE = "var/lib/kubelet/config.yaml"


def values_of(
    root: Path = Path("/"),
    connect: t.Callable[[str, float], KubeApi] = KubeApi.from_file,
    timeout: float = 2,
    *,
    node: str = "",
    nodes: bool = False,
) -> Json:
    """Return C(state): absent on a host of no cluster, silent where no API answers, else found with the texts.

    With `node` also what is marked on the node of this name, the host's own; empty where there is none. With `nodes`
    also the names of all nodes, which a master may list.
    """
    path = next((root / name for name in KUBECONFIGS if (root / name).exists()), None)
    if path is None:
        return {"state": "absent"}
    try:
        with connect(str(path), timeout) as api:
            identity, cluster, kubelet, proxy = (_find(api, f"{CONFIGMAPS}/{name}") for name in NAMES)
            itself = _find(api, f"/api/v1/nodes/{node}") if node else {}
            listed = [each["metadata"]["name"] for each in api.items("/api/v1/nodes")] if nodes else []
    except KubeError as error:
        return {"state": "silent", "detail": str(error)}
    file = root / KUBELET_FILE
    return {
        "state": "found",
        "identity": {key: str(_data(identity).get(key, "")) for key in ("name", "id")},
        "cluster": _data(cluster).get("ClusterConfiguration", ""),
        "kubelet": _data(kubelet).get("kubelet", ""),
        "kubelet_declared": ((kubelet.get("metadata") or {}).get("annotations") or {}).get(DECLARED, ""),
        "kubelet_file": file.read_text(errors="replace") if file.exists() else "",
        "node": facts_of(itself) if itself else {},
        "kubelet_version": str(itself.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "")),
        "nodes": listed,
        "proxy": _data(proxy).get("config.conf", ""),
    }


def _find(api: KubeApi, path: str) -> Json:
    """Return an object, empty where there is none or where a node may not read it (yunkube, kube-proxy)."""
    try:
        return api.get(path)
    except KubeError as error:
        if error.status in (403, 404):
            return {}
        raise


def _data(found: Json) -> Json:
    return found.get("data") or {}
