# SPDX-License-Identifier: Apache-2.0
"""What became of every host of a run that did not end well, also of those that Ansible's own recap leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

DONE = "done so far"


@dataclass
class Stage:
    """A play, all its batches together."""

    name: str = ""
    hosts: tuple[str, ...] = ()
    answered: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)  # hosts with a failure that was not rescued
    ended: list[Mapping[str, Any]] = field(default_factory=list)  # failures that end it for all


def fates(stages: Iterable[Stage], unreachable: Mapping[str, str], answers: Mapping[str, set[str]]) -> dict[str, str]:
    """Return what became of each host, in words; nothing where no host failed.

    `unreachable` names whom each unreachable host did not get to: itself, or the one that its task was delegated to.
    """
    found: dict[str, str] = {}
    begun = False
    for stage in stages:
        begun = begun or bool(stage.failed)
        for host in stage.hosts:
            now = _fate(stage, host, unreachable, answers) if begun else DONE
            if found.get(host, DONE) == DONE:
                found[host] = now
    return found if begun else {}


def _fate(stage: Stage, host: str, unreachable: Mapping[str, str], answers: Mapping[str, set[str]]) -> str:
    if host in stage.failed:
        if host not in unreachable:
            return "failed"
        return "unreachable" if unreachable[host] == host else f"stopped ({unreachable[host]} is unreachable)"
    if host in stage.answered:
        stopped = any(host not in answers.get(note["task"], ()) for note in stage.ended)
        return f"stopped ({stage.name})" if stopped else DONE
    # A task with run_once asks one host for all; else a host without an answer has missed the stage.
    missed = not stage.answered or (stage.failed and not all(note.get("once") for note in stage.ended or [{}]))
    return f"not tried ({stage.name})" if missed else DONE
