#!/usr/bin/python
"""Apply manifests on the API server's side."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_apply
short_description: Bring objects of the cluster to what manifests say
description:
  - Server-side apply as field manager C(yunkube). Fields that a manifest names are made so, others are left alone.
  - Runs on a master and speaks to the API itself, so it needs neither kubectl nor a library.
author: [Yunkube]
options:
  resources: {description: "Manifests, in the order of applying", type: list, elements: dict, required: true}
  secrets:
    description:
      - Secrets whose content is made on this host, once, and kept. They come after the namespaces that lead
        O(resources). Deployments among these get an annotation that changes with what the Secrets hold.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description:
          - C(login) holds C(username), C(password) and C(htpasswd). C(certificate) is a server's, by the cluster's CA,
            made anew when it is for other names or has 30 days left.
        type: str
        choices: [login, certificate]
        required: true
      namespace: {description: Its namespace., type: str, required: true}
      name: {description: Its name., type: str, required: true}
      username: {description: Of a login., type: str, default: admin}
      password: {description: "Of a login. Empty: the one that it has, or a new one.", type: str, default: ""}
      more: {description: What a login's Secret holds beside it., type: dict, default: {}}
      names: {description: Names and addresses of a certificate's server., type: list, elements: str, default: []}
  state: {description: Whether the objects shall be there, type: str, choices: [present, absent], default: present}
  kubeconfig: {description: How to reach the API, type: path, default: /etc/kubernetes/admin.conf}
attributes:
  check_mode: {support: full, details: [A dry run on the server. Without a server everything would be applied.]}
  diff_mode: {support: full}
"""
EXAMPLES = r"""
- name: Apply the network's manifests
  kube_apply:
    resources: "{{ lookup('ansible.builtin.template', 'flannel.yaml.j2') | from_yaml_all }}"
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
"""

import json
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.kube_api import ADMIN_CONF, Json, KubeApi, KubeError
from ansible.module_utils.yunkube.kube_secrets import digest, manifest_of
from ansible.module_utils.yunkube.words import counted

SECRETS = "yunkube/secrets"  # annotation of a Deployment's pods
SECRET_OPTIONS: dict[str, t.Any] = {
    "kind": {"type": "str", "choices": ["login", "certificate"], "required": True},
    "namespace": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "username": {"type": "str", "default": "admin"},
    "password": {"type": "str", "default": "", "no_log": True},
    "more": {"type": "dict", "default": {}},
    "names": {"type": "list", "elements": "str", "default": []},
}

# What the server writes into every object and what says nothing about its content.
_BOOKKEEPING = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")


class Change(t.NamedTuple):
    """What happened to one object, or would."""

    name: str
    before: Json
    after: Json


def name_of(manifest: Json) -> str:
    """Return how a person names an object: kind namespace/name."""
    metadata = manifest["metadata"]
    place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{manifest['kind']} {place}{metadata['name']}"


def content_of(found: Json | None, *, hide: bool = True) -> Json:
    """Return an object without status, bookkeeping and, for a diff, secret values."""
    if found is None:
        return {}
    metadata = {key: value for key, value in found.get("metadata", {}).items() if key not in _BOOKKEEPING}
    content = {key: value for key, value in found.items() if key != "status"}
    if hide and found.get("kind") == "Secret":
        for values in ("data", "stringData"):
            if content.get(values):
                content[values] = dict.fromkeys(content[values], "(hidden)")
    return {**content, "metadata": metadata}


def check_manifest(manifest: Json) -> None:
    """Refuse what is no manifest, before anything is sent."""
    metadata = manifest.get("metadata")
    if not (
        manifest.get("apiVersion") and manifest.get("kind") and isinstance(metadata, dict) and metadata.get("name")
    ):
        raise KubeError(f"not a manifest (apiVersion, kind and metadata.name are needed): {json.dumps(manifest)[:120]}")


def apply_one(api: KubeApi, manifest: Json, *, dry_run: bool) -> Change | None:
    """Apply one manifest; None when the object was so already."""
    try:
        before = api.find(api.path_of(manifest))
        after = api.apply(manifest, dry_run=dry_run)
    except KubeError as error:
        if dry_run and error.status == 404:  # its namespace or its kind would come first
            return Change(name_of(manifest), {}, content_of(manifest))
        raise KubeError(f"{name_of(manifest)}: {error}", error.status, error.reason) from error
    if before is not None:
        same_version = before["metadata"].get("resourceVersion") == after["metadata"].get("resourceVersion")
        if same_version and not dry_run:
            return None
        if dry_run and content_of(before, hide=False) == content_of(after, hide=False):
            return None
    return Change(name_of(manifest), content_of(before), content_of(after))


def delete_one(api: KubeApi, manifest: Json, *, dry_run: bool) -> Change | None:
    """Delete one object; None when it was not there."""
    try:
        path = api.path_of(manifest)
        before = api.find(path)
        if before is None:
            return None
        if not dry_run:
            api.delete(path, propagationPolicy="Background")
    except KubeError as error:
        if error.status == 404:  # a kind that the API does not know has no objects
            return None
        raise KubeError(f"{name_of(manifest)}: {error}", error.status, error.reason) from error
    return Change(name_of(manifest), content_of(before), {})


def change_all(api: KubeApi, manifests: list[Json], state: str, *, dry_run: bool) -> list[Change]:
    """Bring all objects to their state: apply in order, delete in the opposite order."""
    for manifest in manifests:
        check_manifest(manifest)
    if state == "absent":
        results = [delete_one(api, manifest, dry_run=dry_run) for manifest in reversed(manifests)]
    else:
        results = [apply_one(api, manifest, dry_run=dry_run) for manifest in manifests]
    return [result for result in results if result is not None]


def with_secrets(api: KubeApi, resources: list[Json], wanted: list[Json], state: str) -> list[Json]:
    """Return all manifests in the order of applying: namespaces, Secrets as they shall be, the rest."""
    if not wanted:
        return resources
    first = [one for one in resources if one.get("kind") == "Namespace"]
    rest = [one for one in resources if one.get("kind") != "Namespace"]
    if state == "absent":
        return [*first, *named(wanted), *rest]
    made = [manifest_of(api.find(api.path_of(name)), one) for name, one in zip(named(wanted), wanted, strict=True)]
    for one in rest:
        if one.get("kind") == "Deployment":
            metadata = one["spec"]["template"].setdefault("metadata", {})
            metadata["annotations"] = (metadata.get("annotations") or {}) | {SECRETS: digest(made)}
    return [*first, *made, *rest]


def named(wanted: list[Json]) -> list[Json]:
    """Return the wanted Secrets' manifests, without content."""
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {key: one[key] for key in ("namespace", "name")}}
        for one in wanted
    ]


def without_api(manifests: list[Json], state: str) -> list[Change]:
    """Say what would happen once there is an API."""
    if state == "absent":
        return []
    return [Change(name_of(manifest), {}, content_of(manifest)) for manifest in manifests]


def in_words(changes: list[Change], state: str) -> list[str]:
    """Name the objects that change, in one line."""
    names = [change.name for change in changes]
    return [f"{'delete' if state == 'absent' else 'apply'} {counted(names, 'object')}"] if names else []


def as_diff(changes: list[Change]) -> list[Json]:
    """Return the changes as Ansible shows them."""
    return [
        {"before_header": change.name, "after_header": change.name, "before": change.before, "after": change.after}
        for change in changes
    ]


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={
            "resources": {"type": "list", "elements": "dict", "required": True},
            "secrets": {"type": "list", "elements": "dict", "default": [], "options": SECRET_OPTIONS},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "kubeconfig": {"type": "path", "default": ADMIN_CONF},
        },
        supports_check_mode=True,
    )
    manifests, wanted, state = module.params["resources"], module.params["secrets"], module.params["state"]
    try:
        api = KubeApi.from_file(module.params["kubeconfig"])
        changes = change_all(api, with_secrets(api, manifests, wanted, state), state, dry_run=module.check_mode)
    except KubeError as error:
        if not (module.check_mode and error.silent):
            module.fail_json(msg=str(error), status=error.status)
        changes = without_api([*manifests, *named(wanted)], state)
    module.exit_json(
        changed=bool(changes),
        changes=in_words(changes, state),
        **({"diff": as_diff(changes)} if module._diff else {}),  # noqa: SLF001
    )


if __name__ == "__main__":
    main()
