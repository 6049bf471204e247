# SPDX-License-Identifier: Apache-2.0
"""Check an inventory as a whole: its files, entry by entry, and what must hold between the final values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.yunkube.control import cluster_rules, web_manifests
from ansible.module_utils.yunkube.control.config import check_entry, check_extra, check_shape, check_value, display
from ansible.module_utils.yunkube.control.inventory_files import Entry, Inventory, load, read, role_options
from ansible.module_utils.yunkube.control.locks import locked_releases
from ansible.module_utils.yunkube.result import CONFIG, Fault, Report
from ansible.module_utils.yunkube.words import closest


def docker_subnet(inventory: Inventory, roles: Path) -> str:
    """Return the Docker hosts' network: as the inventory has it, else by default; empty when it is templated."""
    key = "docker_hosts_subnet"
    entry = inventory.where(key)
    defaults = roles / "docker_hosts/defaults/main.yml"
    value = entry.value if entry else (load(defaults) or {}).get(key) if defaults.exists() else None
    return value if isinstance(value, str) and "{{" not in value else ""


def paths_of(entry: Entry) -> list[str]:
    """Return what the inventory has a teardown remove, whatever host it says it of; what is templated is not known."""
    listed = entry.value if entry.key == "teardown_paths" and isinstance(entry.value, list) else []
    return [path for path in listed if isinstance(path, str) and "{{" not in path]


def place(key: str, inventory: Inventory, project: Path) -> tuple[str, int]:
    """Return file and line where a rule's key is set, or none when it is a default or came by the command line."""
    kind, _, name = key.partition(" ")
    of_host, of, owner = key.partition(" of ")
    if of_host in inventory.extra:
        return "-e", 0
    if kind == "host" and name:
        entry = inventory.where("ansible_host", name)
        found = (entry.file, entry.line) if entry and entry.scope == name else inventory.hosts.get(name)
    elif kind == "group" and name:
        found = inventory.groups.get(name) or next(iter(inventory.groups.values()), None)
    else:
        entry = inventory.where(of_host, owner) if of else inventory.where(key)
        found = (entry.file, entry.line) if entry else None
    return (display(found[0], project), found[1]) if found else ("", 0)


def manifest_faults(
    services: Any, inventory: Inventory, cluster: cluster_rules.Cluster, project: Path
) -> Iterator[Fault]:
    """Yield what is wrong in the files with manifests that web services name."""
    master = cluster.text("cluster_control_plane_host")
    hosts = inventory.hosts.get(master) or next(iter(inventory.hosts.values()), (Path(), 0))
    for number, service in enumerate(services if isinstance(services, list) else ()):
        paths = service.get("manifests") if isinstance(service, Mapping) else None
        for path in paths if isinstance(paths, list) else ():
            file = web_manifests.locate(hosts[0].parent, str(path))
            for line, message, remedy in web_manifests.read(file, cluster.node_ports)[1]:
                key = f"web_services[{number}].manifests"
                yield Fault(key, message, remedy, file=display(file, project), line=line)


def without(unusable: Collection[str], name: str, value: Any) -> Any:
    """Return a value without what is wrong inside of it, so that rules need not expect it."""
    if isinstance(value, Mapping):
        named = ((key, f"{name}.{key}", item) for key, item in value.items())
        return {key: without(unusable, inner, item) for key, inner, item in named if inner not in unusable}
    if isinstance(value, list):
        listed = ((f"{name}[{number}]", item) for number, item in enumerate(value))
        return [without(unusable, inner, item) for inner, item in listed if inner not in unusable]
    return value


def faults_of(
    inventory: Inventory, options: Mapping[str, Any], cluster: cluster_rules.Cluster, project: Path
) -> Iterator[Fault]:
    """Yield the faults of the files, then those of the final values whose own type is right."""
    for problem in inventory.problems:
        message, remedy = problem.value
        yield Fault(problem.key, message, remedy, file=display(problem.file, project), line=problem.line)
    wrong: set[str] = set()
    unusable: set[str] = set()  # what is wrong somewhere inside of a value keeps no rule from the rest of it
    for entry in inventory.entries:
        for fault in check_entry(entry, options, project):
            wrong.add(entry.key)
            unusable.add(fault.check)
            yield fault
    for key, value in inventory.extra.items():
        for name, message, remedy in (*check_extra(key, value, options), *check_shape(key, value)):
            wrong.add(key)
            unusable.add(name)
            yield Fault(name, message, remedy, file="-e")
    for key, value in cluster.values.items():
        for name, message, remedy in check_value(key, value, options.get(key, {})) if key not in wrong else ():
            unusable.add(name)
            file, line = place(key, inventory, project)
            yield Fault(name, message, remedy, file=file, line=line)
    values = {key: without(unusable, key, value) for key, value in cluster.values.items() if key not in unusable}
    cluster = replace(cluster, values=values)
    for key, message, remedy in cluster_rules.findings(cluster):
        if key not in unusable:
            file, line = place(key, inventory, project)
            yield Fault(key, message, remedy, file=file, line=line)
    yield from manifest_faults(values.get("web_services"), inventory, cluster, project)


def unused(inventory: Inventory, hosts: Collection[str], groups: Collection[str], project: Path) -> Iterator[str]:
    """Yield a line for each file of variables that is for nobody: Ansible reads none of them, and says nothing."""
    for file, other in inventory.shadowed:
        yield f"{display(file, project)} is not read, as there is {display(other, project)}; move it in there"
    known = {*hosts, *groups, "all", "ungrouped", "localhost"}
    strangers = {entry.scope: entry.file for entry in reversed(inventory.entries) if entry.scope not in known}
    for scope, file in sorted(strangers.items()):
        meant = closest(scope, known - {"all", "ungrouped", "localhost"})
        hint = f"did you mean {meant}?" if meant else "name it after one"
        yield f"{display(file, project)} is not read, as there is neither a host nor a group {scope}; {hint}"


def in_order(faults: Iterable[Fault]) -> Sequence[Fault]:
    """Return each fault once, by file and line; those without a file last."""
    return sorted(dict.fromkeys(faults), key=lambda fault: (not fault.file, fault.file, fault.line))


def judge(params: Mapping[str, Any]) -> tuple[Sequence[Fault], Sequence[str]]:
    """Return the faults of what the module was called with, and what is allowed and still worth a word."""
    project = Path(params["project_dir"]).resolve()
    inventory = read([path for source in params["sources"] if (path := Path(source).resolve()).exists()])
    inventory.extra = params.get("extra") or {}
    cluster = cluster_rules.Cluster(
        values={
            **params["values"],
            "docker_hosts_subnet": docker_subnet(inventory, project / "roles"),
            "teardown_paths": [path for entry in inventory.entries for path in paths_of(entry)],
        },
        hosts={host: str(address or host) for host, address in params["hosts"].items()},
        groups=params["groups"],
        ports={host: port for host, port in (params.get("ports") or {}).items() if port},
        node_ips={host: str(ip) for host, ip in (params.get("node_ips") or {}).items() if ip},
        written={entry.key for entry in inventory.entries} | set(inventory.extra),
        releases=locked_releases(project / "components"),
        tagged=bool(inventory.added),
        hosts_pending=bool(params.get("hosts_pending")),
    )
    faults = in_order(faults_of(inventory, role_options(project / "roles"), cluster, project))
    warnings = [*cluster_rules.warnings(cluster), *unused(inventory, params["hosts"], params["groups"], project)]
    only, warn = params.get("only"), params.get("warn")
    if not only:
        return faults, warnings
    unreadable = {(display(problem.file, project), problem.line) for problem in inventory.problems}
    fatal = [
        fault
        for fault in faults
        if re.split(r"[.\[]", fault.check)[0] in only or (fault.file, fault.line) in unreadable
    ]
    return fatal, [*(f"up would refuse {fault}" for fault in faults if fault not in fatal), *warnings] if warn else []


def failure(faults: Sequence[Fault]) -> dict[str, Any]:
    """Return the result that holds the faults."""
    return Report(tuple(faults), CONFIG).as_failure()
