# SPDX-License-Identifier: Apache-2.0
"""Write an inventory of ours from one of Kubespray, kubeasz or k3s-ansible."""

from __future__ import annotations

import shutil
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.yunkube.control.cluster_rules import as_domain
from ansible.module_utils.yunkube.control.commands import DEFAULT_INVENTORY, command
from ansible.module_utils.yunkube.control.redact import Redactor, printable
from ansible.module_utils.yunkube.host.network import is_address
from ansible.module_utils.yunkube.words import counted

from deployer.arguments import Request
from deployer.errors import DeployError, Exit
from deployer.host_marks import host_marks
from deployer.inventory import shown
from deployer.peers import (
    CONNECTION,
    OF_HOSTS,
    PASSWORD,
    PEERS,
    ROOT_ALREADY,
    ROOT_REASON,
    UNREADABLE,
    Imported,
    Json,
    Peer,
    elsewhere,
    why_unreadable,
)
from deployer.theirs import Theirs

ROOT = Path(__file__).absolute().parents[2]
WIDTH = 118


def import_inventory(request: Request) -> int:
    """Read theirs, write ours as a whole or not at all, and say what has no counterpart."""
    project = request.options["action"]
    source, target = (
        Path(request.options["name"]).expanduser().absolute(),
        Path(request.inventory).expanduser().absolute(),
    )
    if request.inventory == DEFAULT_INVENTORY or target.exists():
        raise DeployError(f"{shown(target)} exists", "pass a new inventory, such as -i inventory/mine")
    result = read(PEERS[project], project, source)
    result.settings["cluster_name"] = _as_domain(target.name).replace(".", "-")
    _write(target, project, source, result)
    print(printable("\n".join(_report(result, project, target))))
    return Exit.OK


def read(peer: Peer, name: str, source: Path) -> Imported:
    """Return our inventory of theirs."""
    if not source.exists():
        raise DeployError(f"{shown(source)} does not exist", f"pass the inventory of {name}: a directory or a file")
    theirs = Theirs(name, source)
    hosts, groups = theirs.hosts, theirs.groups
    masters = [host for group in peer.masters for host in groups.get(group, [])]
    nodes = [host for group in peer.nodes for host in groups.get(group, [])]
    if not masters:
        raise theirs.without_masters(" or ".join(peer.masters))
    result = Imported(left=theirs.not_read())
    _take_hosts(peer, theirs, list(dict.fromkeys(masters)), list(dict.fromkeys(nodes)), result)
    for group, reason in peer.hosts.items():
        for host in groups.get(group, []):
            if host not in (*masters, *nodes):
                result.left[f"host {host}"] = f"in {group}: {reason}"
    _take_settings(peer, {**hosts[masters[0]], "__name": masters[0]}, theirs, result)
    return result


def _take_hosts(peer: Peer, theirs: Theirs, masters: Sequence[str], nodes: Sequence[str], result: Imported) -> None:
    variables = theirs.hosts
    _leave_unfilled(peer, theirs, list(dict.fromkeys((*masters, *nodes))), result)
    common = {
        key: values[0]
        for key in CONNECTION
        if key != "ansible_host"
        and len(values := [variables[host].get(key) for host in dict.fromkeys((*masters, *nodes))]) > 1
        and values[0] is not None
        and all(value == values[0] for value in values)
    }
    for key, value in common.items():
        result.take(key, value, key)
    taken: set[str] = set()
    for kind, hosts, ours in (("master", masters, result.masters), ("node", nodes, result.nodes)):
        for number, host in enumerate((one for one in hosts if kind == "master" or one not in masters), 1):
            given = variables[host]
            name = _host_name(host, str(given.get(peer.name) or ""), f"{kind}{number}")
            while name in taken:
                name += "x"
            taken.add(name)
            ours[name] = {key: given[key] for key in CONNECTION if given.get(key) is not None and key not in common}
            if name != host.lower():
                ours[name].setdefault("ansible_host", host)
            inner = given.get(peer.address)
            if inner and inner != ours[name].get("ansible_host", host):
                ours[name]["cluster_node_ip"] = inner
            first = variables[masters[0]] if kind == "master" else None
            marks = host_marks(host, given, first, result, theirs.place)
            if marks.get("cluster_node_ip") == ours[name].get("ansible_host", host):
                del marks["cluster_node_ip"]
            ours[name] |= marks
            if kind == "master" and (peer.everywhere or host in nodes):
                ours[name].setdefault("node_taints", [])


def _leave_unfilled(peer: Peer, theirs: Theirs, hosts: Sequence[str], result: Imported) -> None:
    """Name what is set for hosts, and has no value that could be taken over."""
    found: dict[tuple[str, str], list[str]] = {}
    for host in hosts:
        for key in (*CONNECTION, peer.address, peer.name, "node_labels", "node_taints", *OF_HOSTS):
            if key in theirs.hosts[host] and theirs.hosts[host][key] is None:
                found.setdefault((key, theirs.why(key, host)), []).append(host)
    for (key, reason), where in found.items():
        result.left[key if len(where) == len(hosts) else f"{key} of {', '.join(where)}"] = reason


def _host_name(host: str, given: str, instead: str) -> str:
    return instead if is_address(host) and not given else _as_domain(given or host)


def _as_domain(text: str) -> str:
    return as_domain(text, "imported")


def _is_ours_already(key: str, theirs: Theirs) -> bool:
    """Say whether a variable says for every host what our plays do anyway."""
    same = ROOT_ALREADY.get(key, ())
    return all(str(given[key]).lower() in same for given in theirs.hosts.values() if key in given)


def _why_left(peer: Peer, key: str, first: Json, theirs: Theirs) -> str | None:
    """Return why a variable has no counterpart; None where it has."""
    if key in ROOT_ALREADY:
        return ROOT_REASON
    if PASSWORD.fullmatch(key):
        return "put it into group_vars/all/vault.yml; see vault.yml.example in inventory/sample"
    if key not in peer.settings:
        return peer.reasons.get(key, "")
    if key in OF_HOSTS:
        return None
    if key not in first:
        others = ", ".join(host for host, given in theirs.hosts.items() if key in given)
        return f"is set for {others}, and the value of {first['__name']} applies to the cluster"
    return theirs.why(key, first["__name"]) if first[key] is None else None


def _take_settings(peer: Peer, first: Json, theirs: Theirs, result: Imported) -> None:
    known = {*CONNECTION, peer.address, peer.name, "node_labels", "node_taints", "__name"}
    for key in dict.fromkeys(name for variables in (first, *theirs.hosts.values()) for name in variables):
        if key in known or _is_ours_already(key, theirs):
            continue
        if (reason := _why_left(peer, key, first, theirs)) is not None:
            result.left[key] = reason
        elif key in first:
            try:
                peer.settings[key](result, key, first[key], first)
            except UNREADABLE as error:
                result.left[key] = f"{why_unreadable(error)}{theirs.place(key, first['__name'])}"
            others = [host for host, given in theirs.hosts.items() if given.get(key, first[key]) != first[key]]
            if others and key not in OF_HOSTS and peer.settings[key] is not elsewhere:
                result.left[f"{key} of {', '.join(others)}"] = f"the value of {first['__name']} applies to the cluster"
    release = result.settings.get("cluster_kubernetes_version")
    if release and not (ROOT / f"components/kubernetes-{release}.yml").exists():
        for key in result.origins.pop("cluster_kubernetes_version"):
            result.left[key] = f"{release} is not among the releases in components/"
        del result.settings["cluster_kubernetes_version"]


def _write(target: Path, name: str, source: Path, result: Imported) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        (made / "group_vars/all").mkdir(parents=True)
        (made / "hosts.yml").write_text("\n".join(_hosts_file(result)) + "\n", encoding="utf-8")
        (made / "group_vars/all/cluster.yml").write_text(
            "\n".join(_cluster_file(name, source, result)) + "\n", encoding="utf-8"
        )
        made.chmod(0o755)
        made.rename(target)
    except BaseException as error:
        shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, OSError):
            raise DeployError(f"{error.filename}: {error.strerror}", "then run the same command again") from error
        raise


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9, sort_keys=False, allow_unicode=True)
    return str(text).removesuffix("...\n").strip()


def _hosts_file(result: Imported) -> Iterator[str]:
    yield from ("---", "all:", "  children:")
    for group, hosts in (("masters", result.masters), ("nodes", result.nodes)):
        yield f"    {group}:"
        yield "      hosts:" if hosts else "      hosts: {}"
        yield from (f"        {_flow(name)}: {_flow(variables)}" for name, variables in hosts.items())


def _cluster_file(name: str, source: Path, result: Imported) -> Iterator[str]:
    yield "---"
    yield f"# From an inventory of {name}, {source}. All keys, with defaults and reasons: docs/cluster.md."
    yield f"cluster_name: {_flow(result.settings['cluster_name'])} # must be unique among your clusters"
    yield "cluster_provider: existing"
    for key, value in result.settings.items():
        if key != "cluster_name":
            origins = result.named_elsewhere(key)
            yield f"{key}: {_flow(value)}" + (f" # {', '.join(origins)}" if origins else "")


def _report(result: Imported, name: str, target: Path) -> Iterator[str]:
    kinds = (("master", list(result.masters)), ("node", list(result.nodes)))
    hosts = "; ".join(counted(names, kind) for kind, names in kinds if names)
    yield f"{shown(target)}: {hosts}"
    for key, value in result.settings.items():
        if origins := result.named_elsewhere(key):
            yield Redactor().text(f"  {key}: {_flow(value)}, from {', '.join(origins)}")
    reasons = {key: reason for key, reason in result.left.items() if reason}
    if reasons:
        yield f"\nNot taken from {name}:"
        yield from (f"  {key}: {reason}" for key, reason in reasons.items())
    rest = sorted(key for key, reason in result.left.items() if not reason)
    if rest:
        yield f"\nWithout a counterpart here ({len(rest)}):"
        yield textwrap.fill(", ".join(rest), WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    yield f"\nNext: {command('plan', shown(target))}"
