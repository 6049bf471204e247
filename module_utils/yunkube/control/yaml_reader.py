# SPDX-License-Identifier: Apache-2.0
"""YAML that people wrote, read by PyYAML: whatever it refuses has a line and a reason, and is no traceback."""

from __future__ import annotations

import re
import typing as t

try:
    import yaml
    from yaml.nodes import MappingNode, Node, SequenceNode

    SafeLoader: t.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    ConstructorError: t.Any = yaml.constructor.ConstructorError
    HAS_YAML = True
    REFUSALS: tuple[type[Exception], ...] = (yaml.YAMLError, RecursionError)
except ImportError:  # the module that needs it says so in one line
    SafeLoader = object
    ConstructorError = Exception
    HAS_YAML = False
    REFUSALS = ()

# What YAML does not allow in a text, https://yaml.org/spec/1.1/#c-printable, as far as people bring it in.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_DEEPEST = 100  # levels; no manifest has as many


class WrongValueError(ConstructorError):  # type: ignore[misc]
    """A value that is not of the type that its shape or tag gives it, such as 2026-02-30."""


class Loader(SafeLoader):  # type: ignore[misc]
    """PyYAML's safe loader, which lets errors of Python's own types through, without a line."""

    def construct_object(self, node: Node, deep: bool = False) -> t.Any:
        """Return the node's value; raise WrongValueError with its line."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, AttributeError) as error:
            kind = node.tag.rpartition(":")[2]
            raise WrongValueError(None, None, f"{node.value} is no {kind}: {error}", node.start_mark) from error


def load_generated(text: str | None) -> t.Any:
    """Return what a program wrote, such as kubeadm; an empty dictionary for nothing. yaml.safe_load is much slower."""
    return yaml.load(text or "", SafeLoader) or {}  # noqa: S506 - it is safe: LibYAML's, or else PyYAML's own


def why(error: Exception, text: str) -> tuple[int, str]:
    """Return the line of a text that is refused (one of REFUSALS), 0 where it is not known, and why."""
    if isinstance(error, RecursionError):
        return 0, "is nested too deep"
    mark = getattr(error, "problem_mark", None)
    if mark:
        problem = str(getattr(error, "problem", ""))
        line = "".join(text.splitlines()[mark.line : mark.line + 1])
        if "cannot start any token" in problem and line[mark.column : mark.column + 1] == "\t":
            problem = "a tab where YAML requires spaces"
        if "found another document" in problem:
            problem = "a second document begins here, and Ansible reads one per file"
        return mark.line + 1, problem
    control = _CONTROL.search(text)
    if control:
        return text.count("\n", 0, control.start()) + 1, f"holds a control character, U+{ord(control[0]):04X}"
    return 0, str(error).partition("\n")[0]


def line_of(node: Node) -> int:
    """Return the line where a node begins."""
    return int(node.start_mark.line) + 1


def repeated(node: MappingNode) -> t.Iterator[tuple[Node, int]]:
    """Yield each key of a mapping that came before, with the line where it did; merges (`<<`) may come twice."""
    seen: dict[str, int] = {}
    for key_node, _ in node.value:
        key = str(key_node.value)
        if key in seen and key != "<<":
            yield key_node, seen[key]
        seen[key] = line_of(key_node)


def circular(node: Node | None, above: tuple[Node, ...] = (), done: set[int] | None = None) -> Node | None:
    """Return a node that is inside of itself, through an alias; raise RecursionError for too many levels."""
    done = set() if done is None else done
    if len(above) > _DEEPEST:
        raise RecursionError
    if node in above:
        return node
    if node is None or id(node) in done:
        return None
    inside: t.Iterable[Node] = ()
    if isinstance(node, SequenceNode):
        inside = node.value
    elif isinstance(node, MappingNode):
        inside = (one for pair in node.value for one in pair)
    found = next(filter(None, (circular(one, (*above, node), done) for one in inside)), None)
    done.add(id(node))
    return found
