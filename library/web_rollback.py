#!/usr/bin/python
"""Bring a web service back to the version before."""

from __future__ import annotations

DOCUMENTATION = r"""
module: web_rollback
short_description: Bring a web service back to the version before
description:
  - A Deployment goes back to the pods' template of its revision before, a ReplicationController to the one that
    M(web_services) kept of it. Waits until the pods are there.
  - The declaration stays as it is, so the next run of M(web_services) brings back what it says.
author: [Yunkube]
options:
  name: {description: The service's name., type: str, required: true}
  namespace: {description: Its namespace., type: str, default: default}
  timeout: {description: Seconds for all pods to become ready., type: int, default: 180}
  kubeconfig: {description: How to reach the API, type: path, default: /etc/kubernetes/admin.conf}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
"""

import json
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.kube_api import ADMIN_CONF, Json, KubeApi, KubeError
from ansible.module_utils.yunkube.web_rollout import (
    WORKLOADS,
    Deadline,
    NotReadyError,
    path_of,
    place_of,
    roll,
    wait_for,
)
from ansible.module_utils.yunkube.web_service import MANAGED, OURS, PREVIOUS

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"


def find_workload(api: KubeApi, namespace: str, name: str) -> Json:
    """Return the service's workload, if it is ours."""
    for kind in ("Deployment", "ReplicationController"):
        found = api.find(WORKLOADS[kind].format(namespace=namespace, name=name))
        if found and (found["metadata"].get("labels") or {}).get(MANAGED) == OURS:
            return {**found, "kind": kind}
    raise KubeError(f"there is no web service {name} in the namespace {namespace}")


def revision(found: Json) -> int:
    """Return the number of a Deployment's or a ReplicaSet's revision."""
    return int((found["metadata"].get("annotations") or {}).get(REVISION, 0))


def template_before(api: KubeApi, workload: Json) -> Json:
    """Return the pods' template of the version before; KubeError when there is none."""
    metadata = workload["metadata"]
    if workload["kind"] == "ReplicationController":
        kept = (metadata.get("annotations") or {}).get(PREVIOUS)
        before = json.loads(kept) if kept else None
    else:
        sets = [
            one
            for one in api.items(f"/apis/apps/v1/namespaces/{metadata['namespace']}/replicasets")
            if any(owner.get("uid") == metadata["uid"] for owner in one["metadata"].get("ownerReferences") or [])
            and revision(one) < revision(workload)
        ]
        before = max(sets, key=revision)["spec"]["template"] if sets else None
    if before is None:
        raise KubeError(f"{place_of(workload)} has no version before: there is nothing to go back to")
    labels = {key: value for key, value in before["metadata"]["labels"].items() if key != HASH}
    return {**before, "metadata": {**before["metadata"], "labels": labels}}


def images(template: Json) -> str:
    """Return the images of a pods' template."""
    return ", ".join(container["image"] for container in template["spec"]["containers"])


def go_back(api: KubeApi, workload: Json, before: Json, timeout: int) -> None:
    """Put the template in place and wait for its pods."""
    now = workload["spec"]["template"]
    steps: list[Json] = [{"op": "replace", "path": "/spec/template", "value": before}]
    if workload["kind"] == "ReplicationController":
        key = PREVIOUS.replace("~", "~0").replace("/", "~1")
        steps.append(
            {"op": "replace", "path": f"/metadata/annotations/{key}", "value": json.dumps(now, sort_keys=True)}
        )
    api.request("PATCH", path_of(workload), t.cast("Json", steps), kind="application/json-patch+json")
    deadline = Deadline(timeout)
    if workload["kind"] == "ReplicationController":
        manifest = {"apiVersion": "v1", "kind": workload["kind"], "metadata": bare(workload), "spec": workload["spec"]}
        roll(api, {**manifest, "spec": {**workload["spec"], "template": before}}, deadline)
    wait_for(api, [workload], deadline)


def bare(workload: Json) -> Json:
    """Return the metadata that an object is applied with."""
    kept = ("name", "namespace", "labels", "annotations")
    return {key: value for key, value in workload["metadata"].items() if key in kept}


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "default": "default"},
            "timeout": {"type": "int", "default": 180},
            "kubeconfig": {"type": "path", "default": ADMIN_CONF},
        },
        supports_check_mode=True,
    )
    try:
        api = KubeApi.from_file(module.params["kubeconfig"])
        workload = find_workload(api, module.params["namespace"], module.params["name"])
        before, now = template_before(api, workload), workload["spec"]["template"]
        if not module.check_mode:
            go_back(api, workload, before, module.params["timeout"])
    except (KubeError, NotReadyError) as error:
        module.fail_json(msg=str(error))
    words = f"bring {place_of(workload)} back from {images(now)} to {images(before)}"
    if not module.check_mode:
        words += "; write that into the inventory, or the next up brings back what it declares"
    module.exit_json(changed=True, changes=[words], diff={"before": now, "after": before})


if __name__ == "__main__":
    main()
