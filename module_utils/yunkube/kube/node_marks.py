# SPDX-License-Identifier: Apache-2.0
"""Labels and taints that the inventory declares for a node, compared with those that it has.

An annotation on the node holds what was declared last: what is in it and declared no longer goes. Labels and taints
of others stay. The taint of the control plane counts as declared on every master, as kubeadm sets it.
"""

from __future__ import annotations

import json
import typing as t

from ansible.module_utils.yunkube.kube.api import CONTROL_PLANE, Json, KubeApi, KubeError, is_master

ANNOTATION = "yunkube/declared"
MASTERS = f"{CONTROL_PLANE}:NoSchedule"  # the taint of masters
CONFLICTS = 5  # the kubelet and controllers write nodes, too


class Change(t.NamedTuple):
    """What a node lacks, in words, and the merge patch that brings it there."""

    words: list[str]
    patch: Json


def facts_of(node: Json) -> Json:
    """Return the parts of a Node that `change` reads."""
    metadata = node.get("metadata") or {}
    return {
        "metadata": {
            "labels": metadata.get("labels") or {},
            "annotations": {ANNOTATION: (metadata.get("annotations") or {}).get(ANNOTATION, "")},
        },
        "spec": {"taints": (node.get("spec") or {}).get("taints") or []},
    }


def change(node: Json, labels: t.Mapping[str, str], taints: t.Sequence[Json]) -> Change:
    """Compare a Node with its declared labels and taints ([{key, value, effect}]); no words: nothing to do."""
    found = facts_of(node)
    there, former = found["metadata"]["labels"], _declared(found)
    words: list[str] = []
    new: Json = {key: value for key, value in labels.items() if there.get(key) != value}
    words += [f"label {key}={value}" for key, value in new.items()]
    stale = [key for key in former["labels"] if key in there and key not in labels]
    words += [f"remove label {key}" for key in stale]
    patch: Json = {"metadata": {"labels": {**new, **dict.fromkeys(stale)}}} if new or stale else {}

    wanted = {_name(taint): taint for taint in taints}
    ours = {*former["taints"], MASTERS if is_master(node) else ""} - set(wanted)
    present = {_name(taint): taint for taint in found["spec"]["taints"]}
    missing = {name: taint for name, taint in wanted.items() if _value(present.get(name)) != _value(taint)}
    gone = [name for name in present if name in ours]
    words += [f"taint {_in_words(taint)}" for taint in missing.values()] + [f"remove taint {name}" for name in gone]
    if missing or gone:
        patch["spec"] = {"taints": [taint for name, taint in {**present, **missing}.items() if name not in gone]}

    declared = _annotation(labels, wanted)
    if declared != found["metadata"]["annotations"][ANNOTATION]:
        patch.setdefault("metadata", {})["annotations"] = {ANNOTATION: declared or None}
        words = words or ["record its declared labels and taints"]
    return Change(words, patch)


def joining(labels: t.Mapping[str, str], taints: t.Sequence[Json]) -> Change:
    """Return what a host lacks once kubeadm has made it a node with these taints."""
    return change({"spec": {"taints": list(taints)}}, labels, taints)


def mark(api: KubeApi, name: str, declared: Json, *, check_mode: bool) -> list[str]:
    """Bring one node there; return what was done, in words."""
    path = f"/api/v1/nodes/{name}"
    for attempt in range(CONFLICTS):
        try:
            node = api.get(path)
            found = change(node, declared["labels"], declared["taints"])
            if found.words and not check_mode:
                version = node["metadata"]["resourceVersion"]
                patch = {**found.patch, "metadata": {**found.patch.get("metadata", {}), "resourceVersion": version}}
                api.patch(path, patch)
            return [f"{name}: {word}" for word in found.words]
        except KubeError as error:
            if error.status == 404 and check_mode:
                return planned(name, declared)
            if error.status != 409 or attempt == CONFLICTS - 1:
                raise
    return []


def planned(name: str, declared: Json) -> list[str]:
    """Return what will be done when the host has joined."""
    return [f"{name}: {word}" for word in joining(declared["labels"], declared["taints"]).words]


def _declared(found: Json) -> Json:
    try:
        read = json.loads(found["metadata"]["annotations"][ANNOTATION] or "{}")
        return {kind: [str(name) for name in read.get(kind) or []] for kind in ("labels", "taints")}
    except (ValueError, AttributeError, TypeError):  # written by hand
        return {"labels": [], "taints": []}


def _annotation(labels: t.Mapping[str, str], taints: t.Mapping[str, Json]) -> str:
    names = sorted(name for name in taints if name != MASTERS)
    kept = {kind: found for kind, found in (("labels", sorted(labels)), ("taints", names)) if found}
    return json.dumps(kept) if kept else ""


def _name(taint: Json) -> str:
    return f"{taint['key']}:{taint['effect']}"


def _value(taint: Json | None) -> str | None:
    return None if taint is None else str(taint.get("value") or "")


def _in_words(taint: Json) -> str:
    return f"{taint['key']}{'=' if taint.get('value') else ''}{taint.get('value') or ''}:{taint['effect']}"
