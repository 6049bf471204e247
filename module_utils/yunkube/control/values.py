# SPDX-License-Identifier: Apache-2.0
"""Compare settings as their readers do: nested fields one by one, 24h equal to 24h0m0s, a list of names as a set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

Path = tuple[str, ...]


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield each field that is not a dictionary, with the names that lead to it."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, (*path, str(key)))
    else:
        yield path, tree


def at(tree: Any, path: Sequence[str]) -> Any:
    """Return the field at a path, None where there is none."""
    for key in path:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree


def merged(under: Any, over: Any) -> Any:
    """Return `under` with the fields of `over` laid over it; a field of null is removed."""
    if not isinstance(under, Mapping) or not isinstance(over, Mapping):
        return over
    result = dict(under)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key, {} if isinstance(value, Mapping) else None), value)
    return result


def without(tree: Any, path: Sequence[str]) -> Any:
    """Return a tree without the field at a path, and without dictionaries that are empty then."""
    if not path or not isinstance(tree, Mapping) or path[0] not in tree:
        return tree
    rest = without(tree[path[0]], path[1:]) if len(path) > 1 else None
    result = {key: value for key, value in tree.items() if key != path[0]}
    return {**result, path[0]: rest} if rest not in (None, {}) else result


def equal(one: Any, other: Any) -> bool:
    """Tell whether two values mean the same; a field that is not there differs from one that is false or zero."""
    return bool(_plain(one) == _plain(other))


def alike(one: Any, other: Any) -> bool:
    """Tell the same where a writer leaves out what is false, zero or empty."""
    return equal(one, other) or not (_plain(one) or _plain(other))


def shown(value: Any) -> str:
    """Return a value as it is written in one line."""
    if value is None:
        return "nothing"
    return value if isinstance(value, str) and value else json.dumps(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        items = [_plain(item) for item in value]
        named = all(isinstance(item, Mapping) and "name" in item for item in value)
        return sorted(items, key=repr) if named else items
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
    return value
