# SPDX-License-Identifier: Apache-2.0
"""Bring cluster_kubelet_config to a running cluster: first ConfigMap kubelet-config, then each kubelet's own file.

Runs on the control machine, which has a YAML parser, with the texts that `cluster_values` found on the hosts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import yaml
from ansible.module_utils.yunkube.control.values import Path, alike, at, equal, leaves, merged, shown, without
from ansible.module_utils.yunkube.control.yaml_reader import load_generated

# What kubeadm writes into a host's file whatever the ConfigMap says.
_OF_THE_HOST: Final = ("containerRuntimeEndpoint", "resolvConf", "rotateCertificates")
# What kubeadm fills in where the ConfigMap says nothing.
_FILLED: Final = ("authentication", "authorization", "cgroupDriver", "clusterDNS", "clusterDomain", "featureGates",
                  "healthzBindAddress", "healthzPort", "staticPodPath", *_OF_THE_HOST)  # fmt: skip


class Change(NamedTuple):
    """What ConfigMap kubelet-config should be; no text where it is so already."""

    text: str
    declared: str  # its annotation
    changes: Sequence[str]


def cluster_change(declared: Mapping[str, Any], running: Mapping[str, Any]) -> Change:
    """Return the ConfigMap with what is declared, and without what was declared formerly and is not any more."""
    there = load_generated(running.get("kubelet"))
    record = json.dumps(declared, sort_keys=True)
    if not there:
        return Change("", record, [])
    wanted = _wanted(declared, running, there)
    changes = list(_changes(there, wanted))
    if not changes and declared == _former(running):
        return Change("", record, [])
    text = yaml.safe_dump(wanted, sort_keys=True) if changes else running["kubelet"]
    return Change(text, record, changes)


def host_changes(declared: Mapping[str, Any], running: Mapping[str, Any], patches: Sequence[Any]) -> list[str]:
    """Say in which fields a host's kubelet is not as the cluster's configuration and the host's patches have it."""
    there, file = (load_generated(running.get(name)) for name in ("kubelet", "kubelet_file"))
    if not there or not file:
        return []
    wanted = _wanted(declared, running, there)
    for layer in patches:
        wanted = merged(wanted, layer.get("kubeletconfiguration") or {})
    return list(_differences(file, wanted))


def _wanted(declared: Mapping[str, Any], running: Mapping[str, Any], there: Any) -> Any:
    wanted = there
    for path, _ in leaves(_former(running)):
        if at(declared, path) is None:
            wanted = without(wanted, path)
    return merged(wanted, declared)


def _former(running: Mapping[str, Any]) -> Any:
    try:
        return json.loads(running.get("kubelet_declared") or "{}")
    except ValueError:
        return {}


def _changes(before: Any, after: Any) -> Iterator[str]:
    for path in _paths(before, after):
        if not equal(at(before, path), at(after, path)):
            yield _in_words(path, at(before, path), at(after, path))


def _differences(file: Any, wanted: Any) -> Iterator[str]:
    for path in _paths(file, wanted):
        ours, theirs = at(wanted, path), at(file, path)
        filled = _OF_THE_HOST if ours is not None else _FILLED
        if path[0] not in filled and not alike(ours, theirs):
            yield _in_words(path, theirs, ours)


def _paths(one: Any, other: Any) -> list[Path]:
    return list(dict.fromkeys(path for tree in (one, other) for path, _ in leaves(tree) if path))


def _in_words(path: Path, before: Any, after: Any) -> str:
    name = ".".join(path)
    if after is None:
        return f"{name}: {shown(before)} -> the default"
    return f"{name}: {'the default' if before is None else shown(before)} -> {shown(after)}"
