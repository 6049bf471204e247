"""Files with manifests that web services name, read on the control machine: every fault with its line."""

from __future__ import annotations

import contextlib
import re
import typing as t
from pathlib import Path

with contextlib.suppress(ImportError):  # the module that needs it says so in one line
    import yaml

_REMARK = re.compile(r"\s//")
_NEEDED = "apiVersion, kind and metadata.name"


class Broken(t.NamedTuple):
    """What is wrong in a file: the line, 0 where it is the file as a whole, and what to do."""

    line: int
    message: str
    remedy: str


def read(path: Path, node_ports: range = range(1, 65536)) -> tuple[list[t.Any], list[Broken]]:
    """Return a file's documents, those of a List one by one, and all that is wrong with them."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return [], [Broken(0, f"cannot be read: {error.strerror}", "paths are relative to the inventory's directory")]
    except UnicodeDecodeError:
        return [], [Broken(0, "is no text in UTF-8", "save it as UTF-8")]
    documents: list[t.Any] = []
    broken: list[Broken] = []
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        while loader.check_node():
            node = loader.get_node()
            broken += _twice(node)
            document = loader.construct_document(node)
            for one, value in _listed(node, document):
                broken += _wrong(one, value, node_ports)
                documents.append(value)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        broken.append(Broken(mark.line + 1 if mark else 0, f"is no YAML: {problem}", "correct it there or just above"))
    if not documents and not broken:
        broken.append(Broken(0, "holds no manifest", f"write one, with {_NEEDED}"))
    return documents, broken


def _listed(node: t.Any, document: t.Any) -> t.Iterator[tuple[t.Any, t.Any]]:
    """Yield the manifests of a document, each with its node: a List's items; nothing of an empty document."""
    if isinstance(document, dict) and document.get("kind") == "List":
        items = _child(node, "items")
        for number, item in enumerate(document.get("items") or []):
            yield items.value[number], item
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
        for entry in ports.value if ports and isinstance(ports.value, list) else ():
            port = _child(entry, "nodePort")
            if port and port.value.isdigit() and int(port.value) not in node_ports:
                remedy = f"choose one from {node_ports.start} to {node_ports.stop - 1}"
                yield Broken(_line(port), f"nodePort {port.value} is out of range", remedy)


def _no_text(node: t.Any, key: str) -> t.Iterator[Broken]:
    if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str":
        yield Broken(_line(node), f"{key} {getattr(node, 'value', '')} is no text", "write it in quotes")
    elif _REMARK.search(node.value):
        yield Broken(_line(node), f'{key} is "{node.value}"', "`//` begins no remark in YAML: write `#`")


def _twice(node: t.Any) -> t.Iterator[Broken]:
    """Yield the keys that come twice in a mapping, at any depth: YAML readers keep the last one without a word."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if key.value in seen and key.value != "<<":
                message = f"{key.value} is set twice, in line {seen[key.value]} too"
                yield Broken(_line(key), message, "keep one of them")
            if isinstance(key, yaml.ScalarNode):
                seen[key.value] = _line(key)
            yield from _twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _twice(item)


def _child(node: t.Any, *path: str) -> t.Any:
    """Return the node at a path of keys, nothing where there is none."""
    for name in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        node = next((value for key, value in pairs if key.value == name), None)
    return node


def _line(node: t.Any) -> int:
    return node.start_mark.line + 1 if node else 0
