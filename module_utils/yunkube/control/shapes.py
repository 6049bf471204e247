# SPDX-License-Identifier: Apache-2.0
"""What an argument spec cannot say of a value: the shape of what stands inside a dictionary or a list.

Each function yields (message, remedy) for the value of one key, whose own type is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.module_utils.yunkube.host.network import is_address

Complaint = tuple[str, str]

_PREFIX = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME = re.compile(rf"(\*\.)?{_PREFIX.pattern}")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_RESERVED_LABELS = (
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node-role.kubernetes.io/control-plane",
)
# Of Kubernetes' API, core/v1 TaintEffect.
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def mirrors(value: Mapping[str, Any]) -> Iterator[Complaint]:
    """Every registry has a list of URLs."""
    for registry, urls in value.items():
        one = urls if isinstance(urls, str) else "https://mirror.example.com"
        right = f'write {registry}: ["{one}"]'
        if not isinstance(urls, list):
            yield f"{registry}: wants a list of URLs", right
            continue
        for url in urls:
            if isinstance(url, Mapping):
                host = url.get("host") or "https://mirror.example.com"
                yield f"{registry}: a mirror is its URL alone, not a dictionary", f'write {registry}: ["{host}"]'
            elif not (isinstance(url, str) and url.startswith(("http://", "https://"))) and not is_template(url):
                yield f"{registry}: {url} is not a URL", "begin it with http:// or https://"


def download_mirrors(value: Mapping[str, Any]) -> Iterator[Complaint]:
    """Every server has a list of URLs, to which a path is added, and which end up in logs."""
    yield from mirrors(value)
    for server, urls in value.items():
        if "/" in str(server):
            right = str(server).partition("://")[2].partition("/")[0] or str(server).partition("/")[0]
            yield f"{server} is not the name of a server", f"write {right}"
        for url in urls if isinstance(urls, list) else []:
            if isinstance(url, str) and not is_template(url) and "@" in url.partition("://")[2].partition("/")[0]:
                yield f"{server}: a mirror's URL has a user in it", "name a mirror without a login"
            elif isinstance(url, str) and not is_template(url) and ("?" in url or "#" in url):
                yield f"{server}: {url} is not the beginning of a URL", "leave out what begins with ? or #"


def certificate_names(value: list[Any]) -> Iterator[Complaint]:
    """Each is a DNS name or an address, as kubeadm wants it in certSANs."""
    for name in value:
        if is_template(name) or is_address(str(name)) or (_NAME.fullmatch(str(name)) and len(str(name)) <= 253):
            continue
        bare = re.sub(r"^\w+://|:\d+$|/.*$", "", str(name).strip())
        good = _NAME.fullmatch(bare) or is_address(bare)
        hint = f"write {bare}" if good else "write one name or address an entry, of a-z, 0-9, - and ."
        yield f'"{name}" is neither a DNS name nor an address', hint


def taints(value: list[Any]) -> Iterator[Complaint]:
    """Each has a key and an effect that Kubernetes knows."""
    for number, taint in enumerate(value):
        if not isinstance(taint, Mapping):
            continue
        key, given = taint.get("key"), str(taint.get("value") or "")
        if not key:
            yield f"entry {number} has no key", "write {key: dedicated, value: web, effect: NoSchedule}"
        elif not _is_qualified(str(key)) and not is_template(key):
            yield f'"{key}" is no key of a taint', "write one such as dedicated or example.com/dedicated"
        if given and not _LABEL.fullmatch(given) and not is_template(given):
            yield f'value "{given}" is none that a taint may have', "use up to 63 of a-z, A-Z, 0-9, -, _ and . in it"
        effect = taint.get("effect")
        if effect not in EFFECTS and not is_template(effect):
            near = next((one for one in EFFECTS if one.lower() == str(effect).lower()), None)
            yield f"effect {effect} is unknown", f"write {near}" if near else f"write one of {', '.join(EFFECTS)}"


def labels(value: Mapping[str, Any]) -> Iterator[Complaint]:
    """Each has a name and a value that Kubernetes takes, and is nobody else's.

    Their syntax: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
    """
    for key, label in value.items():
        if not _is_qualified(str(key)):
            yield f'"{key}" is no name of a label', "write one such as zone or example.com/zone"
        elif key in _RESERVED_LABELS:
            yield f"{key} is set by the kubelet or by kubeadm", "leave it out"
        if not isinstance(label, str):
            yield f"{key}: wants text, not {type(label).__name__}", f'write {key}: "{str(label).lower()}"'
        elif label and not _LABEL.fullmatch(label) and not is_template(label):
            yield f'{key}: "{label}" is no value of a label', "use up to 63 of a-z, A-Z, 0-9, -, _ and . in it"


def _is_qualified(key: str) -> bool:
    """Say whether it may be the key of a label or taint: a name, which may follow a domain and a slash."""
    prefix, slash, name = key.rpartition("/")
    return bool(_LABEL.fullmatch(name)) and (not slash or (bool(_PREFIX.fullmatch(prefix)) and len(prefix) <= 253))


def versions(value: Mapping[str, Any]) -> Iterator[Complaint]:
    """Every system has a version as text: YAML reads 22.10 as 22.1."""
    for system, version in value.items():
        if not isinstance(version, str):
            yield f"{system}: wants a version in quotes, not a number", f'write {system}: "{version}"'
        elif not re.fullmatch(r"\d+(\.\d+)*", version) and not is_template(version):
            yield f'{system}: "{version}" is not a version', f'write one such as {system}: "12"'


def megabytes(value: Mapping[str, Any]) -> Iterator[Complaint]:
    """Every folder has a whole number of MB."""
    units = {"G": 1024, "M": 1, "T": 1024**2}
    for folder, size in value.items():
        if is_template(size) or (isinstance(size, int) and not isinstance(size, bool) and size >= 0):
            continue
        found = re.fullmatch(r"(\d+)([GMT])i?B?", str(size))
        hint = f"write {int(found[1]) * units[found[2]]}" if found else "write one such as 20480"
        yield f"{folder}: {size} is not a whole number of MB", hint


def cluster_configuration(value: Mapping[str, Any]) -> Iterator[Complaint]:
    """What each component is started with is a list of names and values since kubeadm's v1beta4."""
    places = {part: value.get(part) for part in ("apiServer", "controllerManager", "scheduler")}
    etcd = value.get("etcd")
    places["etcd.local"] = etcd.get("local") if isinstance(etcd, Mapping) else None
    for place, settings in places.items():
        arguments = settings.get("extraArgs") if isinstance(settings, Mapping) else None
        if isinstance(arguments, Mapping):
            first, its = next(iter(arguments.items()), ("NAME", "VALUE"))
            right = f'write extraArgs: [{{name: {first}, value: "{its}"}}]'
            yield f"{place}.extraArgs is a dictionary, which kubeadm no longer reads", right


def folder(value: str) -> Iterator[Complaint]:
    """It is the same from wherever a command is typed."""
    if not is_template(value) and (not value.startswith(("/", "~")) or "$" in value):
        yield f"{value} is not an absolute path", "begin it with / or ~/, and write variables of the shell out"


SHAPES: Mapping[str, tuple[type, Callable[[Any], Iterator[Complaint]]]] = {
    "cluster_cache_dir": (str, folder),
    "cluster_download_mirrors": (dict, download_mirrors),
    "cluster_state_dir": (str, folder),
    "container_runtime_registry_mirrors": (dict, mirrors),
    "master_certificate_names": (list, certificate_names),
    "master_cluster_configuration": (dict, cluster_configuration),
    "node_labels": (dict, labels),
    "node_taints": (list, taints),
    "prepare_host_systems": (dict, versions),
    "prepare_host_disk_mb": (dict, megabytes),
}


def complaints(key: str, value: Any) -> Iterator[Complaint]:
    """Yield what is wrong inside of a value."""
    kind, check = SHAPES.get(key, (type(None), lambda _: iter(())))
    if isinstance(value, kind):
        yield from check(value)


def is_template(value: Any) -> bool:
    """Say whether Ansible makes something else of a value."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)
