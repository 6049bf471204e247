# SPDX-License-Identifier: Apache-2.0
"""Find templates of an inventory that cannot be evaluated: undefined names, loops, and invalid templates.

Ansible finds that when a task needs the value, and names no file.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ansible
from ansible.module_utils.yunkube.control.ini_reader import expanded
from ansible.module_utils.yunkube.control.inventory_files import Entry, Inventory
from ansible.module_utils.yunkube.control.shapes import is_template
from ansible.module_utils.yunkube.words import closest
from jinja2 import Environment, TemplateSyntaxError, meta, nodes

# Names that Ansible itself defines, beside those that begin with ansible_:
# https://docs.ansible.com/ansible-core/devel/reference_appendices/special_variables.html
_SPECIAL = frozenset({
    "environment", "group_names", "groups", "hostvars", "inventory_dir", "inventory_file", "inventory_hostname",
    "inventory_hostname_short", "item", "lookup", "now", "omit", "play_hosts", "playbook_dir", "q", "query",
    "role_name", "role_names", "role_path", "undef", "vars",
})  # fmt: skip
_UNUSED = ("x_", "molecule_")  # variables that only others use
_GUARDS = ("default", "d", "defined", "undefined")
_HERE = ("127.0.0.1", "::1", "localhost")  # hosts that there are without being named
_HOST = object()  # in a path: the name of the host itself
_ENVIRONMENT = Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], autoescape=True)

Complaint = tuple[Entry, str, str]


class Need(NamedTuple):
    """What a template always looks up: a name, and a path inside of it."""

    name: str
    path: tuple[Any, ...]
    guarded: bool  # whether it may be undefined


class Leaf(NamedTuple):
    """A template in an entry's value, at a path."""

    entry: int  # its id
    path: tuple[Any, ...]


def complaints(inventory: Inventory, known: Collection[str]) -> Iterator[Complaint]:
    """Yield (entry, message, remedy); C(known) are the names that roles and the command line define.

    Nothing is said of names where a file is encrypted or another program adds variables. Variables that no key of ours
    or of Ansible refers to are left alone.
    """
    entries: dict[str, list[Entry]] = {}
    known = {*known, *inventory.added}
    for entry in inventory.entries:
        entries.setdefault(entry.key, []).append(entry)
    waiting = [key for key in entries if not key.startswith(_UNUSED)]
    looked = set(waiting)
    while waiting:
        for entry in entries[waiting.pop()]:
            for _, text in _templates(entry.value):
                try:
                    names = _names(text)
                except TemplateSyntaxError as error:
                    yield entry, f"is not a valid template: {error.message}", "correct the expression in {{ }}"
                    continue
                for name in sorted(names):
                    if name in entries and name not in looked:
                        looked.add(name)
                        waiting.append(name)
                    if not (inventory.unread or name in entries or name in known or _is_special(name)):
                        meant = closest(name, {*entries, *known} - {entry.key})
                        hint = f"did you mean {meant}?" if meant else f"set {name}, or use the value itself"
                        yield entry, f"uses {name}, which is not set anywhere", hint
                if not inventory.unread:
                    yield from _absent(entry, text, entries, inventory)
    yield from _loops(inventory)


def _is_special(name: str) -> bool:
    return name in _SPECIAL or name.startswith("ansible_")


def _templates(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield the templates in a value, at any depth, each with its path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _templates(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _templates(inner, (*path, number))
    elif is_template(value):
        yield path, value


def _is_plugin(kind: str, name: str) -> bool:
    """Say whether a filter or a test is Ansible's own, or of a collection, which is not looked for here."""
    places = (f"~/.ansible/plugins/{kind}", f"/usr/share/ansible/plugins/{kind}")  # where people put theirs by default
    theirs = f"ANSIBLE_{kind.upper()}_PLUGINS" in os.environ or any(Path(one).expanduser().exists() for one in places)
    return "." in name or theirs or name in _own(kind)


@functools.cache
def _own(kind: str) -> frozenset[str]:
    """Return the names of Ansible's filters or tests, read from its sources; its loader is slow and global."""
    folder = Path(ansible.__file__).parent / "plugins" / kind
    return frozenset(name for file in folder.glob("*.py") for name in re.findall(r"['\"](\w+)['\"]:", file.read_text()))


def _unknown(value: Any) -> Any:
    """Stand in for a filter or a test: nothing is evaluated here."""
    return value


@functools.cache
def _names(text: str) -> frozenset[str]:
    """Return the variables that a template needs; one with a default, or one that is asked about, it does not need."""
    tree = _ENVIRONMENT.parse(text)
    for one in tree.find_all((nodes.Filter, nodes.Test)):
        kind, known = (
            ("filter", _ENVIRONMENT.filters) if isinstance(one, nodes.Filter) else ("test", _ENVIRONMENT.tests)
        )
        if one.name not in known:
            if not _is_plugin(kind, one.name):
                raise TemplateSyntaxError(f"there is no {kind} {one.name}", 1)
            known[one.name] = _unknown
    spared = {
        name.name
        for guard in tree.find_all((nodes.Filter, nodes.Test))
        if guard.name in _GUARDS
        for name in guard.find_all(nodes.Name)
    }
    return frozenset(meta.find_undeclared_variables(tree) - spared)


@functools.cache
def _needs(text: str) -> tuple[Need, ...]:
    """Return what a template looks up however it goes on: Ansible looks up a name no sooner than it needs its value."""
    try:
        _names(text)  # makes filters known
    except TemplateSyntaxError:
        return ()
    tree = _ENVIRONMENT.parse(text)
    needs = tuple(need for node in tree.body for need in _looked_up(node, guarded=False))
    if "{%" not in text:  # no name of the template's own
        return needs
    free = meta.find_undeclared_variables(tree)
    return tuple(need for need in needs if need.name in free)


def _looked_up(node: nodes.Node | None, *, guarded: bool) -> Iterator[Need]:
    inner: list[nodes.Node | None] = []
    if isinstance(node, (nodes.Name, nodes.Getattr, nodes.Getitem)):
        name, path = _path(node)
        if name:
            yield Need(name, path, guarded)
        return
    if isinstance(node, (nodes.Filter, nodes.Test)):
        guarded = guarded or node.name in _GUARDS
        inner = [node.node]
    elif isinstance(node, (nodes.If, nodes.CondExpr)):
        inner = [node.test]
    elif isinstance(node, nodes.For):
        inner = [node.iter]
    elif isinstance(node, (nodes.And, nodes.Or)):
        inner = [node.left]
    elif isinstance(node, nodes.BinExpr):
        inner = [node.left, node.right]
    elif isinstance(node, nodes.Compare):
        inner = [node.expr, node.ops[0].expr]
    elif isinstance(node, (nodes.UnaryExpr, nodes.Call)):
        inner = [node.node]
    elif isinstance(node, (nodes.Output, nodes.Concat)):
        inner = list(node.nodes)
    for one in inner:
        yield from _looked_up(one, guarded=guarded)


def _path(node: nodes.Node) -> tuple[str, tuple[Any, ...]]:
    """Return the name and the constant path of C(name.a['b'][0]); no name where it begins with something else."""
    if isinstance(node, nodes.Name):
        return node.name, ()
    if isinstance(node, nodes.Getattr):
        name, path = _path(node.node)
        return name, (*path, node.attr)
    if isinstance(node, nodes.Getitem):
        name, path = _path(node.node)
        step = node.arg
        if isinstance(step, nodes.Const):
            return name, (*path, step.value)
        if isinstance(step, nodes.Name) and step.name == "inventory_hostname":
            return name, (*path, _HOST)
        return name, (*path, None)
    return "", ()


def _absent(entry: Entry, text: str, entries: Mapping[str, list[Entry]], inventory: Inventory) -> Iterator[Complaint]:
    """Yield the constants of a template that name something missing: a host, or a host's key of a dictionary."""
    for name, path, guarded in _needs(text):
        if guarded or not path:
            continue
        if name == "hostvars" and isinstance(path[0], str):
            hosts = {one for host in inventory.hosts for one in expanded(host)}
            if path[0] not in {*hosts, *_HERE}:
                meant = closest(path[0], hosts)
                hint = f"did you mean {meant}?" if meant else "use the name of a host in hosts.yml"
                yield entry, f"names the host {path[0]}, which does not exist", hint
        source = entries.get(name, [])
        if path[0] is _HOST and len(source) == 1 and isinstance(source[0].value, Mapping):
            lacking = sorted(_hosts_of(entry, entries, inventory) - set(source[0].value))
            if lacking:
                message = f"uses {name}[inventory_hostname], which lacks {', '.join(lacking)}"
                yield entry, message, f"add {'it' if len(lacking) == 1 else 'them'} to {name} ({_place(source[0])})"


def _hosts_of(entry: Entry, entries: Mapping[str, list[Entry]], inventory: Inventory) -> set[str]:
    """Return the hosts that certainly get an entry: the groups of a host are not known here."""
    if entry.scope in inventory.hosts:
        return set(expanded(entry.scope))
    if entry.scope != "all" or not set(inventory.groups) <= {"all", "masters", "nodes"}:
        return set()
    others = {one.scope for one in entries[entry.key] if one is not entry}
    if others - set(inventory.hosts):
        return set()
    return {name for host in inventory.hosts if host not in others for name in expanded(host)}


def _place(entry: Entry) -> str:
    return f"{entry.file.name}:{entry.line}"


def _loops(inventory: Inventory) -> Iterator[Complaint]:
    """Yield each loop of templates once; where several files or groups set a name, only if all of them lead back."""
    if any("all" not in (file.stem, file.parent.name) for file in inventory.unread):
        return  # a host's or a group's own value, which ends a loop, may stand there
    told: set[frozenset[int]] = set()
    by_id = {id(entry): entry for entry in inventory.entries}
    for host, visible in _views(inventory):
        ways = _ways(host, visible)
        for start in ways:
            if by_id[start.entry].key.startswith(_UNUSED):
                continue
            walked = [start]
            while (after := ways[walked[-1]]) not in walked:
                walked.append(after)
            loop = list(dict.fromkeys(leaf.entry for leaf in walked[walked.index(after) :]))
            if frozenset(loop) not in told:
                told.add(frozenset(loop))
                yield _loop([by_id[one] for one in loop])


def _views(inventory: Inventory) -> Iterator[tuple[str, dict[str, list[Entry]]]]:
    """Yield the hosts that differ, each with the entries that may count for it; its own win over those of groups."""
    common: dict[str, list[Entry]] = {}
    own: dict[str, dict[str, list[Entry]]] = {host: {} for host in inventory.hosts}
    for entry in inventory.entries:
        own.get(entry.scope, common).setdefault(entry.key, []).append(entry)
    needed: dict[str, set[str]] = {}
    for entry in inventory.entries:
        names = {need.name for _, text in _templates(entry.value) for need in _needs(text)}
        needed.setdefault(entry.key, set()).update(names)
    before = -1
    while len(needed) != before:  # most inventories have no loop, whatever hosts and files
        before = len(needed)
        needed = {key: names for key, names in needed.items() if not names.isdisjoint(needed)}
    if not needed:
        return
    seen: set[tuple[str, ...]] = set()
    for host, entries in own.items() if own else [("", {})]:
        differing = tuple(key for key in entries if key in needed)
        if differing or () not in seen:
            seen.add(differing)
            yield host, common | {key: entries[key] for key in differing}


def _ways(host: str, visible: Mapping[str, list[Entry]]) -> dict[Leaf, Leaf]:
    """Return the templates that certainly lead back to themselves or into a loop, each with the next on its path."""
    leaves = {
        Leaf(id(entry), path): _needs(text)
        for entries in visible.values()
        for entry in entries
        for path, text in _templates(entry.value)
    }
    targets = {leaf: [_targets(need, host, visible) for need in needs] for leaf, needs in leaves.items()}
    left, before = set(targets), -1
    while len(left) != before:
        before = len(left)
        left = {leaf for leaf in left if any(aims and left.issuperset(aims) for aims in targets[leaf])}
    return {
        leaf: next(aims[0] for aims in targets[leaf] if aims and left.issuperset(aims))
        for leaf in targets
        if leaf in left
    }


def _targets(need: Need, host: str, visible: Mapping[str, list[Entry]]) -> list[Leaf]:
    """Return the templates that a name may mean, none where one of them is a value."""
    found = []
    for entry in visible.get(need.name, ()):
        value, path = entry.value, tuple(host if step is _HOST else step for step in need.path)
        for depth, step in enumerate((*path, None)):
            if isinstance(value, str) and is_template(value):
                found.append(Leaf(id(entry), path[:depth]))
                break
            index = isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value)
            if index or (isinstance(value, Mapping) and step in value):
                value = value[step]
            else:
                return []
    return found


def _loop(entries: list[Entry]) -> Complaint:
    """Return the complaint about a loop, at the first of its entries that is ours or Ansible's."""
    first = min(range(len(entries)), key=lambda one: _order(entries[one]))
    head, *rest = entries[first:] + entries[:first]
    names = ", which refers to ".join(f"{one.key} ({_place(one)})" for one in rest)
    what = f"refers to {names}, which refers back to it" if rest else "names itself"
    return head, f"{what}, so it has no value", "set a value, or delete the line"


def _order(entry: Entry) -> tuple[bool, str, int]:
    return entry.key.startswith(_UNUSED), str(entry.file), entry.line
