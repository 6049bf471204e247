#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Take a web service back to the version before."""

from __future__ import annotations

DOCUMENTATION = r"""
module: web_rollback
short_description: Return a web service to its previous version
description:
  - A Deployment returns to its previous revision, a ReplicationController to its previous template.
  - The number of pods stays. Waits until they run. Called again, it undoes the rollback.
author: [Yunkube]
options:
  name: {description: The service., type: str, required: true}
  namespace: {description: Its namespace., type: str, default: default}
  timeout: {description: Seconds until its pods must run., type: int, default: 180}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  kubeconfig: {description: The kubeconfig for the API, type: path, default: /etc/kubernetes/admin.conf}
  run: {description: The run that this belongs to; it holds its claim here., type: dict, default: {}}
attributes:
  check_mode: {support: full}
"""
EXAMPLES = r"""
- name: Return to the version before
  web_rollback:
    name: shop
    namespace: default
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
table: {description: "The service and its current image", returned: success, type: list, elements: dict}
faults:
  description: Why the service does not run, in the form that docs/events.md describes; C(host) is namespace/name.
  returned: failure
  type: list
  elements: dict
"""

import json
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.kube.api import ADMIN_CONF, Json, KubeApi, KubeError
from ansible.module_utils.yunkube.result import Fault, Report
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


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "default": "default"},
            "timeout": {"type": "int", "default": 180},
            **identity.OPTIONS,
            "kubeconfig": {"type": "path", "default": ADMIN_CONF},
            **host_lock.RUN_SPEC,
        },
        supports_check_mode=True,
    )
    identity.refuse_another(module)
    host_lock.take(module, last=host_lock.verb(module).startswith("web"))
    name = f"{module.params['namespace']}/{module.params['name']}"
    began = time.monotonic()
    try:
        with KubeApi.from_file(module.params["kubeconfig"]) as api:
            path, found = find(api, module.params["namespace"], module.params["name"])
            manifest, faults = roll_back(api, path, found, module.params["timeout"], dry_run=module.check_mode)
    except NothingBefore as error:
        module.fail_json(msg=str(error), kind="config")
    except KubeError as error:
        module.fail_json(msg=str(error), status=error.status)
    images = [", ".join(web_service.images_of(one)) for one in (found, manifest)]
    words = (
        f"from {images[0]} to {images[1]}" if images[0] != images[1] else f"to its previous version, with {images[1]}"
    )
    changes = [f"roll web service {name} back {words}"]
    if faults:
        module.fail_json(**Report(faults).as_failure(), changed=True, changes=changes)
    row = {
        "check": "rollback",
        "target": name,
        "ok": True,
        "seconds": round(time.monotonic() - began, 1),
        "detail": words,
    }
    module.exit_json(changed=True, changes=changes, table=[{**row, "image": images[1]}])


if __name__ == "__main__":
    main()
