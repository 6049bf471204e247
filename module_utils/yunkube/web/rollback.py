# SPDX-License-Identifier: Apache-2.0
"""A web service taken back to what it was before its last change."""

from __future__ import annotations

import json
import typing as t

from ansible.module_utils.yunkube.kube.api import Json, KubeApi
from ansible.module_utils.yunkube.result import Fault
from ansible.module_utils.yunkube.web import deploy as web_deploy
from ansible.module_utils.yunkube.web import ownership as web_ownership
from ansible.module_utils.yunkube.web import rollout as web_rollout
from ansible.module_utils.yunkube.web import service as web_service
from ansible.module_utils.yunkube.web.diagnosis import REVISION, owned

PLACES = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments/{}",
    "ReplicationController": "/api/v1/namespaces/{}/replicationcontrollers/{}",
}
HASH = "pod-template-hash"  # the label by which a ReplicaSet knows its pods


class NothingBefore(Exception):  # noqa: N818 - no error, an answer
    """There is nothing to go back to; the message says why."""


def find(api: KubeApi, namespace: str, name: str) -> tuple[str, Json]:
    """Return where a service's workload is, and the workload."""
    kept = api.find(web_deploy.RECORD_PATH)
    record = web_deploy.read_record(kept)
    ownership = web_ownership.Ownership(kept, record)
    for place in PLACES.values():
        path = place.format(namespace, name)
        found = api.find(path)
        if found is not None and ownership.owns(found, found):
            return path, found
    there = [f"{entry['namespace']}/{entry['name']}" for entry in record if entry["kind"] in PLACES]
    raise NothingBefore(f"there is no web service {namespace}/{name}; there are: {', '.join(there) or 'none'}")


def template_before(api: KubeApi, found: Json) -> Json:
    """Return the pods' template that a workload had before."""
    name = f"{found['metadata']['namespace']}/{found['metadata']['name']}"
    annotations = found["metadata"].get("annotations") or {}
    if found["kind"] == "ReplicationController":
        if web_service.BEFORE not in annotations:
            raise NothingBefore(f"{name} has never been changed: there is nothing to go back to")
        return t.cast("Json", json.loads(annotations[web_service.BEFORE]))
    now = int(annotations.get(REVISION, 0))
    sets = owned(api.items(f"/apis/apps/v1/namespaces/{found['metadata']['namespace']}/replicasets"), found)
    former = [one for one in sets if 0 < revision(one) < now]
    if not former:
        raise NothingBefore(f"{name} has no version before this one: there is nothing to go back to")
    template = json.loads(json.dumps(max(former, key=revision)["spec"]["template"]))
    template["metadata"]["labels"].pop(HASH, None)
    return t.cast("Json", template)


def revision(found: Json) -> int:
    """Return the revision of a Deployment that a ReplicaSet is of."""
    return int((found["metadata"].get("annotations") or {}).get(REVISION, 0))


def with_template(found: Json, template: Json) -> Json:
    """Return the manifest of a workload with other pods: all that it has stays, and is ours as it was."""
    metadata = {key: found["metadata"][key] for key in ("name", "namespace", "labels")}
    spec = {**found["spec"], "template": template}
    return {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": metadata, "spec": spec}


def roll_back(api: KubeApi, path: str, found: Json, timeout: float, *, dry_run: bool) -> tuple[Json, tuple[Fault, ...]]:
    """Apply the template before, and wait; return the workload's manifest and what is wrong in the end."""
    manifest = with_template(found, template_before(api, found))
    now, controller = manifest, None
    if found["kind"] == "ReplicationController":
        manifest = controller = web_rollout.planned(manifest, found)
        now = web_rollout.surging(manifest, web_rollout.pods_of(api, found))
    api.apply(now, dry_run=dry_run)
    if dry_run:
        return manifest, ()
    name = f"{found['metadata']['namespace']}/{found['metadata']['name']}"
    return manifest, tuple(web_rollout.follow(api, [web_rollout.Workload(name, path, controller)], timeout))


def images_of(manifest: Json) -> str:
    """Name the images of a workload's pods."""
    return ", ".join(web_service.images_of(manifest))


def in_words(found: Json, manifest: Json) -> str:
    """Say from which images to which a workload goes."""
    before, after = images_of(found), images_of(manifest)
    return f"from {before} to {after}" if before != after else f"to its previous version, with {after}"
