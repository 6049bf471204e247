# SPDX-License-Identifier: Apache-2.0
"""Which objects are a web service's, which are the addons', and which hold data."""

from __future__ import annotations

import typing as t

from ansible.module_utils.yunkube.kube.api import Json
from ansible.module_utils.yunkube.kube.objects import MANAGED_BY, OURS
from ansible.module_utils.yunkube.words import counted

# The label of a web service's objects. The addons have OURS, so that neither passes for the other.
OWNER = {MANAGED_BY: "yunkube-web-services"}

# Namespaces of Kubernetes and of the addons: no web service belongs there.
SYSTEM = ("kube-system", "kube-flannel", "kube-public", "kube-node-lease")
ADDONS = ("registry", "dashboard")
RESERVED = (*SYSTEM, *ADDONS)

# What holds data, or takes objects of others with it: it stays when it is no longer declared, unless that is asked for.
DATA = ("PersistentVolumeClaim", "PersistentVolume", "CustomResourceDefinition", "Namespace")


def key_of(entry: Json) -> tuple[str, ...]:
    """Return what makes an object of the record one: versions of a group mean the same object."""
    group = entry["apiVersion"].rpartition("/")[0]
    return group, entry["kind"], entry.get("namespace", ""), entry["name"]


def reference(manifest: Json) -> Json:
    """Return what the record keeps of an object."""
    metadata = manifest["metadata"]
    kept = {key: metadata[key] for key in ("namespace", "name") if metadata.get(key)}
    return {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], **kept}


def is_reserved(manifest: Json) -> bool:
    """Say whether an object stands where no web service may have one.

    Single objects of plain manifests may be in kube-system, where some programs need a RoleBinding; what is there
    already is protected by its label.
    """
    metadata = manifest["metadata"]
    if manifest["kind"] == "Namespace":
        return metadata["name"] in RESERVED
    space = metadata.get("namespace")
    return space in RESERVED and space != "kube-system"


def label_of(found: Json) -> str:
    """Return the value of the label that names an object's owner."""
    return str((found["metadata"].get("labels") or {}).get(MANAGED_BY, ""))


def is_old(record: Json | None) -> bool:
    """Say whether a record is from the time when web services had the addons' label."""
    return record is not None and label_of(record) == OURS[MANAGED_BY]


def kept_in_words(names: list[str], prune: str) -> str:
    """Say what is no longer declared and stays, and what would remove it; `data` leaves namespaces that others use."""
    steps = {
        "keep": "to remove: web apply",
        "services": "to remove: web apply --prune-data",
        "data": "remove what others have there first, then: web apply --prune-data",
    }
    return f"kept although no longer declared: {counted(names, 'object')}; {steps[prune]}"


class Ownership:
    """Tells a web service's objects by their label.

    Before they had one of their own, they had the addons' label. So an object with that one is a web service's only
    when a record of that time names it; the first run that applies everything gives all of them the new label.
    """

    def __init__(self, record: Json | None, applied: t.Iterable[Json]) -> None:
        """Read the record."""
        self._former = {key_of(entry) for entry in applied} if is_old(record) else set()

    def owns(self, found: Json, manifest: Json) -> bool:
        """Say whether a found object, the one that a manifest describes, is a web service's."""
        if label_of(found) == OWNER[MANAGED_BY]:
            return True
        former = key_of(reference(manifest)) in self._former and label_of(found) == OURS[MANAGED_BY]
        return former and not is_reserved(manifest)
