# SPDX-License-Identifier: Apache-2.0
"""The turn of some nodes, seen from the API: they are drained, and take pods again when they are upgraded."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.kube.api import Json, KubeApi
from ansible.module_utils.yunkube.kube.drain import Drain, Run, cordon, name_of
from ansible.module_utils.yunkube.kube.health import condition
from ansible.module_utils.yunkube.upgrade.plan import MARK, is_marked
from ansible.module_utils.yunkube.words import counted


def is_ready(node: Json) -> bool:
    """Say whether its kubelet reports that it is."""
    return bool(condition(node, "Ready").get("status") == "True")


def drain(api: KubeApi, kubectl: Run, names: t.Sequence[str], options: Json, *, check_mode: bool) -> list[str]:
    """Drain the nodes, and return what that took; those that an earlier run left not Ready have no pods to wait for."""
    nodes = [node for name in names if is_ready(node := api.get(f"/api/v1/nodes/{name}"))]
    work = Drain(
        api,
        kubectl,
        nodes,
        force=options["force"],
        data=options["delete_emptydir_data"],
        seconds=options["timeout"],
        mark=MARK,
    )
    ready = [node["metadata"]["name"] for node in nodes]
    pods = [name_of(pod) for name in ready for pod in work.pods[name]]
    if ready and not check_mode:
        work.run(ready)
    evicted = f": evict {counted(pods, 'pod')}" if pods else ""
    return [f"drain {', '.join(ready)}{evicted}"] if ready else []


def uncordon(api: KubeApi, names: t.Sequence[str], *, check_mode: bool) -> list[str]:
    """Let the nodes that an upgrade cordoned, and that are Ready, take pods again; return their names in words."""
    changes = []
    for name in names:
        path = f"/api/v1/nodes/{name}"
        node = api.get(path)
        if is_marked(node) and is_ready(node):
            changes.append(f"let {name} take pods again")
            if not check_mode:
                api.patch(path, cordon(on=False, mark=MARK))
    return changes
