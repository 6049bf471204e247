# SPDX-License-Identifier: Apache-2.0
"""What a peer's inventory sets for a host alone: labels, taints, the address among hosts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.yunkube.control.shapes import EFFECTS
from ansible.module_utils.yunkube.host.network import is_address

from deployer.peers import OF_HOST, UNREADABLE, Imported, Json, arguments, why_unreadable

KUBELET = "all kubelets share the settings in cluster_kubelet_config"


def _taint(text: Any) -> Json | None:
    match = re.fullmatch(r"([^=:,]+)(?:=([^=:,]*))?:(\w+)", str(text)) if isinstance(text, str) else None
    if not match or match[3] not in EFFECTS:
        return None
    return {"key": match[1], **({"value": match[2]} if match[2] else {}), "effect": match[3]}


def taints(value: Any) -> list[Json]:
    """Return taints as Kubernetes has them, of `key=value:Effect` each; others are left out."""
    return [taint for text in _split(value) if (taint := _taint(text))]


def _label(text: Any) -> tuple[str, str] | None:
    match = re.fullmatch(r"([^=,]+)=([^=,]*)", text) if isinstance(text, str) else None
    return (match[1], match[2]) if match else None


def _split(value: Any) -> list[Any]:
    """Return the entries of a list, or of text with commas; an entry may have commas as well."""
    entries = value if isinstance(value, list) else [value]
    return [one for entry in entries for one in (entry.split(",") if isinstance(entry, str) else [entry])]


@dataclass
class Marks:
    """What is set for a host; what cannot be read is left, with its place."""

    host: str
    result: Imported
    where: Callable[[str, str], str]
    labels: dict[str, str] = field(default_factory=dict)
    taints: list[Json] = field(default_factory=list)
    address: str = ""

    def leave(self, key: str, argument: str, reason: str) -> None:
        """Note why a variable of the host, or an argument in it, is not taken."""
        name = f"{key} of {self.host}" + (f": {argument}" if argument else "")
        self.result.left[name] = f"{reason}{self.where(key, self.host)}"

    def add(self, key: str, argument: str, kind: str, values: Any) -> None:
        """Take what stands in a variable, or in an argument in it, as far as it is clear."""
        given = _split(values)
        if kind == "node-ip":
            if len(given) == 1 and is_address(str(given[0])):
                self.address = given[0]
            else:
                self.leave(key, argument, "is not one address")
            return
        for one in given:
            if kind == "node-taint" and (taint := _taint(one)):
                self.taints.append(taint)
            elif kind == "node-label" and (label := _label(one)):
                self.labels[label[0]] = label[1]
            elif kind == "node-taint":
                effects = ", ".join(EFFECTS)
                self.leave(key, argument, f"has a taint that is not key=value:EFFECT, with an effect of {effects}")
            else:
                self.leave(key, argument, "has a label that is not key=value")

    def written(self) -> Json:
        """Return it as variables of ours."""
        given = {"cluster_node_ip": self.address, "node_labels": self.labels, "node_taints": self.taints}
        return {key: value for key, value in given.items() if value}


def host_marks(
    host: str, variables: Json, first: Json | None, result: Imported, where: Callable[[str, str], str]
) -> Json:
    """Return what theirs sets for a host.

    C(first) are the variables of the first master, whose arguments count for the whole cluster; None for a node.
    """
    marks = Marks(host, result, where)
    labels = variables.get("node_labels")
    if isinstance(labels, dict):
        marks.labels.update({str(key): "" if value is None else str(value) for key, value in labels.items()})
    elif labels:
        marks.add("node_labels", "", "node-label", labels)
    if tainted := variables.get("node_taints"):
        marks.add("node_taints", "", "node-taint", tainted)
    kind = "agent" if first is None else "server"
    for key in (f"extra_{kind}_args", f"{kind}_config_yaml"):
        try:
            _k3s_arguments(key, arguments(key, variables.get(key)), first, marks)
        except UNREADABLE as error:
            result.left[key] = f"{why_unreadable(error)}{where(key, host)}"
    if first is not None and variables.get("k3s_master_taint") in (True, "true"):
        marks.taints.append({"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"})
    return marks.written()


def _k3s_arguments(key: str, given: dict[str, list[Any]], first: Json | None, marks: Marks) -> None:
    counting = arguments(key, first.get(key)) if first is not None else {}
    for argument, values in given.items():
        if argument in OF_HOST:
            marks.add(key, argument, argument, values)
        elif first is None:
            marks.leave(key, argument, KUBELET if argument == "kubelet-arg" else "has no counterpart")
        elif values != counting.get(argument):
            marks.leave(key, argument, "the first server's value applies to the cluster")
