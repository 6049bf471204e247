# SPDX-License-Identifier: Apache-2.0
"""An inventory in INI, read as Ansible reads it, with the line of everything; what Ansible refuses is named.

Ansible's own words for it have no line, and stand beside those of its other readers, which cannot read the file either.
"""

from __future__ import annotations

import ast
import re
import shlex
import typing as t

_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?")
_BRACKETED = re.compile(r"\[([0-9a-fA-F.]*:[0-9a-fA-F.]*:[0-9a-fA-F:.]*)\](?::\d+)?")
_RANGE = re.compile(r"\[(\w+):(\w+)(?::(\d+))?\]")


class Item(t.NamedTuple):
    """One thing that a line says: a group, a host, a variable of one of these, or what is wrong (why, remedy)."""

    kind: str  # group, host, variable, problem
    line: int
    name: str
    value: t.Any = None
    owner: str = ""


def parse(text: str) -> t.Iterator[Item]:
    """Yield what the lines say, in their order; groups that nothing defines come last."""
    group, section = "ungrouped", "hosts"
    defined: set[str] = {"all", "ungrouped"}
    wanted: list[tuple[str, int, str]] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        found = _SECTION.fullmatch(line)
        if found and (found[2] or "hosts") in ("hosts", "children", "vars"):
            group, section = found[1], found[2] or "hosts"
            if section == "vars":
                wanted.append((group, number, f"[{group}:vars]"))
            else:
                defined.add(group)
                yield Item("group", number, group)
        elif line.startswith("[") and not _BRACKETED.match(line):
            yield _wrong(number, f'"{line}" is no section', "write [group], [group:children] or [group:vars]")
        elif section == "children":
            wanted.append((line.split()[0], number, f"[{group}:children]"))
        elif section == "vars":
            yield _variable(line, number, group)
        else:
            yield from _host(line, number)
    for name, number, place in wanted:
        if name not in defined:
            yield _wrong(number, f"{place}: there is no group {name}", f"write a section [{name}], or another name")


def _variable(line: str, number: int, group: str) -> Item:
    key, equals, value = line.partition("=")
    if not equals:
        return _wrong(number, f'"{line}" is no variable', "write key=value")
    return Item("variable", number, key.strip(), value_of(value.strip()), group)


def _host(line: str, number: int) -> t.Iterator[Item]:
    try:
        pattern, *tokens = shlex.split(line, comments=True)
    except ValueError:
        yield _wrong(number, "a quote is not closed", "close it")
        return
    hosts = hosts_of(pattern)
    for host in hosts:
        yield Item("host", number, host)
    for token in tokens:
        key, equals, value = token.partition("=")
        if not (equals and key):
            yield _wrong(number, f'"{token}" is no variable', "write key=value, without blanks around =")
            return
        if len(hosts) > 1 and key in ("ansible_host", "cluster_node_ip") and _RANGE.search(value):
            yield _wrong(number, f"{key}: a range counts in the host's name alone", "write a line for each host")
        for host in hosts:
            yield Item("variable", number, key, value_of(value), host)


def hosts_of(pattern: str) -> list[str]:
    """Return the hosts that a pattern means, with ranges and a port or not: `node[01:12]:2222`, `[2001:db8::5]:22`."""
    if found := _BRACKETED.fullmatch(pattern):
        return [found[1]]
    outside = _RANGE.sub("", pattern)
    return expanded(re.sub(r":\d+$", "", pattern) if outside.count(":") == 1 else pattern)


def expanded(pattern: str) -> list[str]:
    """Return the hosts that a pattern such as `node[01:12:2]` or `node[a:c]` means."""
    found = _RANGE.search(pattern)
    if not found:
        return [pattern]
    first, last, step = found[1], found[2], int(found[3] or 1)
    if first.isdigit() and last.isdigit():
        width = len(first) if first.startswith("0") else 0
        middles = [str(number).zfill(width) for number in range(int(first), int(last) + 1, step)]
    elif len(first) == len(last) == 1:
        middles = [chr(code) for code in range(ord(first), ord(last) + 1, step)]
    else:
        return [pattern]
    return [
        name for middle in middles for name in expanded(f"{pattern[: found.start()]}{middle}{pattern[found.end() :]}")
    ]


def value_of(text: str) -> t.Any:
    """Return a value as Ansible has it: a literal of Python where it is one, else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _wrong(line: int, message: str, remedy: str) -> Item:
    return Item("problem", line, "INI", (message, remedy))
