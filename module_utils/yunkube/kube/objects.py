# SPDX-License-Identifier: Apache-2.0
"""Objects of the cluster: applied and deleted, compared, and shown without what is secret."""

from __future__ import annotations

import base64
import json
import typing as t

from ansible.module_utils.yunkube.kube.api import Json, KubeApi, KubeError
from ansible.module_utils.yunkube.words import counted

# The label by which an object is known as ours.
MANAGED_BY = "app.kubernetes.io/managed-by"
OURS = {MANAGED_BY: "yunkube"}
# An annotation of a Deployment's pods: the digest of the Secrets that they read, which only a master knows.
SECRETS = "yunkube/secrets"
# What the server writes into every object and what says nothing about its content.
_BOOKKEEPING = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")
# Annotations that hold a whole object or template once more, as text.
_REPEATING = ("kubectl.kubernetes.io/last-applied-configuration", "yunkube/previous-template")


class Change(t.NamedTuple):
    """What happened to one object, or would."""

    name: str
    before: Json
    after: Json


def read_data(found: Json | None) -> dict[str, str]:
    """Return what a Secret holds, in the clear; nothing when it is not there."""
    data = (found or {}).get("data") or {}
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def name_of(manifest: Json) -> str:
    """Return how a person names an object: kind namespace/name."""
    metadata = manifest["metadata"]
    place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{manifest['kind']} {place}{metadata['name']}"


def content_of(found: Json | None, *, hide: bool = True, beside: Json | None = None) -> Json:
    """Return an object without status, bookkeeping and, for a diff, what may be secret.

    That is a Secret's content, environment variables of pods, and annotations that repeat either. `beside` is the
    object as it was before: a value that is another one now says so.
    """
    if found is None:
        return {}
    metadata = {key: value for key, value in found.get("metadata", {}).items() if key not in _BOOKKEEPING}
    content: Json = {**{key: value for key, value in found.items() if key != "status"}, "metadata": metadata}
    return _hidden(content, beside, whole=found.get("kind") == "Secret") if hide else content


def _hidden(content: Json, beside: Json | None, *, whole: bool) -> Json:
    """Return an object's content without secret values, on every level."""

    def mask(value: t.Any, other: t.Any) -> str:
        return "(hidden)" if beside is None or value == other else "(hidden, changed)"

    def variables(listed: list[t.Any], others: t.Any) -> list[t.Any]:
        known = {one.get("name"): one.get("value") for one in others or [] if isinstance(one, dict)}
        return [
            {**one, "value": mask(one["value"], known.get(one.get("name")))}
            if isinstance(one, dict) and one.get("value")
            else one
            for one in listed
        ]

    def walk(value: t.Any, other: t.Any) -> t.Any:
        if isinstance(value, list):
            listed = other if isinstance(other, list) else []
            return [walk(one, listed[at] if at < len(listed) else None) for at, one in enumerate(value)]
        if not isinstance(value, dict):
            return value
        others = other if isinstance(other, dict) else {}
        result: Json = {}
        for key, one in value.items():
            if key == "env" and isinstance(one, list):
                result[key] = variables(one, others.get(key))
            elif key in _REPEATING:
                result[key] = mask(one, others.get(key))
            else:
                result[key] = walk(one, others.get(key))
        return result

    hidden: Json = walk(content, beside)
    for values in ("data", "stringData") if whole else ():
        if content.get(values):
            before = (beside or {}).get(values) or {}
            hidden[values] = {key: mask(value, before.get(key)) for key, value in content[values].items()}
    return hidden


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
    # Not the version: the second apply of a manifest without fields changes it, and nothing else.
    if before is not None and content_of(before, hide=False) == content_of(after, hide=False):
        return None
    return Change(name_of(manifest), content_of(before), content_of(after, beside=before))


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
