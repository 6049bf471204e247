# SPDX-License-Identifier: Apache-2.0
"""Read an inventory's files as a person sees them: every key with its file and line.

Ansible merges these files and forgets where a value came from; a fault must say where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ansible.module_utils.yunkube.control import ini_reader
from ansible.module_utils.yunkube.control.yaml_reader import (
    HAS_YAML,
    REFUSALS,
    Loader,
    WrongValueError,
    circular,
    line_of,
    repeated,
    why,
)
from ansible.module_utils.yunkube.words import closest

if HAS_YAML:
    import yaml
    from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_EXTENSIONS = ("", ".yml", ".yaml", ".json")


class Opaque:
    """A value that is not for reading here: encrypted, or marked as unsafe."""


OPAQUE: Final = Opaque()


@dataclass(frozen=True)
class Entry:
    """One variable as one file sets it."""

    file: Path
    line: int
    key: str
    value: Any
    scope: str  # the group or host it is set for
    ini: bool = False  # whether the file is INI, where a value is Python's or text


@dataclass
class Inventory:
    """What the files say, before Ansible merges it."""

    entries: list[Entry] = field(default_factory=list)
    hosts: dict[str, tuple[Path, int]] = field(default_factory=dict)  # where each host is named first
    groups: dict[str, tuple[Path, int]] = field(default_factory=dict)
    problems: list[Entry] = field(default_factory=list)  # the value is (message, remedy)
    encrypted: list[tuple[Path, int]] = field(default_factory=list)  # files and values that ansible-vault wrote
    unread: list[Path] = field(default_factory=list)  # what other variables may stand in: encrypted, or for a program
    shadowed: list[tuple[Path, Path]] = field(default_factory=list)  # files that Ansible skips, and for which one
    added: set[str] = field(default_factory=set)  # names of variables that our inventory plugin sets
    extra: Mapping[str, Any] = field(default_factory=dict)  # of the command line, which wins over all files

    def where(self, key: str, scope: str = "all") -> Entry | None:
        """Return the entry that sets the key: for the scope if there is one, else anywhere, the last one."""
        found = [entry for entry in self.entries if entry.key == key]
        return next((entry for entry in reversed(found) if entry.scope == scope), found[-1] if found else None)

    def of_host(self, key: str, host: str) -> Entry | None:
        """Return the entry that sets the key for a host, or for some group; those of other hosts do not count."""
        found = [one for one in self.entries if one.key == key and (one.scope == host or one.scope not in self.hosts)]
        return next((one for one in reversed(found) if one.scope == host), found[-1] if found else None)


class TaggedLoader(Loader):
    """YAML as Ansible writes it: its tags hide a value."""


_VAULTED = ("!vault", "!vault-encrypted")
if HAS_YAML:
    for _tag in (*_VAULTED, "!unsafe"):
        TaggedLoader.add_constructor(_tag, lambda _loader, _node: OPAQUE)


def read(sources: list[Path]) -> Inventory:
    """Read hosts files, group_vars and host_vars of these inventory sources."""
    inventory = Inventory()
    directories: list[Path] = []
    for source in sources:
        directory = source if source.is_dir() else source.parent
        for file in _hosts_files(source):
            _read_hosts(file, inventory)
        if directory not in directories:
            directories.append(directory)
    for directory in directories:
        for kind in ("group_vars", "host_vars"):
            for scope, files in _variable_files(directory / kind, inventory):
                for file in files:
                    _read_variables(file, scope, inventory)
    return inventory


def _hosts_files(path: Path) -> Iterator[Path]:
    """Yield what Ansible takes for hosts files, those in folders below as well; see ignore_patterns in ansible.cfg."""
    if path.is_dir():
        for inner in sorted(path.iterdir()):
            if inner.name not in ("group_vars", "host_vars", "manifests") and not inner.name.startswith("."):
                yield from _hosts_files(inner)
    elif path.is_file() and path.suffix in {*_EXTENSIONS, ".ini"}:
        yield path


def below(folder: Path, around: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield what is in a folder and in those below it, by links as well, as Ansible reads it: without hidden names.

    A circle is walked once: `around` are the folders that lead to this one.
    """
    real = folder.resolve()
    if real in around or not folder.is_dir():
        return
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        yield path
        yield from below(path, (*around, real))


def load(file: Path) -> Any:
    """Return a YAML file's content."""
    return yaml.load(file.read_text(encoding="utf-8"), Loader=TaggedLoader)  # noqa: S506 - a safe loader's child


def role_options(roles: Path) -> dict[str, Any]:
    """Return the options of all roles and all their entry points, but what their callers must give."""
    options: dict[str, Any] = {}
    for file in sorted(roles.glob("*/meta/argument_specs.yml")):
        for entry_point in ((load(file) or {}).get("argument_specs") or {}).values():
            given = entry_point.get("options") or {}
            options.update({name: option for name, option in given.items() if not option.get("required")})
    return options


def _variable_files(directory: Path, inventory: Inventory) -> Iterator[tuple[str, list[Path]]]:
    """Yield each scope with its files, in the order in which Ansible loads them.

    Of all, all.yml, all.yaml and all.json, file or folder, it takes the first there is (DataLoader.find_vars_files).
    """
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        named = path.name in inventory.hosts or path.name in inventory.groups  # such as node1.example.com
        if path.is_dir() or named or _is_variable_file(path):
            suffix = path.suffix if path.suffix in _EXTENSIONS and not named else ""
            found.setdefault(path.name.removesuffix(suffix), {})[suffix] = path
    for scope, paths in found.items():
        first, *others = (paths[suffix] for suffix in _EXTENSIONS if suffix in paths)
        inventory.shadowed += [(other, first) for other in others]
        inner = sorted(file for file in below(first) if file.is_file() and _is_variable_file(file))
        yield scope, inner if first.is_dir() else [first]


def _is_variable_file(file: Path) -> bool:
    return file.suffix in _EXTENSIONS and not file.name.startswith(".") and not file.name.endswith("~")


def _compose(file: Path, inventory: Inventory) -> tuple[Any, Node | None]:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        _broken(file, line, ("is not UTF-8 text", "save the file as UTF-8"), inventory)
        return None, None
    if text.startswith("$ANSIBLE_VAULT"):
        inventory.encrypted.append((file, 1))
        inventory.unread.append(file)
        return None, None
    try:
        loader = TaggedLoader(text)
        root = loader.get_single_node()
        inside = circular(root)
    except REFUSALS as error:
        _refuse(error, file, inventory, text)
        return None, None
    if inside is not None:
        _broken(file, line_of(inside), ("an alias is inside the value that it refers to", "write it out"), inventory)
        return None, None
    return loader, root


def _refuse(error: Exception, file: Path, inventory: Inventory, text: str = "") -> None:
    line, problem = why(error, text)
    _broken(file, line, (problem, "correct it there or just above"), inventory)


def _broken(file: Path, line: int, problem: tuple[str, str], inventory: Inventory) -> None:
    """Note why Ansible cannot read a file."""
    inventory.problems.append(Entry(file, line, "YAML", problem, ""))


def _kind(node: Node) -> str:
    """Say what stands where a mapping should; nothing where it does, or where there is nothing."""
    if isinstance(node, MappingNode) or node.tag == "tag:yaml.org,2002:null":
        return ""
    return "a list" if isinstance(node, SequenceNode) else "a value"


def _pairs(loader: Any, node: Node | None, file: Path, inventory: Inventory) -> list[tuple[str, int, Node]]:
    """Return the pairs of a mapping with the line of each key, those that `<<` names as well.

    A key that comes twice is noted; a mapping that several aliases name is looked at once.
    """
    if not isinstance(node, MappingNode):
        return []
    known: set[int] = loader.__dict__.setdefault("known", set())
    if id(node) not in known:
        known.add(id(node))
        for key_node in (key for key, _ in node.value if isinstance(key, MappingNode)):
            # {{ x }}, which YAML takes for two of its dictionaries
            problem = ("is no text: a template, or what looks like one", 'write it in quotes, "{{ ... }}"')
            _broken(file, line_of(key_node), problem, inventory)
            node.value = []
        for twice, former in repeated(node):
            problem = (f"set twice, in line {former} too", "keep one of them")
            inventory.problems.append(Entry(file, line_of(twice), str(twice.value), problem, ""))
        try:
            loader.flatten_mapping(node)
        except yaml.YAMLError as error:
            _refuse(error, file, inventory)
            node.value = []
    return [(str(key.value), line_of(key), value) for key, value in node.value]


def _plain(loader: Any, node: Node, file: Path, inventory: Inventory) -> Any:
    """Return the node's value, noting keys that come twice at any depth."""
    if isinstance(node, MappingNode) and node.tag == "tag:yaml.org,2002:map":
        return {key: _plain(loader, value, file, inventory) for key, _, value in _pairs(loader, node, file, inventory)}
    if isinstance(node, SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        return [_plain(loader, item, file, inventory) for item in node.value]
    if node.tag.startswith("!") and node.tag not in (*_VAULTED, "!unsafe"):
        problem = (f"the tag {node.tag} is none of Ansible's", "use !vault or !unsafe, or write the value itself")
        _broken(file, line_of(node), problem, inventory)
        return OPAQUE
    if isinstance(node, ScalarNode):
        if node.tag in _VAULTED:
            inventory.encrypted.append((file, line_of(node)))
        try:
            return loader.construct_object(node)
        except WrongValueError as error:
            _refuse(error, file, inventory)
        except yaml.YAMLError:  # a tag of somebody else
            return OPAQUE
    return OPAQUE


def _read_variables(file: Path, scope: str, inventory: Inventory) -> None:
    loader, root = _compose(file, inventory)
    if root is not None and (what := _kind(root)):
        problem = (f"is {what}, and files of variables hold `key: value` lines", "take the dashes or quotes away")
        _broken(file, line_of(root), problem, inventory)
    _add_variables(loader, root, file, scope, inventory)


def _add_variables(loader: Any, node: Node | None, file: Path, scope: str, inventory: Inventory) -> None:
    for key, line, value in _pairs(loader, node, file, inventory):
        inventory.entries.append(Entry(file, line, key, _plain(loader, value, file, inventory), scope))


def _read_hosts(file: Path, inventory: Inventory) -> None:
    with file.open("rb") as stream:
        if stream.read(2) == b"#!":  # a program, whose output Ansible reads
            inventory.unread.append(file)
            return
    if file.suffix == ".ini" or (file.suffix == "" and not _is_yaml(file)):
        _read_ini(file, inventory)
        return
    loader, root = _compose(file, inventory)
    groups = _pairs(loader, root, file, inventory)
    if any(name == "plugin" for name, _, _ in groups):
        _read_plugin({name: _plain(loader, node, file, inventory) for name, _, node in groups}, file, inventory)
        return
    lines = {name: line for name, line, _ in groups}
    if {"apiVersion", "kind"} <= set(lines):
        problem = ("a manifest of Kubernetes, which Ansible takes for a hosts file here", "move it into manifests/")
        inventory.problems.append(Entry(file, lines["kind"], "kind", problem, ""))
        return
    for name, line, node in groups:
        _read_group(loader, name, (file, line), node, inventory)


def _read_plugin(settings: Mapping[str, Any], file: Path, inventory: Inventory) -> None:
    """Note what an inventory plugin sets, as far as it is known; its settings it checks itself."""
    if settings["plugin"] != "alicloud":
        inventory.unread.append(file)
        return
    composed = settings.get("compose")
    inventory.added |= {"alicloud_instance", "cluster_node_ip", *(composed if isinstance(composed, dict) else ())}


def _is_yaml(file: Path) -> bool:
    """Say whether a file without an extension is YAML: Ansible tries that first, and a mapping is no INI."""
    try:
        return isinstance(
            yaml.compose(file.read_text(encoding="utf-8", errors="replace"), Loader=TaggedLoader), MappingNode
        )
    except REFUSALS:
        return False


_SECTIONS = {
    "hosts": "write each name as a key, such as `master1:`",
    "children": "write each name as a key, such as `nodes:`",
    "vars": "write `key: value` lines",
}


def _check_section(section: str, line: int, body: Node, place: tuple[str, Path], inventory: Inventory) -> None:
    """Note what Ansible skips, or refuses the whole file for, with a mere warning: lists, names that are no text."""
    group, file = place
    if section not in _SECTIONS:
        meant = closest(section, _SECTIONS)
        hint = f"did you mean {meant}?" if meant else "a group has hosts, children and vars"
        problem = (f"Ansible skips this key of the group {group}", hint)
        inventory.problems.append(Entry(file, line, section, problem, ""))
        return
    if what := _kind(body):
        problem = (f"{what}, which Ansible does not read here", _SECTIONS[section])
        inventory.problems.append(Entry(file, line, section, problem, ""))
    if section == "vars":
        return
    if not isinstance(body, MappingNode):
        return
    for key, _ in body.value:
        if key.tag != "tag:yaml.org,2002:str" and key.value != "<<":
            kind = key.tag.rpartition(":")[2]
            problem = (f"YAML reads this name as {kind}, not as text", f'write it in quotes, "{key.value}"')
            what = f"{'host' if section == 'hosts' else 'group'} {key.value}"
            inventory.problems.append(Entry(file, key.start_mark.line + 1, what, problem, ""))


def _read_group(loader: Any, name: str, place: tuple[Path, int], node: Node, inventory: Inventory) -> None:
    file = place[0]
    inventory.groups.setdefault(name, place)
    for section, at, body in _pairs(loader, node, file, inventory):
        _check_section(section, at, body, (name, file), inventory)
        if section == "vars":
            _add_variables(loader, body, file, name, inventory)
        elif section == "hosts":
            for pattern, line, variables in _pairs(loader, body, file, inventory):
                if what := _kind(variables):
                    problem = (
                        f"{what}, where the host's variables belong",
                        f"write {pattern}: {{ansible_host: ...}}",
                    )
                    inventory.problems.append(Entry(file, line, f"host {pattern}", problem, ""))
                for host in ini_reader.hosts_of(pattern):
                    inventory.hosts.setdefault(host, (file, line))
                    _add_variables(loader, variables, file, host, inventory)
        elif section == "children":
            for child, line, group in _pairs(loader, body, file, inventory):
                if what := _kind(group):
                    problem = (
                        f"{what}, where the group's hosts, children and vars belong",
                        "write `hosts:` below it",
                    )
                    inventory.problems.append(Entry(file, line, f"group {child}", problem, ""))
                _read_group(loader, child, (file, line), group, inventory)


def _read_ini(file: Path, inventory: Inventory) -> None:
    text = file.read_text(encoding="utf-8", errors="replace")
    if text.startswith("\ufeff"):
        problem = (
            "begins with a byte order mark, which Ansible takes for a host",
            "save the file as UTF-8 without BOM",
        )
        inventory.problems.append(Entry(file, 1, "INI", problem, ""))
    for item in ini_reader.parse(text.removeprefix("\ufeff")):
        if item.kind == "group":
            inventory.groups.setdefault(item.name, (file, item.line))
        elif item.kind == "host":
            inventory.hosts.setdefault(item.name, (file, item.line))
        elif item.kind == "variable":
            inventory.entries.append(Entry(file, item.line, item.name, item.value, item.owner, ini=True))
        else:
            inventory.problems.append(Entry(file, item.line, item.name, item.value, ""))
