# SPDX-License-Identifier: Apache-2.0
"""Which fields of an object are ours, and which of them an apply would change.

The server notes who declared each field (https://kubernetes.io/docs/reference/using-api/server-side-apply/). What
others add beside ours, defaults, controllers and webhooks among them, is no difference.
"""

from __future__ import annotations

import json
import typing as t

from ansible.module_utils.yunkube.kube.api import FIELD_MANAGER, Json

LONGEST = 80  # letters of a value that is shown


def differing_fields(before: Json, after: Json) -> dict[str, str]:
    """Name the fields that we declare, or declared, and that an apply makes another one; `after` is its answer.

    With each stands what it is, and what it is declared to be.
    """
    ours = _merged(_ours(before), _ours(after))
    return {place: _beside(place, there, wanted) for place, there, wanted in _differing(before, after, ours, "")}


def _beside(place: str, there: t.Any, wanted: t.Any) -> str:
    """Return what a field is and what it is declared to be; of a text, the first line that differs."""
    if ".env[" in place:
        return f"{place} is another one"  # which may be a secret
    if isinstance(there, str) and isinstance(wanted, str) and "\n" in f"{there}{wanted}":
        lines, others = there.splitlines(), wanted.splitlines()
        there = next((line.strip() for line in lines if line not in others), None)
        wanted = next((line.strip() for line in others if line not in lines), None)
        return f"{place} has {shown(there)}, declared is {shown(wanted)}"
    return f"{place} is {shown(there)}, declared is {shown(wanted)}"


def shown(value: t.Any) -> str:
    """Return a value in one line that is not too long."""
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) and value else json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _ours(found: Json) -> Json:
    """Return the fields that we applied, in the form of fieldsV1: "f:name" or "k:{keys of a list's entry}"."""
    for entry in found["metadata"].get("managedFields") or []:
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource"):
            return dict(entry.get("fieldsV1") or {})
    return {}


def _merged(one: Json, other: Json) -> Json:
    return {key: _merged(one.get(key) or {}, other.get(key) or {}) for key in dict.fromkeys([*one, *other])}


def _differing(before: t.Any, after: t.Any, fields: Json, place: str) -> t.Iterator[tuple[str, t.Any, t.Any]]:
    inner = {key: value for key, value in fields.items() if key != "."}
    if not inner or type(before) is not type(after) or not isinstance(before, (dict, list)):
        if before != after:
            yield place, before, after
        return
    for key, value in inner.items():
        kind, _, name = key.partition(":")
        where = f"{place}.{name}".lstrip(".") if kind == "f" else f"{place}[{_in_words(name)}]"
        yield from _differing(_part(before, kind, name), _part(after, kind, name), value, where)


def _part(value: t.Any, kind: str, name: str) -> t.Any:
    """Return a field of an object, or the entry of a list that has these keys, is this value or stands there."""
    if kind == "f":
        return value.get(name) if isinstance(value, dict) else None
    listed = value if isinstance(value, list) else []
    wanted = json.loads(name)
    if kind == "k":
        return next((one for one in listed if isinstance(one, dict) and wanted.items() <= one.items()), None)
    if kind == "v":
        return wanted if wanted in listed else None
    return listed[wanted] if wanted < len(listed) else None


def _in_words(name: str) -> str:
    wanted = json.loads(name)
    return ", ".join(map(str, wanted.values())) if isinstance(wanted, dict) else str(wanted)
