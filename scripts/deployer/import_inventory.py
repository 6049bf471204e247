"""Write an inventory of ours from one of Kubespray, kubeasz or k3s-ansible."""

from __future__ import annotations

import shutil
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deployer.arguments import Request
from deployer.errors import DeployError, Exit
from deployer.inventory import Source, read_yaml, shown
from deployer.peers import (
    ALIASES,
    CONNECTION,
    PASSWORD,
    PEERS,
    SILENT,
    UNREADABLE,
    WHY_UNREADABLE,
    Imported,
    Json,
    Peer,
    host_marks,
)
from deployer.redact import Redactor, printable
from deployer.shared_code import shared
from deployer.verbs import DEFAULT_INVENTORY, command

ROOT = Path(__file__).absolute().parents[2]
WIDTH = 118


def import_inventory(request: Request) -> int:
    """Read theirs, write ours as a whole or not at all, and say what has no counterpart."""
    source, target = Path(request.name).expanduser().absolute(), Path(request.inventory).expanduser().absolute()
    if request.inventory == DEFAULT_INVENTORY or target.exists():
        raise DeployError(f"{shown(target)} exists", "name a new inventory, such as -i inventory/mine")
    result = read(PEERS[request.action], request.action, source)
    result.settings["cluster_name"] = _as_domain(target.name).replace(".", "-")
    _write(target, request.action, source, result)
    print(printable("\n".join(_report(result, request.action, target))))
    return Exit.OK


def read(peer: Peer, name: str, source: Path) -> Imported:
    """Return our inventory of theirs."""
    if not source.exists():
        raise DeployError(f"{shown(source)} does not exist", f"name the inventory of {name}: a directory or a file")
    hosts_file, more = source, {}
    if name == "kubeasz" and source.is_dir():  # clusters/NAME: ezctl gives config.yml to every run as extra variables
        hosts_file = source / "hosts"
        file = source / "config.yml"
        content = read_yaml(file, shared("yaml_reader").Loader) if file.exists() else {}
        more = content if isinstance(content, dict) else {}
    found = Source(hosts_file).everything(more)
    hosts = {
        host: {ALIASES.get(key, key): value for key, value in given.items()} for host, given in found["hosts"].items()
    }
    groups: Mapping[str, list[str]] = found["groups"]
    masters = [host for group in peer.masters for host in groups.get(group, [])]
    nodes = [host for group in peer.nodes for host in groups.get(group, [])]
    if not masters:
        wanted = " or ".join(peer.masters)
        raise DeployError(f"{shown(hosts_file)}: has no host in {wanted}", f"is it an inventory of {name}?")
    result = Imported()
    _take_hosts(peer, hosts, list(dict.fromkeys(masters)), list(dict.fromkeys(nodes)), result)
    for group, reason in peer.hosts.items():
        for host in groups.get(group, []):
            if host not in (*masters, *nodes):
                result.left[f"host {host}"] = f"in {group}: {reason}"
    _take_settings(peer, {**hosts[masters[0]], "__name": masters[0]}, hosts, result)
    return result


def _take_hosts(
    peer: Peer, variables: Mapping[str, Json], masters: Sequence[str], nodes: Sequence[str], result: Imported
) -> None:
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
            ours[name] |= host_marks(given, kind == "master", result)
            if kind == "master" and (peer.everywhere or host in nodes):
                ours[name].setdefault("node_taints", [])


def _host_name(host: str, given: str, instead: str) -> str:
    return instead if shared("host_network").is_address(host) and not given else _as_domain(given or host)


def _as_domain(text: str) -> str:
    return str(shared("cluster_rules").as_domain(text, "imported"))


def _take_settings(peer: Peer, first: Json, hosts: Mapping[str, Json], result: Imported) -> None:
    known = {*CONNECTION, peer.address, peer.name, "node_labels", "node_taints", "__name"}
    for key in dict.fromkeys(name for variables in (first, *hosts.values()) for name in variables):
        value = first.get(key)
        if key in known or SILENT.fullmatch(key):
            continue
        if PASSWORD.fullmatch(key):
            result.left[key] = "put it into group_vars/all/vault.yml, as vault.yml.example in inventory/sample shows"
        elif key not in peer.settings:
            result.left[key] = peer.reasons.get(key, "")
        elif value is None:
            result.left[key] = "is empty or encrypted, or needs facts or a lookup"
        else:
            try:
                peer.settings[key](result, key, value, first)
            except UNREADABLE:
                result.left[key] = WHY_UNREADABLE
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
            raise DeployError(f"{error.filename}: {error.strerror}", "then run the same again") from error
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
    yield f"# From an inventory of {name}, {source}. What may stand here, with defaults and reasons: docs/cluster.md."
    yield f"cluster_name: {_flow(result.settings['cluster_name'])} # no other of your clusters may have it"
    yield "cluster_provider: existing"
    for key, value in result.settings.items():
        if key != "cluster_name":
            origins = result.named_elsewhere(key)
            yield f"{key}: {_flow(value)}" + (f" # {', '.join(origins)}" if origins else "")


def _report(result: Imported, name: str, target: Path) -> Iterator[str]:
    counted = shared("words").counted
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
