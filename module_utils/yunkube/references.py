"""Find templates of an inventory that cannot be filled in: a name that nothing defines, or what is no template.

Ansible finds that when a task needs the value, and names no file.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import ansible
from ansible.module_utils.yunkube.inventory_files import Entry, Inventory
from ansible.module_utils.yunkube.shapes import is_template
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
_ENVIRONMENT = Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], autoescape=True)


def complaints(inventory: Inventory, known: Collection[str]) -> Iterator[tuple[Entry, str, str]]:
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
            for text in _templates(entry.value):
                try:
                    names = _names(text)
                except TemplateSyntaxError as error:
                    yield entry, f"is no template: {error.message}", "correct what stands in {{ }}"
                    continue
                for name in sorted(names):
                    if name in entries and name not in looked:
                        looked.add(name)
                        waiting.append(name)
                    if not (inventory.unread or name in entries or name in known or _is_special(name)):
                        meant = closest(name, {*entries, *known} - {entry.key})
                        hint = f"did you mean {meant}?" if meant else f"set {name}, or write the value itself"
                        yield entry, f"uses {name}, which nothing sets", hint


def _is_special(name: str) -> bool:
    return name in _SPECIAL or name.startswith("ansible_")


def _templates(value: Any) -> Iterator[str]:
    """Yield the templates in a value, at any depth."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _templates(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _templates(inner)
    elif is_template(value):
        yield value


def _is_plugin(kind: str, name: str) -> bool:
    """Say whether a filter or a test is Ansible's own, or of a collection, which is not looked for here."""
    places = (f"~/.ansible/plugins/{kind}", f"/usr/share/ansible/plugins/{kind}")  # where people put theirs by default
    theirs = f"ANSIBLE_{kind.upper()}_PLUGINS" in os.environ or any(Path(one).expanduser().exists() for one in places)
    return "." in name or theirs or name in _own(kind)


@functools.cache
def _own(kind: str) -> frozenset[str]:
    """Return the names of Ansible's filters or tests, as its sources map them; its loader is slow and global."""
    folder = Path(ansible.__file__).parent / "plugins" / kind
    return frozenset(name for file in folder.glob("*.py") for name in re.findall(r"['\"](\w+)['\"]:", file.read_text()))


def _unknown(value: Any) -> Any:
    """Stand for a filter or a test: nothing is filled in here."""
    return value


def _names(text: str) -> set[str]:
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
        if guard.name in ("default", "d", "defined", "undefined")
        for name in guard.find_all(nodes.Name)
    }
    return meta.find_undeclared_variables(tree) - spared
