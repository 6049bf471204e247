#!/usr/bin/python
"""Bring web services to what a short declaration says, and take away those that are not declared any more."""

from __future__ import annotations

DOCUMENTATION = r"""
module: web_services
short_description: Have the declared web services, and no other of ours
description:
  - Makes of each declaration a workload and a Service, applies them on the server's side, and waits until every pod is
    of the current version and ready. A ReplicationController's pods are replaced one by one.
  - Keeps a list of what it applied in the ConfigMap C(yunkube-web-services) of C(kube-system). What is on it and not
    declared any more is deleted, unless somebody took our label off it.
  - When pods do not come, it says why, of their status, events and logs.
author: [Yunkube]
options:
  services:
    description: The declarations.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: "Of the workload, the Service and the pods' label.", type: str, required: true}
      image: {description: The image with its tag., type: str, default: ""}
      namespace: {description: Its namespace; made where it is missing., type: str, default: default}
      kind:
        description: What makes the pods.
        type: str
        choices: [Deployment, ReplicationController]
        default: Deployment
      replicas: {description: How many pods., type: int, default: 2}
      port: {description: The TCP port that the program listens at., type: int, default: 8080}
      node_port: {description: The port of every node that leads to it; 0 for none., type: int, default: 0}
      cpu: {description: What each pod asks for., type: str, default: 500m}
      memory: {description: What each pod asks for and may take at most., type: str, default: 600Mi}
      pull_policy:
        description: When the image is pulled.
        type: str
        choices: [IfNotPresent, Always, Never]
        default: IfNotPresent
      env: {description: Environment of the program., type: dict, default: {}}
      probe_path:
        description: "An HTTP path that answers when the program works. Empty: its port is tried."
        type: str
        default: ""
      manifests: {description: Manifests in place of an image., type: list, elements: dict, default: []}
  timeout: {description: Seconds for all pods to become ready., type: int, default: 180}
  kubeconfig: {description: How to reach the API, type: path, default: /etc/kubernetes/admin.conf}
attributes:
  check_mode: {support: full, details: [A dry run on the server. Without a server everything would be applied.]}
  diff_mode: {support: full}
"""
EXAMPLES = r"""
- name: Have a web service
  web_services:
    services:
      - {name: shop, image: "10.77.0.21:5000/shop:1", node_port: 31111}
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
"""

import json
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.kube_api import ADMIN_CONF, Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube_objects import (
    Change,
    apply_one,
    as_diff,
    check_manifest,
    content_of,
    delete_one,
    name_of,
)
from ansible.module_utils.yunkube.kube_secrets import read_data
from ansible.module_utils.yunkube.web_rollout import (
    Deadline,
    NotReadyError,
    outdated,
    path_of,
    place_of,
    pods_of,
    roll,
    wait_for,
)
from ansible.module_utils.yunkube.web_service import (
    DECLARATION,
    MANAGED,
    OURS,
    PREVIOUS,
    TEMPLATE,
    Login,
    in_order,
    key_of,
    manifests_of,
    template_digest,
)
from ansible.module_utils.yunkube.words import counted

RECORD = {"name": "yunkube-web-services", "namespace": "kube-system"}
LOGIN = "/api/v1/namespaces/registry/secrets/registry-login"
# What keeps a namespace of ours from being deleted with the last service in it.
KEEPS = (
    "/api/v1/namespaces/{}/pods", "/api/v1/namespaces/{}/services", "/api/v1/namespaces/{}/persistentvolumeclaims",
    "/api/v1/namespaces/{}/replicationcontrollers", "/apis/apps/v1/namespaces/{}/deployments",
    "/apis/apps/v1/namespaces/{}/statefulsets", "/apis/apps/v1/namespaces/{}/daemonsets",
)  # fmt: skip

Key = tuple[str, str, str, str]


def find_login(api: KubeApi) -> Login | None:
    """Return the registry's login, as the cluster keeps it; None where there is no registry."""
    data = read_data(api.find(LOGIN))
    return data if {"address", "username", "password"} <= set(data) else None


def desired(api: KubeApi, services: list[Json], login: Login | None) -> list[Json]:
    """Return all objects that are declared, in the order of applying."""
    found: dict[Key, Json] = {}
    for service in services:
        for manifest in manifests_of(service, login):
            check_manifest(manifest)
            found[key_of(manifest)] = manifest
    for namespace in sorted({service["namespace"] for service in services}):
        there = api.find(f"/api/v1/namespaces/{namespace}")
        if there is None or (there["metadata"].get("labels") or {}).get(MANAGED) == OURS:
            made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {MANAGED: OURS}}}
            found.setdefault(key_of(made), made)
    return in_order([with_previous(api, manifest) for manifest in found.values()])


def with_previous(api: KubeApi, manifest: Json) -> Json:
    """Let a ReplicationController remember the template before, which nothing else does."""
    if manifest["kind"] != "ReplicationController":
        return manifest
    try:
        there = api.find(path_of(manifest))
    except KubeError:
        there = None
    if there is None:
        return manifest
    before = there["spec"]["template"]
    kept = (there["metadata"].get("annotations") or {}).get(PREVIOUS)
    fresh = template_digest(manifest["spec"]["template"])
    same = (before["metadata"].get("annotations") or {}).get(TEMPLATE) == fresh
    previous = kept if same else json.dumps(before, sort_keys=True)
    if not previous:
        return manifest
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": {PREVIOUS: previous}}}


def read_record(api: KubeApi) -> list[Key]:
    """Return what was applied before."""
    found = api.find("/api/v1/namespaces/{namespace}/configmaps/{name}".format(**RECORD))
    return [t.cast("Key", tuple(key)) for key in json.loads(((found or {}).get("data") or {}).get("objects", "[]"))]


def write_record(api: KubeApi, keys: list[Key]) -> None:
    """Note what is applied; without anything, the note goes, too."""
    manifest: Json = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**RECORD, "labels": {MANAGED: OURS}},
        "data": {"objects": json.dumps(sorted(keys))},
    }
    if keys:
        api.apply(manifest)
    else:
        api.delete(api.path_of(manifest))


def prune(api: KubeApi, keys: list[Key], *, dry_run: bool) -> list[Change]:
    """Delete what is ours and not declared any more: Services first, namespaces when nothing is left in them."""
    changes = []
    stubs = [
        {"apiVersion": version, "kind": kind, "metadata": {"name": name} | ({"namespace": space} if space else {})}
        for version, kind, space, name in keys
    ]
    for stub in reversed(in_order(stubs)):
        try:
            found = api.find(api.path_of(stub))
        except KubeError as error:
            if error.status == 404:  # its kind is gone
                continue
            raise
        if found is None or (found["metadata"].get("labels") or {}).get(MANAGED) != OURS:
            continue
        if stub["kind"] == "Namespace" and is_used(api, stub["metadata"]["name"], keys):
            continue
        if change := delete_one(api, stub, dry_run=dry_run):
            changes.append(change)
    return changes


def is_used(api: KubeApi, namespace: str, leaving: list[Key]) -> bool:
    """Say whether a namespace holds anything of somebody else."""
    names = {name for _, _, space, name in leaving if space == namespace}
    for path in KEEPS:
        for item in api.items(path.format(namespace)):
            labels = item["metadata"].get("labels") or {}
            if item["metadata"]["name"] not in names and labels.get(MANAGED) != OURS:
                return True
    return False


def refusal(api: KubeApi, manifest: Json, error: KubeError) -> str:
    """Say why the API does not take an object, and what to do."""
    text = str(error)
    port = re.search(r"nodePort: Invalid value: (\d+): (.*)", text)
    if port and "already allocated" in port.group(2):
        owner = next(
            (
                f"{service['metadata']['namespace']}/{service['metadata']['name']}"
                for service in api.items("/api/v1/services")
                for one in service["spec"].get("ports") or []
                if one.get("nodePort") == int(port.group(1))
            ),
            "another",
        )
        return f"{name_of(manifest)}: node_port {port.group(1)} is taken by Service {owner}; choose another"
    if port:
        return f"{name_of(manifest)}: node_port {port.group(1)} is out of range; choose one from 30000 to 32767"
    return text


def bring(
    api: KubeApi, services: list[Json], timeout: int, *, dry_run: bool
) -> tuple[list[Change], list[str], list[Change]]:
    """Apply, delete, roll and wait; return what was applied, further words, and what was deleted."""
    login = find_login(api)
    wanted = desired(api, services, login)
    keys = [key_of(manifest) for manifest in wanted]
    before = read_record(api)
    if not dry_run and not set(keys) <= set(before):
        write_record(api, [*{*before, *keys}])  # first: what a run that is cut off made must not be forgotten
    changes = []
    for manifest in wanted:
        try:
            changes.append(apply_one(api, manifest, dry_run=dry_run))
        except KubeError as error:
            raise KubeError(refusal(api, manifest, error), error.status, error.reason) from error
    gone = prune(api, [key for key in before if key not in keys], dry_run=dry_run)
    if not dry_run and set(before) != set(keys):
        write_record(api, keys)
    words = []
    deadline = Deadline(timeout)
    for manifest in wanted:
        if manifest["kind"] != "ReplicationController":
            continue
        if dry_run:
            found = api.find(path_of(manifest))
            old = outdated({**found, "spec": manifest["spec"]}, pods_of(api, found)) if found else []
            words += [f"replace {counted([pod['metadata']['name'] for pod in old], 'pod')}"] if old else []
        elif roll(api, manifest, deadline):
            words.append(f"replace the pods of {place_of(manifest)}")
    if not dry_run:
        wait_for(api, wanted, deadline)
    return [change for change in changes if change], words + deleted(gone), gone


def deleted(changes: list[Change]) -> list[str]:
    """Name what is deleted."""
    return [f"delete {counted([change.name for change in changes], 'object')}"] if changes else []


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "services": {"type": "list", "elements": "dict", "required": True, "options": DECLARATION},
            "timeout": {"type": "int", "default": 180},
            "kubeconfig": {"type": "path", "default": ADMIN_CONF},
        },
        supports_check_mode=True,
    )
    services = module.params["services"]
    try:
        api = KubeApi.from_file(module.params["kubeconfig"])
        applied, words, gone = bring(api, services, module.params["timeout"], dry_run=module.check_mode)
    except NotReadyError as error:
        module.fail_json(msg=str(error))
    except KubeError as error:
        if not (module.check_mode and error.silent):
            module.fail_json(msg=str(error), status=error.status)
        manifests = in_order(manifest for service in services for manifest in manifests_of(service, None))
        applied, words, gone = [Change(name_of(one), {}, content_of(one)) for one in manifests], [], []
    names = [change.name for change in applied]
    changes = ([f"apply {counted(names, 'object')}"] if names else []) + words
    module.exit_json(
        changed=bool(changes),
        changes=changes,
        **({"diff": as_diff([*applied, *gone])} if module._diff else {}),  # noqa: SLF001
    )


if __name__ == "__main__":
    main()
