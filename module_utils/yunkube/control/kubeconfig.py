# SPDX-License-Identifier: Apache-2.0
"""Merge one cluster into a kubeconfig that holds others, as `kubectl config` does, and take it out again."""

from __future__ import annotations

import re
import typing as t

from ansible.module_utils.yunkube.control.yaml_reader import HAS_YAML, REFUSALS, Loader, why

if HAS_YAML:
    import yaml

Json = dict[str, t.Any]
LISTS = ("clusters", "contexts", "users")


class KubeconfigError(Exception):
    """The file is not one that can be merged into."""


class _Loader(Loader):
    """YAML as kubectl reads it: a date or 1:30 is text, and stays as it was written."""

    yaml_implicit_resolvers: t.ClassVar[dict[t.Any, t.Any]] = {}


if HAS_YAML:
    for _tag, _pattern, _first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("null", r"~|null|Null|NULL|", "~nN"),
        ("int", r"0|-?[1-9][0-9]*", "-0123456789"),
    ):
        _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), [*_first, ""])


def parse(text: str) -> Json:
    """Return what a kubeconfig says; an empty one is as good as none."""
    try:
        found = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader's child
    except REFUSALS as error:
        line, problem = why(error, text)
        raise KubeconfigError(f"line {line} is not YAML: {problem}" if line else f"it {problem}") from None
    if found is None:
        return {}
    if not isinstance(found, dict) or found.get("kind", "Config") != "Config":
        raise KubeconfigError("it is not a kubeconfig (kind: Config)")
    for name in LISTS:
        entries = found.get(name) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) and "name" in entry for entry in entries):
            raise KubeconfigError(f"{name} is not a list of named entries")
    return found


def render(config: Json) -> str:
    """Return the file's text."""
    return str(yaml.safe_dump(config, sort_keys=False, default_flow_style=False, width=10**9))


def authority(config: Json, name: str | None = None) -> str:
    """Return the certificate authority of the cluster of this name, or of the only one."""
    entry = _named(config, "clusters", name) if name else next(iter(config.get("clusters") or []), None)
    return str(((entry or {}).get("cluster") or {}).get("certificate-authority-data") or "")


def entries_of(ours: Json, name: str) -> dict[str, Json]:
    """Return cluster, context and user of kubeadm's kubeconfig under names that no other cluster's have."""
    user = f"kubernetes-admin@{name}"
    return {
        "clusters": {"name": name, "cluster": ours["clusters"][0]["cluster"]},
        "contexts": {"name": user, "context": {"cluster": name, "user": user}},
        "users": {"name": user, "user": ours["users"][0]["user"]},
    }


def merge(there: Json, ours: Json, name: str, known: t.Container[str]) -> Json:
    """Return a kubeconfig with our cluster in it; one of the same name by an unknown authority is somebody else's."""
    entries = entries_of(ours, name)
    taken = authority(there, name)
    if _named(there, "clusters", name) and taken != authority(ours) and taken not in known:
        raise KubeconfigError(f"it has a cluster {name} already, of another certificate authority")
    result = {"apiVersion": "v1", "kind": "Config", **there}
    for kind, entry in entries.items():
        others = list(result.get(kind) or [])
        place = next((number for number, other in enumerate(others) if other["name"] == entry["name"]), len(others))
        # What a user added to it, such as a context's namespace, stays.
        former = (others[place] if place < len(others) else {}).get(kind[:-1]) or {}
        kept = {"namespace": former["namespace"]} if kind == "contexts" and "namespace" in former else {}
        others[place : place + 1] = [{"name": entry["name"], kind[:-1]: {**entry[kind[:-1]], **kept}}]
        result[kind] = others
    if not result.get("current-context"):
        result["current-context"] = entries["contexts"]["name"]
    return result


def remove(there: Json, name: str, known: t.Container[str]) -> Json:
    """Return a kubeconfig without our cluster, user and context; unchanged when the cluster is not ours."""
    if not _named(there, "clusters", name) or authority(there, name) not in known:
        return there
    contexts = [(entry["name"], entry.get("context") or {}) for entry in there.get("contexts") or []]
    users = (f"kubernetes-admin@{name}", "kubernetes-admin")  # the second one as kubeadm itself calls it
    gone = [context for context, its in contexts if its.get("cluster") == name and its.get("user") in users]
    used = {its.get("user") for context, its in contexts if context not in gone}
    result = {
        **there,
        "clusters": [entry for entry in there["clusters"] if entry["name"] != name],
        "contexts": [entry for entry in there.get("contexts") or [] if entry["name"] not in gone],
        "users": [entry for entry in there.get("users") or [] if entry["name"] not in users or entry["name"] in used],
    }
    if result.get("current-context") in gone:
        result["current-context"] = ""
    return result


def is_empty(config: Json) -> bool:
    """Tell whether nothing is left in it."""
    return not any(config.get(name) for name in LISTS)


def _named(config: Json, kind: str, name: str) -> Json | None:
    return next((entry for entry in config.get(kind) or [] if entry["name"] == name), None)
