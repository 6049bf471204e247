# SPDX-License-Identifier: Apache-2.0
"""Files with manifests that web services name, read on the control machine: every fault with its line."""

from __future__ import annotations

import contextlib
import os
import re
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.control.yaml_reader import REFUSALS, Loader, circular, line_of, repeated, why
from ansible.module_utils.yunkube.words import one_of

with contextlib.suppress(ImportError):  # the module that needs it says so in one line
    import yaml

_REMARK = re.compile(r"\s//")
_NEEDED = "apiVersion, kind and metadata.name"


class Broken(t.NamedTuple):
    """What is wrong in a file: the line, 0 where it is the file as a whole, and what to do."""

    line: int
    message: str
    remedy: str


def locate(directory: Path, name: str) -> Path:
    """Return where a file is that a service names: from the inventory's directory, or from a home."""
    return directory / os.path.expanduser(name)  # noqa: PTH111 - Path's raises where there is no such user


def read(path: Path, node_ports: range = range(1, 65536)) -> tuple[list[t.Any], list[Broken]]:
    """Return a file's documents, those of a List one by one, and all that is wrong with them."""
    try:
        if path.exists() and not path.is_file():
            return [], [Broken(0, "is no file", "name each file")]
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return [], [Broken(0, "is not UTF-8 text", "save it as UTF-8")]
    except (OSError, ValueError) as error:  # ValueError: no system has such a path
        reason = getattr(error, "strerror", None) or error
        return [], [Broken(0, f"cannot be read: {reason}", "paths are relative to the inventory's directory")]
    documents: list[t.Any] = []
    broken: list[Broken] = []
    try:
        loader = Loader(text)
        while loader.check_node():
            node = loader.get_node()
            inside = circular(node)
            if inside is not None:
                broken.append(Broken(line_of(inside), "an alias is inside the value that it refers to", "write it out"))
                continue
            broken += _twice(node, set())
            document = loader.construct_document(node)
            for one, value in _listed(node, document):
                broken += _wrong(one, value, node_ports)
                documents.append(value)
    except REFUSALS as error:
        line, problem = why(error, text)
        broken.append(Broken(line, f"is not valid YAML: {problem}", "correct it there or just above"))
    if not documents and not broken:
        broken.append(Broken(0, "holds no manifest", f"write one, with {_NEEDED}"))
    return documents, broken


def _listed(node: t.Any, document: t.Any) -> t.Iterator[tuple[t.Any, t.Any]]:
    """Yield the manifests of a document, each with its node: a List's items; nothing of an empty document."""
    if isinstance(document, dict) and document.get("kind") == "List":
        items, values = _child(node, "items"), document.get("items")
        if isinstance(values, list):
            yield from ((items.value[number], value) for number, value in enumerate(values))
        elif values is not None:
            yield items, values  # no manifest, and its line
    elif document is not None:
        yield node, document


def _wrong(node: t.Any, manifest: t.Any, node_ports: range) -> t.Iterator[Broken]:
    metadata = manifest.get("metadata") if isinstance(manifest, dict) else None
    named = isinstance(metadata, dict) and metadata.get("name") not in (None, "")
    if not (named and manifest.get("apiVersion") and manifest.get("kind")):
        yield Broken(_line(node), "is no manifest", f"write {_NEEDED}")
        return
    for path in (("apiVersion",), ("kind",), ("metadata", "name")):
        yield from _no_text(_child(node, *path), ".".join(path))
    if manifest["kind"] == "Service":
        ports = _child(node, "spec", "ports")
        for entry in ports.value if isinstance(ports, yaml.SequenceNode) else ():
            port = _child(entry, "nodePort")
            if isinstance(port, yaml.ScalarNode) and port.value.isdigit() and int(port.value) not in node_ports:
                yield Broken(_line(port), f"nodePort {port.value} is out of range", one_of(node_ports))


def _no_text(node: t.Any, key: str) -> t.Iterator[Broken]:
    if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str":
        yield Broken(_line(node), f"{key} {getattr(node, 'value', '')} is no text", "write it in quotes")
    elif _REMARK.search(node.value):
        yield Broken(_line(node), f'{key} is "{node.value}"', "`//` begins no remark in YAML: write `#`")


def _twice(node: t.Any, known: set[int]) -> t.Iterator[Broken]:
    """Yield the keys that come twice in a mapping, at any depth: YAML readers keep the last one without a word.

    `known` holds the nodes looked at, as an alias is the node that it names.
    """
    if id(node) in known:
        return
    known.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, former in repeated(node):
            if isinstance(key, yaml.ScalarNode):
                yield Broken(_line(key), f"{key.value} is set twice, in line {former} too", "keep one of them")
        for _, value in node.value:
            yield from _twice(value, known)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _twice(item, known)


def _child(node: t.Any, *path: str) -> t.Any:
    """Return the node at a path of keys, nothing where there is none."""
    for name in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        node = next((value for key, value in pairs if key.value == name), None)
    return node


def _line(node: t.Any) -> int:
    return line_of(node) if node else 0
